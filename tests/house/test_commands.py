"""Operator commands, as an operator meets them: what they print, their exit codes, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.identity.queries import organisations
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import operator_act
from propmgr.work.commands import request_run
from tests.conftest import a_house, fresh_database, test_settings

pytestmark = pytest.mark.database


@pytest.fixture(autouse=True)
def _client_programs(server, monkeypatch):
    """pg_dump of the server's own version, as on a machine with an own PostgreSQL."""
    monkeypatch.setenv("PATH", f"{server.program('pg_dump').parent}:/usr/bin:/bin")


@pytest.fixture
def run(app):
    return lambda *arguments: app.test_cli_runner().invoke(args=list(arguments))


def test_check_lists_every_invariant_and_fails_where_one_is_violated(app, run, two_companies):
    clean = run("check", "--json")
    assert clean.exit_code == 0
    results = json.loads(clean.stdout)
    assert {"id", "says", "checked", "violations"} == set(results[0])
    assert {"I9", "I12", "I13", "S1", "S2"} <= {result["id"] for result in results}
    with unit_of_work(operator_act(PLATFORM)):
        session().execute(text("insert into message_due (organisation_id, message_id, due_at) values (1, 77, now())"))
    dirty = run("check")
    assert dirty.exit_code == 1 and "message 77 is due and does not exist" in dirty.stdout


def test_demo_refuses_an_own_database_unless_forced_and_adds_nothing_twice(app, run):
    refused = run("demo")
    assert refused.exit_code == 2 and "--force" in refused.stderr
    with unit_of_work(operator_act(PLATFORM)):
        assert len(organisations()) == 1
    first = run("demo", "--force")
    assert first.exit_code == 0 and "4 organisations opened" in first.stdout
    assert "0 organisations opened" in run("demo", "--force").stdout
    with unit_of_work(operator_act(PLATFORM)):
        assert sorted(str(o.kind) for o in organisations()) == ["company", "company", "office", "office", "platform"]
    assert run("check").exit_code == 0


def test_backup_and_restore_by_command(server, settings, tmp_path):
    with a_house(settings) as house:
        made = house.test_cli_runner().invoke(args=["backup", "--to", str(tmp_path / "backups")])
        assert made.exit_code == 0 and "proven" in made.stdout
        folder = next(Path(tmp_path / "backups").iterdir())
        assert house.test_cli_runner().invoke(args=["restore", str(folder)]).exit_code == 2, "this database has tables"
    with fresh_database(server, None) as empty, a_house(test_settings(empty, tmp_path / "other")) as other:
        result = other.test_cli_runner().invoke(args=["restore", str(folder)])
        assert result.exit_code == 0, result.output
        assert "restored" in result.stdout
        assert other.test_cli_runner().invoke(args=["check"]).exit_code == 0
        with other.app_context(), unit_of_work(operator_act(PLATFORM)):
            acts = session().execute(text("select act from audit_record")).scalars().all()
            assert acts == ["house.restore_backup"]


def test_runs_are_listed_cancelled_and_resumed(app, run, two_companies):
    with unit_of_work(operator_act(two_companies.a)) as act:
        run_id = request_run(act, "tests.do_it", "key")
    organisation = ["--organisation", str(two_companies.a)]
    assert f"{run_id}  queued" in run("runs", *organisation).stdout
    assert run("cancel", str(run_id)).exit_code == 2, "it is not the platform's"
    assert run("cancel", str(run_id), *organisation).exit_code == 0
    assert "cancelled" in run("runs", *organisation).stdout
    assert run("resume", str(run_id), *organisation).exit_code == 0
    again = run("resume", str(run_id), *organisation)
    assert again.exit_code == 2 and again.stderr.startswith("error: Only a failed or cancelled run")


def test_a_database_without_tables_is_said_and_not_traced(server, tmp_path):
    with fresh_database(server, None) as empty, a_house(test_settings(empty, tmp_path)) as house:
        runner = house.test_cli_runner()
        for command in (["check"], ["demo", "--force"], ["runs"], ["backup"], ["load-divisions"]):
            result = runner.invoke(args=command)
            assert result.exit_code == 2 and "db upgrade" in result.stderr, (command, result.output)


def test_roles_sql_sets_no_password_of_its_own(run):
    printed = run("roles-sql")
    assert printed.exit_code == 0
    assert "propmgr_app" in printed.stdout and ":'app_password'" in printed.stdout
