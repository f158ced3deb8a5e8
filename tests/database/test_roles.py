"""Shows on a real server who may come in, and what each role can and cannot do before any table of the house is made.

Decides nothing about tables: what the migrations grant is tested with them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from propmgr.database import roles
from propmgr.database.embedded import Embedded, EmbeddedError, default_root

pytestmark = pytest.mark.database

BINARIES = Path(os.environ["PROPMGR_TEST_POSTGRES"]) if os.environ.get("PROPMGR_TEST_POSTGRES") else None
SET_CONFIG = "select set_config('app.read_tenants', '2', true)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A server for this file, with a table that only the office role may read."""
    embedded = Embedded(default_root(tmp_path_factory.mktemp("roles")), binaries=BINARIES, durable=False)
    embedded.start()
    with connect(embedded, roles.OWNER) as owner:
        owner.execute("create table office_rows as select 7 as figure")
        owner.execute("grant select on office_rows to propmgr_office")
    yield embedded
    embedded.erase()


def connect(server: Embedded, role: str, database: str = "propmgr", **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(plain(server.url(role, database)), autocommit=True, **options)


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")


def value(connection: psycopg.Connection[Any], query: Any) -> Any:
    row = connection.execute(query).fetchone()
    return row and row[0]


def test_nobody_without_a_password(server: Embedded) -> None:
    good = plain(server.url(roles.APP))
    psycopg.connect(good).close()  # the control: the right password is let in
    for password in ("wrong", ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(good, password=password)
    for stranger in ("propmgr_office", "root", pwd.getpwuid(os.geteuid()).pw_name):
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba.conf|no password supplied|authentication failed"):
            psycopg.connect(good, user=stranger, password="x")
    with connect(server, "postgres") as admin:
        methods = admin.execute("select distinct auth_method from pg_hba_file_rules").fetchall()
        assert methods == [("scram-sha-256",)]
        verifiers = admin.execute(
            "select bool_and(rolpassword like 'SCRAM-SHA-256$%') from pg_authid where rolcanlogin"
        )
        assert verifiers.fetchone() == (True,)


def test_no_unix_socket_and_this_machine_only(server: Embedded) -> None:
    with connect(server, "postgres") as admin:
        assert admin.execute("show unix_socket_directories").fetchone() == ("",)
        assert admin.execute("show listen_addresses").fetchone() == ("127.0.0.1",)
        (port,) = admin.execute("select inet_server_port()").fetchone() or (0,)
    assert not list(Path("/tmp").glob(f".s.PGSQL.{port}*"))
    # Another address of this machine: refused, while the control below is accepted.
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.2", port)) != 0
    with socket.socket() as control:
        assert control.connect_ex(("127.0.0.1", port)) == 0


def test_a_program_that_fails_says_why(server: Embedded) -> None:
    with pytest.raises(EmbeddedError, match=r'pg_dump failed.*database "absent" does not exist'):
        server.run_program("pg_dump", database="absent")


def test_no_role_has_powers(server: Embedded) -> None:
    with connect(server, "postgres") as admin:
        admin.execute("alter role propmgr_app createdb createrole bypassrls replication superuser")
        question = (
            "select count(*) from pg_roles where rolname like 'propmgr_%'"
            " and (rolsuper or rolcreatedb or rolcreaterole or rolbypassrls or rolreplication)"
        )
        assert value(admin, question) == 1  # the control: the question does see powers
        roles.provision(admin, {}, "propmgr")
        assert value(admin, question) == 0
        assert value(admin, "select count(*) from pg_roles where rolname like 'propmgr_%'") == 4


def test_app_does_not_inherit_the_office(server: Embedded) -> None:
    with connect(server, roles.APP) as app, pytest.raises(errors.InsufficientPrivilege):
        app.execute("select * from office_rows")
    with connect(server, "postgres") as admin:
        # The control: a role granted the same without NOINHERIT reads the office's rows.
        admin.execute("create role probe inherit")
        admin.execute("grant propmgr_office to probe")
        with admin.transaction(force_rollback=True):
            admin.execute("set local role probe")
            assert value(admin, "select figure from office_rows") == 7
        admin.execute("drop role probe")


def test_an_inheriting_app_is_put_right(server: Embedded) -> None:
    """A grant made while the role inherited keeps its inherit option from 16 on; provision grants it anew."""
    with connect(server, "postgres") as admin:
        admin.execute("revoke propmgr_office from propmgr_app")
        admin.execute("alter role propmgr_app inherit")
        admin.execute("grant propmgr_office to propmgr_app")
        assert value(admin, "select pg_has_role('propmgr_app', 'propmgr_office', 'usage')") is True
        roles.provision(admin, {}, "propmgr")
        assert value(admin, "select pg_has_role('propmgr_app', 'propmgr_office', 'usage')") is False
        assert value(admin, "select pg_has_role('propmgr_app', 'propmgr_office', 'member')") is True


def test_app_becomes_the_office_for_one_transaction(server: Embedded) -> None:
    with connect(server, roles.APP) as app:
        with app.transaction():
            app.execute("set local role propmgr_office")
            assert value(app, "select figure from office_rows") == 7
            with pytest.raises(errors.DivisionByZero), app.transaction():
                app.execute("select 1/0")
            assert value(app, "select current_user") == "propmgr_office"  # a savepoint rolled back keeps the role
        assert value(app, "select current_user") == "propmgr_app"
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute("select figure from office_rows")
    for role in (roles.OWNER, roles.CHECK):
        with connect(server, role) as other, pytest.raises(errors.InsufficientPrivilege):
            other.execute("set role propmgr_office")


@pytest.mark.parametrize(
    "attack",
    [
        SET_CONFIG,
        "with x as materialized (select set_config('app.read_tenants','2',true)) select * from x",
        "select * from ts_stat('select to_tsvector(set_config(''app.read_tenants'',''2'',true))')",
        "update pg_settings set setting = '256' where name = 'work_mem'",
    ],
)
def test_app_cannot_call_set_config(server: Embedded, attack: str) -> None:
    with connect(server, roles.APP) as app, pytest.raises(errors.InsufficientPrivilege):
        app.execute(attack)
    with connect(server, "postgres") as admin, admin.transaction(force_rollback=True):
        admin.execute(attack)  # the control: the statement itself is sound
    with connect(server, roles.APP) as app, app.transaction():
        app.execute("set local app.read_tenants = '2'")  # what the application itself does


@pytest.mark.parametrize("role", [roles.OWNER, roles.CHECK])
def test_owner_and_check_may_call_set_config(server: Embedded, role: str) -> None:
    with connect(server, role) as connection:
        assert value(connection, SET_CONFIG) == "2"


def test_sessions_think_in_shanghai(server: Embedded) -> None:
    for role in roles.LOGIN_ROLES:
        with connect(server, role) as connection:
            assert value(connection, "show timezone") == "Asia/Shanghai"
            assert value(connection, "show datestyle") == "ISO, YMD"
    with connect(server, roles.APP) as app:
        assert value(app, "show idle_in_transaction_session_timeout") == "2min"


def test_who_may_create_what(server: Embedded) -> None:
    with connect(server, roles.APP) as app:
        app.execute("create temp table scratch (n int)")
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute("create table public.mine (n int)")
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute("create schema mine")
    with connect(server, roles.CHECK) as check:
        for statement in ("create temp table scratch (n int)", "create table public.mine (n int)"):
            with pytest.raises(errors.InsufficientPrivilege):
                check.execute(statement)
    with connect(server, roles.OWNER) as owner:
        owner.execute("create table public.mine (n int)")
        owner.execute("create schema mine")
        owner.execute("drop schema mine")
        owner.execute("drop table public.mine")


def test_backup_works_as_check(server: Embedded, tmp_path: Path) -> None:
    with connect(server, roles.OWNER) as owner:
        owner.execute("grant select on office_rows to propmgr_check")
    dump = tmp_path / "备份 一.dump"
    server.run_program("pg_dump", "--enable-row-security", "-Fc", "-f", dump)
    server.create_database("restored")
    try:
        server.run_program("pg_restore", "-d", "restored", "--exit-on-error", dump, role=roles.OWNER)
        with connect(server, roles.CHECK, "restored") as check:
            assert value(check, "select figure from office_rows") == 7
    finally:
        server.drop_database("restored")
        with connect(server, roles.OWNER) as owner:
            owner.execute("revoke select on office_rows from propmgr_check")


@pytest.mark.parametrize("template", [None, "propmgr"])
def test_a_new_database_has_the_same_rights(server: Embedded, template: str | None) -> None:
    """A template hands on the revoke of set_config, but neither its owner nor who may connect."""
    with connect(server, "postgres", "postgres") as admin:
        admin.execute("create database bare template propmgr")
        rights = "select datacl is null from pg_database where datname = {}"
        assert value(admin, sql.SQL(rights).format("bare")) is True  # the control: PUBLIC may connect to a plain copy
        admin.execute("drop database bare")
    server.create_database("second", template)
    try:
        with connect(server, roles.APP, "second") as app:
            app.execute("create temp table scratch (n int)")
            with pytest.raises(errors.InsufficientPrivilege):
                app.execute(SET_CONFIG)
        with connect(server, roles.CHECK, "second") as check:
            assert value(check, SET_CONFIG) == "2"
        with connect(server, roles.OWNER, "second") as owner:
            owner.execute("create table t (n int)")
        with connect(server, "postgres") as admin:
            public = "select has_database_privilege('propmgr_office', 'second', 'connect')"
            assert value(admin, public) is False
    finally:
        server.drop_database("second")


def test_app_reaches_only_its_databases(server: Embedded) -> None:
    for database in ("postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(server, roles.APP, database)


def test_provision_may_be_repeated(server: Embedded) -> None:
    with connect(server, "postgres") as admin:
        assert roles.provision(admin, {}, "propmgr") == []
        assert roles.provision(admin, {}, "propmgr") == []
        with pytest.raises(ValueError, match="propmgr_office"):
            roles.provision(admin, {"propmgr_office": "x"}, "propmgr")


@pytest.fixture
def empty_server(tmp_path: Path) -> Iterator[Embedded]:
    """A server on which none of our roles exists yet, with an administrator who is no superuser (as managed servers
    give)."""
    embedded = Embedded(default_root(tmp_path), binaries=BINARIES, durable=False)
    embedded.start()
    with connect(embedded, "postgres", "postgres") as admin:
        admin.execute("drop database propmgr")
        for role in roles.ALL_ROLES:
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
        admin.execute("create role dba login createrole createdb password 'dba'")
        hba = embedded.cluster / "pg_hba.conf"
        hba.write_text(hba.read_text() + "host all dba 127.0.0.1/32 scram-sha-256\n")
        admin.execute("select pg_reload_conf()")
        admin.execute("grant connect on database postgres to dba")
    yield embedded
    embedded.erase()


def test_a_managed_server_without_superuser(empty_server: Embedded) -> None:
    """Everything holds but the revoke of set_config, and that is said."""
    address = plain(empty_server.url("postgres", "postgres"))
    with psycopg.connect(address, user="dba", password="dba", autocommit=True) as dba:
        for _ in range(2):
            notes = roles.provision(dba, dict.fromkeys(roles.LOGIN_ROLES, "secret"), "propmgr")
            assert len(notes) == 1
            assert "set_config" in notes[0]
    with psycopg.connect(address, user=roles.OWNER, password="secret", dbname="propmgr", autocommit=True) as owner:
        owner.execute("create table t (n int)")
        assert value(owner, "select nspowner::regrole::text from pg_namespace where nspname = 'public'") == roles.OWNER
    with psycopg.connect(address, user=roles.APP, password="secret", dbname="propmgr", autocommit=True) as app:
        app.execute(SET_CONFIG)  # what the note warned of
        assert value(app, "select pg_has_role('propmgr_office', 'usage')") is False


def test_the_script_for_an_own_server(empty_server: Embedded, tmp_path: Path) -> None:
    psql = empty_server.program("psql") if BINARIES is None else shutil.which("psql")
    script = tmp_path / "roles.sql"
    script.write_text(roles.roles_sql("propmgr"), "utf-8")
    address = plain(empty_server.url("postgres", "postgres")).partition("?")[0]
    command = [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(script)]
    passwords = [part for name in ("owner", "app", "check") for part in ("-v", f"{name}_password=a '{name}'")]

    refused = subprocess.run([*command, address], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "syntax error" in refused.stderr  # no password given: stops instead of setting a known one
    for _ in range(2):
        done = subprocess.run([*command, *passwords, address], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    with psycopg.connect(address, user=roles.APP, password="a 'app'", dbname="propmgr", autocommit=True) as app:
        assert value(app, "select datcollate from pg_database where datname = current_database()") == "C"
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute(SET_CONFIG)
