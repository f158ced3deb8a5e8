"""Each database address leads into one database, as the role it is for: the walls stand only where people walk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from propmgr.database.base import db
from propmgr.database.engines import assert_doors
from propmgr.kernel.errors import ConfigError
from tests.conftest import a_house, database_name, test_settings

pytestmark = pytest.mark.database


def fault(urls) -> str:
    with pytest.raises(ConfigError) as caught:
        assert_doors(urls)
    return str(caught.value)


def test_the_right_doors_pass(urls):
    assert_doors(urls)


def test_an_app_that_comes_in_as_somebody_else_is_refused(server, urls):
    for role in ("postgres", "propmgr_owner", "propmgr_check"):
        address = server.url(role, database_name(urls))
        said = fault(replace(urls, app=address))
        assert f"DATABASE_URL leads in as {role}" in said and "MIGRATION" not in said.replace(f"{role}", "")
    assert "CHECK_DATABASE_URL leads in as propmgr_app" in fault(replace(urls, check=urls.app))
    assert "MIGRATION_DATABASE_URL leads in as postgres" in fault(
        replace(urls, owner=server.url("postgres", database_name(urls)))
    )


def test_addresses_of_two_databases_are_refused(server, urls):
    assert "lead to different databases" in fault(replace(urls, check=server.url("propmgr_check", "propmgr")))


def test_a_wrong_password_names_its_address_and_not_the_password(urls):
    secret = urls.owner.partition("propmgr_owner:")[2].partition("@")[0]
    said = fault(replace(urls, owner=urls.owner.replace(secret, "hunter2hunter2")))
    assert "MIGRATION_DATABASE_URL" in said and "password authentication failed" in said
    assert "hunter2" not in said and secret not in said


def test_a_house_that_serves_as_a_superuser_is_not_ready(server, urls, tmp_path):
    wrong = replace(urls, app=server.url("postgres", database_name(urls)))
    with a_house(test_settings(wrong, tmp_path)) as house:
        assert house.test_client().get("/readyz").status_code == 503
        result = house.test_cli_runner().invoke(args=["check"])
        assert result.exit_code == 2 and "DATABASE_URL leads in as postgres" in result.stderr
        with house.app_context():
            db.engine.dispose()
    with a_house(test_settings(urls, tmp_path)) as house:
        assert house.test_client().get("/readyz").status_code == 200
