"""What every test stands on: one embedded server for the run, a fresh migrated database for each test.

The schema comes from the real migrations; tests act as the app role. The server forgets on a crash (durable=False):
tests of crashes start their own. `PROPMGR_TEST_POSTGRES` names another PostgreSQL's folder (scripts/test uses it for 15).
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import make_url

from propmgr import config
from propmgr.app import create_app
from propmgr.config import PROJECT, DatabaseUrls, Settings
from propmgr.database.base import db
from propmgr.database.embedded import Embedded, default_root
from propmgr.database.unit_of_work import unit_of_work
from propmgr.identity.commands import next_tenant_id, open_organisation
from propmgr.identity.rules import PLATFORM, TenantKind
from propmgr.kernel.act import operator_act

_numbers = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`: the large sizes of tests that repeat (kills, races, fuzzing)."""
    parser.addoption("--long", action="store_true", help="run the large sizes")


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """A test that reaches for another host is wrong: everything outside is simulated here."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


def postgres_binaries() -> Path | None:
    """The PostgreSQL the database tests run on; None is the embedded one."""
    named = os.environ.get("PROPMGR_TEST_POSTGRES")
    return Path(named) if named else None


@pytest.fixture(scope="session")
def server() -> Iterator[Embedded]:
    """The server all tests of all workers share."""
    binaries = postgres_binaries()
    name = "test" if binaries is None else f"test-{binaries.name}"
    embedded = Embedded(default_root(PROJECT / "instance" / name), binaries=binaries, durable=False)
    embedded.start()
    yield embedded
    embedded.release()


@pytest.fixture(scope="session")
def template(server: Embedded) -> str:
    """Name of a database at the newest migration, made once for the text of the migrations."""
    sources = [*sorted((PROJECT / "migrations").rglob("*.py")), PROJECT / "propmgr/database/migration.py"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    name = f"template_{digest}"
    mark = server.root / f"{name}.made"
    with (server.root / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists():
            for old in server.root.glob("template_*.made"):
                server.drop_database(old.stem)
                old.unlink()
            server.drop_database(name)
            server.create_database(name)
            migrate(urls_of(server, name))
            mark.touch()
    return name


def urls_of(server: Embedded, name: str) -> DatabaseUrls:
    """The house's doors to one database of the server."""
    app = server.url("propmgr_app", name)
    return DatabaseUrls(app, server.url("propmgr_owner", name), server.url("propmgr_check", name), direct=app)


def database_name(urls: DatabaseUrls) -> str:
    """The name of the database behind the doors."""
    return str(make_url(urls.app).database)


def test_settings(urls: DatabaseUrls, instance: Path) -> Settings:
    """Settings as a server has them, with files below `instance`."""
    environment = {"PROPMGR_SECRET_KEY": "k" * 64, "PROPMGR_INSTANCE": str(instance), "PROPMGR_LOG_LEVEL": "warning"}
    return replace(config.load(environment), databases=urls)


test_settings.__test__ = False  # type: ignore[attr-defined]


@contextmanager
def a_house(settings: Settings) -> Iterator[Flask]:
    """An application of its own; its connections are closed afterwards."""
    made = create_app(settings)
    try:
        yield made
    finally:
        with made.app_context():
            db.session.remove()
            db.engine.dispose()


def migrate(urls: DatabaseUrls, revision: str = "head") -> None:
    """Bring a database up to a revision, as `flask db upgrade` does."""
    with a_house(test_settings(urls, PROJECT / "instance" / "test-app")) as house, house.app_context():
        flask_migrate.upgrade(revision=revision)


@contextmanager
def fresh_database(server: Embedded, template: str | None) -> Iterator[DatabaseUrls]:
    """A database of its own, gone afterwards. Without a template it has no tables."""
    name = f"t_{os.getpid()}_{next(_numbers)}"
    server.create_database(name, template)
    try:
        yield urls_of(server, name)
    finally:
        server.drop_database(name)


@pytest.fixture
def urls(server: Embedded, template: str) -> Iterator[DatabaseUrls]:
    """A fresh database at the newest migration."""
    with fresh_database(server, template) as fresh:
        yield fresh


@pytest.fixture
def settings(urls: DatabaseUrls, tmp_path: Path) -> Settings:
    """Settings for the fresh database."""
    return test_settings(urls, tmp_path / "instance")


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The application on the fresh database, with its context pushed."""
    with a_house(settings) as made:
        made.testing = True
        with made.app_context():
            yield made


@dataclass(frozen=True, slots=True)
class Pair:
    """Two companies that must never see one another."""

    a: int
    b: int


def open_tenant(kind: TenantKind, name: str, division_code: str | None = None) -> int:
    """Open an organisation through the commands. Returns its number."""
    with unit_of_work(operator_act(PLATFORM)):
        tenant_id = next_tenant_id()
    with unit_of_work(operator_act(tenant_id)) as act:
        open_organisation(act, kind, name, division_code)
    return tenant_id


@pytest.fixture
def two_companies(app: Flask) -> Pair:
    """Companies A and B."""
    return Pair(open_tenant(TenantKind.COMPANY, "甲物业"), open_tenant(TenantKind.COMPANY, "乙物业"))


@pytest.fixture
def an_office(app: Flask) -> int:
    """A street office."""
    return open_tenant(TenantKind.OFFICE, "丙街道办事处")
