"""For whoever watches the process: alive without a database, ready only with the right one."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from propmgr.app import create_app
from propmgr.config import DatabaseUrls, Settings
from propmgr.database.base import db
from propmgr.database.embedded import Embedded, default_root
from propmgr.web.kit.readiness import newest_schema
from tests.conftest import migrate, test_settings, urls_of
from tests.web.conftest import Lines


def owner(urls: DatabaseUrls) -> psycopg.Connection:
    """A connection as the role that migrates."""
    return psycopg.connect(urls.owner.replace("+psycopg", ""), autocommit=True)


def test_alive_touches_nothing(bare: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr("propmgr.web.api.health.readiness", touched)
    with bare.app_context():
        monkeypatch.setattr(db.engine, "connect", touched)
    answer = bare.test_client().get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"alive": True})


@pytest.mark.database
def test_ready_with_the_schema_of_this_release(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"ready": True, "database": True, "schema": True})


@pytest.mark.database
@pytest.mark.parametrize("found", ["update alembic_version set version_num = '1'", "delete from alembic_version"])
def test_not_ready_on_another_schema(client: FlaskClient, urls: DatabaseUrls, found: str, lines: Lines) -> None:
    with owner(urls) as connection:
        connection.execute(found)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (503, {"ready": False, "database": True, "schema": False})
    assert lines()[0]["event"] == "readiness.other_schema"


@pytest.mark.database
def test_not_ready_on_an_empty_database(client: FlaskClient, urls: DatabaseUrls) -> None:
    with owner(urls) as connection:
        connection.execute("alter table alembic_version rename to was")
    assert client.get("/readyz").json == {"ready": False, "database": True, "schema": False}


def test_not_ready_without_a_database_and_nothing_told(bare: Flask, lines: Lines) -> None:
    began = time.monotonic()
    answer = bare.test_client().get("/readyz")
    assert time.monotonic() - began < 6
    assert (answer.status_code, answer.json) == (503, {"ready": False, "database": False, "schema": False})
    written = str(lines())
    assert "readiness.refused" in written and "secret-word" not in written


@pytest.mark.database
def test_a_slow_database_is_not_ready(client: FlaskClient, urls: DatabaseUrls) -> None:
    with owner(urls) as connection, connection.transaction():
        connection.execute("lock table alembic_version")
        began = time.monotonic()
        assert client.get("/readyz").status_code == 503
        assert time.monotonic() - began < 4
    assert client.get("/readyz").status_code == 200


def test_the_newest_schema_is_read_from_the_migrations() -> None:
    assert len(newest_schema()) == 1


@pytest.mark.database
def test_a_database_that_stops_and_comes_back(tmp_path: Path) -> None:
    """Every page says so meanwhile, and nothing needs a restart afterwards."""
    server = Embedded(default_root(tmp_path / "own"), durable=False)
    server.start()
    try:
        urls = urls_of(server, "propmgr")
        migrate(urls)
        settings: Settings = dataclasses.replace(test_settings(urls, tmp_path / "instance"), databases=urls)
        site = create_app(settings)
        client = site.test_client()
        assert client.get("/readyz").status_code == 200
        server.stop()
        assert client.get("/readyz").json == {"ready": False, "database": False, "schema": False}
        assert client.get("/healthz").status_code == 200
        page = client.get("/status")
        assert page.status_code == 200 and "连接不上" in page.text and "暂停服务" in page.text
        server.start()
        assert client.get("/readyz").status_code == 200
        assert "可以使用" in client.get("/status").text
        with site.app_context():
            db.engine.dispose()
    finally:
        server.stop()
        server.erase()
