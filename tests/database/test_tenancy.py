"""Tenancy in SQL, as the app role: every tenant table x every verb x every scope, from the catalogue.

A new tenant table is probed without a word here. Rows are put in as a superuser with triggers and keys switched off,
so that a table needs no factory of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from propmgr.config import DatabaseUrls
from propmgr.database.base import db
from propmgr.database.embedded import Embedded
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.kernel.act import Act, Actor, ActorKind, operator_act
from propmgr.work.commands import request_run
from tests.conftest import Pair, database_name

pytestmark = pytest.mark.database

A, B = 101, 102
SCOPES: dict[str, tuple[str | None, str | None]] = {
    "no scope": (None, None),
    "empty scope": ("", ""),
    "reads and writes A": (str(A), str(A)),
    "reads and writes B": (str(B), str(B)),
    "reads A and B, writes A": (f"{A},{B}", str(A)),
}
#: Values that fit a type; a check constraint that refuses one is named with what it wants instead.
VALUES = {
    "bigint": "1",
    "integer": "1",
    "smallint": "1",
    "text": "'x'",
    "boolean": "false",
    "timestamp with time zone": "now()",
    "date": "current_date",
    "jsonb": "'{}'",
    "bytea": "decode(repeat('00', 32), 'hex')",
    "numeric": "1",
}


@dataclass(frozen=True)
class Table:
    name: str
    columns: dict[str, str]

    def row(self, tenant: int, number: int) -> dict[str, str]:
        values = {column: VALUES[kind] for column, kind in self.columns.items()}
        return {**values, "tenant_id": str(tenant), **({"id": str(number)} if "id" in values else {})}

    def insert(self, tenant: int, number: int, only: set[str] | None = None, tail: str = "") -> str:
        row = {k: v for k, v in self.row(tenant, number).items() if only is None or k in only}
        return f"insert into {self.name} ({', '.join(row)}) values ({', '.join(row.values())}) {tail}"


def tables(connection: psycopg.Connection) -> list[Table]:
    rows = connection.execute(
        "select c.relname, a.attname, split_part(format_type(a.atttypid, null), '[', 1) from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and exists (select from pg_attribute t"
        " where t.attrelid = c.oid and t.attname = 'tenant_id') order by 1, a.attnum"
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    return [Table(name, columns) for name, columns in found.items()]


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")


@pytest.fixture
def filled(server: Embedded, urls: DatabaseUrls) -> Iterator[psycopg.Connection]:
    """Two rows of A and one of B in every tenant table; yields the superuser who put them there."""
    with psycopg.connect(plain(server.url("postgres", database_name(urls))), autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        for table in tables(connection):
            for check in connection.execute(
                "select conname from pg_constraint where contype = 'c' and conrelid = %s::regclass", (table.name,)
            ).fetchall():
                connection.execute(
                    sql.SQL("alter table {} drop constraint {}").format(
                        sql.Identifier(table.name), sql.Identifier(check[0])
                    )
                )
            for tenant, number in ((A, 1), (A, 2), (B, 1)):
                unique = {column: f"'{tenant}-{number}'" for column, kind in table.columns.items() if kind == "text"}
                row = {**table.row(tenant, number), **unique}
                connection.execute(f"insert into {table.name} ({', '.join(row)}) values ({', '.join(row.values())})")
        yield connection


@pytest.fixture
def as_app(urls: DatabaseUrls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(plain(urls.app), autocommit=True, prepare_threshold=None) as connection:
        yield connection


def scoped(connection: psycopg.Connection, scope: tuple[str | None, str | None], statement: str):
    """Run one statement under a scope and roll it back. Returns (rows or count, sqlstate of the error)."""
    try:
        with connection.transaction(force_rollback=True):
            for name, value in zip(("read_tenants", "tenant_id"), scope, strict=True):
                if value is not None:
                    connection.execute(f"set local app.{name} = '{value}'")
            cursor = connection.execute(statement)
            return (cursor.fetchall() if cursor.description else cursor.rowcount), None
    except psycopg.Error as error:
        return None, error.sqlstate


def grants(connection: psycopg.Connection, table: str, verb: str) -> set[str]:
    """Columns of the table on which the app role may do the verb."""
    rows = connection.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
        " and has_column_privilege('propmgr_app', attrelid, attnum, %s)",
        (table, verb),
    )
    return {name for (name,) in rows.fetchall()}


def test_there_are_tables_to_probe(filled):
    assert {"audit_record", "audit_seal"} <= {table.name for table in tables(filled)}


@pytest.mark.parametrize("name", SCOPES)
def test_select_shows_the_read_scope_and_nothing_else(filled, as_app, name):
    scope = SCOPES[name]
    readable = {int(part) for part in (scope[0] or "").split(",") if part}
    for table in tables(filled):
        rows, error = scoped(as_app, scope, f"select tenant_id from {table.name}")
        assert error is None and {tenant for (tenant,) in rows} == readable, (table.name, name)


@pytest.mark.parametrize("name", SCOPES)
@pytest.mark.parametrize("form", ["plain", "on conflict", "returning", "select"])
def test_insert_takes_rows_of_the_write_scope_only(filled, as_app, name, form):
    scope = SCOPES[name]
    for table in tables(filled):
        allowed = grants(filled, table.name, "insert")
        for tenant in (A, B):
            tail = {"on conflict": "on conflict do nothing", "returning": "returning tenant_id"}.get(form, "")
            statement = table.insert(tenant, 7, allowed, tail)
            if form == "select":
                row = {k: v for k, v in table.row(tenant, 7).items() if k in allowed}
                statement = f"insert into {table.name} ({', '.join(row)}) select {', '.join(row.values())}"
            _, error = scoped(as_app, scope, statement)
            mine = scope[1] == str(tenant)
            # A foreign key may refuse the made-up row; row level security speaks first and refuses with 42501.
            assert (error in (None, "23503", "23514", "23505")) if mine else error == "42501", (
                table.name,
                tenant,
                error,
            )


@pytest.mark.parametrize("name", SCOPES)
@pytest.mark.parametrize("verb", ["update", "delete"])
def test_update_and_delete_touch_rows_of_the_write_scope_only(filled, as_app, name, verb):
    scope = SCOPES[name]
    filled.execute("set session_replication_role = replica")
    for table in tables(filled):
        columns = grants(filled, table.name, "update") if verb == "update" else set()
        may = bool(columns) if verb == "update" else has_table(filled, table.name, "delete")
        filled.execute(f"alter table {table.name} disable trigger user")
        column = sorted(columns)[0] if columns else "tenant_id"
        statement = f"update {table.name} set {column} = {column}" if verb == "update" else f"delete from {table.name}"
        count, error = scoped(as_app, scope, statement)
        if not may:
            assert error == "42501", (table.name, "has no grant", error)
        elif error == "23503":
            # It was let through to its own rows, which another row refers to.
            assert verb == "delete" and scope[1], table.name
        else:
            assert error is None and count == {str(A): 2, str(B): 1}.get(scope[1] or "", 0), (table.name, count, error)


def has_table(connection: psycopg.Connection, table: str, verb: str) -> bool:
    row = connection.execute("select has_table_privilege('propmgr_app', %s, %s)", (table, verb)).fetchone()
    return bool(row and row[0])


def test_a_row_cannot_be_moved_to_another_organisation(filled, as_app):
    for table in tables(filled):
        filled.execute(f"alter table {table.name} disable trigger user")
        _, error = scoped(as_app, SCOPES["reads A and B, writes A"], f"update {table.name} set tenant_id = {B}")
        assert error == "42501", table.name


@pytest.mark.parametrize("name", SCOPES)
def test_copy_reads_the_scope_and_cannot_write(filled, as_app, name):
    scope = SCOPES[name]
    for table in tables(filled):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported)):
            with as_app.transaction(force_rollback=True), as_app.cursor() as cursor:
                for setting, value in zip(("read_tenants", "tenant_id"), scope, strict=True):
                    if value is not None:
                        cursor.execute(f"set local app.{setting} = '{value}'")
                with cursor.copy(f"copy {table.name} from stdin") as copy:
                    copy.write_row([None])
        with as_app.transaction(force_rollback=True), as_app.cursor() as cursor:
            for setting, value in zip(("read_tenants", "tenant_id"), scope, strict=True):
                if value is not None:
                    cursor.execute(f"set local app.{setting} = '{value}'")
            with cursor.copy(f"copy (select tenant_id from {table.name}) to stdout") as copy:
                copied = {int(row[0]) for row in copy.rows()}
        assert copied == {int(part) for part in (scope[0] or "").split(",") if part}, table.name


def test_truncate_is_never_granted(filled, as_app):
    for table in tables(filled):
        assert scoped(as_app, SCOPES["reads and writes A"], f"truncate {table.name}")[1] == "42501", table.name


def test_red_control_without_row_level_security_the_probe_sees_everything(filled, as_app):
    """The probes above fail where a table is left open: here one is opened on purpose."""
    filled.execute("alter table audit_seal disable row level security")
    rows, _ = scoped(as_app, SCOPES["no scope"], "select tenant_id from audit_seal")
    assert {tenant for (tenant,) in rows} == {A, B}


def test_two_threads_with_two_scopes_never_mix(app, two_companies: Pair):
    """A pooled connection carries nothing over: 2 x 200 units on few connections, each sees its own row only."""
    seen: list[tuple[int, set[int]]] = []

    def work(tenant: int) -> None:
        with app.app_context():
            for _ in range(200):
                with unit_of_work(operator_act(tenant)):
                    rows = session().execute(text("select tenant_id from audit_record")).scalars()
                    seen.append((tenant, set(rows)))

    threads = [threading.Thread(target=work, args=(tenant,)) for tenant in (two_companies.a, two_companies.b)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 400 and all(rows == {tenant} for tenant, rows in seen)


def test_outside_a_unit_there_is_no_session_and_no_row(app, two_companies):
    with pytest.raises(AssertionError, match="no unit of work"):
        session()
    with db.engine.connect() as connection:
        assert connection.execute(text("select count(*) from audit_record")).scalar_one() == 0


def test_units_do_not_nest(app, two_companies):
    with (
        pytest.raises(AssertionError, match="do not nest"),
        unit_of_work(operator_act(two_companies.a)),
        unit_of_work(operator_act(two_companies.b)),
    ):
        pass


def test_the_scope_survives_a_savepoint_and_ends_with_the_transaction(app, two_companies):
    with unit_of_work(operator_act(two_companies.a)):
        with session().begin_nested() as point:
            point.rollback()
        assert session().execute(text("select count(*) from audit_record")).scalar_one() == 1
    with db.engine.begin() as connection:
        assert connection.execute(text("select current_setting('app.tenant_id', true)")).scalar() in (None, "")


def office_act(tenant: int, division: str) -> Act:
    return Act(Actor(ActorKind.OFFICE, "1"), tenant, operator_act(tenant).at, division=division)


def test_an_office_runs_under_its_own_role_and_the_role_ends_with_the_act(app, an_office):
    with unit_of_work(office_act(an_office, "410105001")) as act:
        assert session().execute(text("select current_user")).scalar_one() == "propmgr_office"
        assert session().execute(text("select current_setting('app.read_division')")).scalar_one() == "410105001"
        with session().begin_nested() as point:
            point.rollback()
        assert session().execute(text("select current_user")).scalar_one() == "propmgr_office"
        # Its own audit rows it may write; the company's seals were never granted to it.
        from propmgr.audit.commands import record

        record(act, "tests.look_around", "tenant", an_office)
    with unit_of_work(operator_act(an_office)):
        assert session().execute(text("select current_user")).scalar_one() == "propmgr_app"


def test_what_was_not_granted_to_offices_is_refused(app, an_office):
    with pytest.raises(Exception, match="permission denied"), unit_of_work(office_act(an_office, "4101")):
        session().execute(text("select * from audit_seal"))


def test_a_division_is_digits_and_nothing_else():
    for bad in ("41'; reset role; --", "４１", "", "41 "):
        with pytest.raises(AssertionError):
            office_act(1, bad)


@pytest.mark.parametrize(
    "attack",
    [
        "select set_config('app.read_tenants', '1,2,3', true)",
        "with x as materialized (select set_config('app.read_tenants', '2', true)) select * from x, audit_record",
        "select 1; set local app.read_tenants = '1,2,3'",
        "select query_to_xml('select set_config(''app.read_tenants'', ''2'', true)', true, true, '')",
        "set session authorization postgres",
        "set role propmgr_owner",
    ],
)
def test_one_injected_statement_cannot_switch_the_scope(app, two_companies, attack):
    with pytest.raises(Exception) as caught, unit_of_work(operator_act(two_companies.a)):
        session().execute(text(attack))
    assert getattr(caught.value.orig, "sqlstate", None) in ("42501", "42601", "22023"), caught.value


def test_the_same_run_key_in_two_organisations_is_two_runs(app, two_companies):
    ids = []
    for tenant in (two_companies.a, two_companies.b):
        with unit_of_work(operator_act(tenant)) as act:
            ids.append(request_run(act, "tests.do_it", "key"))
            ids.append(request_run(act, "tests.do_it", "key"))
    assert ids[0] == ids[1] and ids[2] == ids[3] and ids[0] != ids[2]
