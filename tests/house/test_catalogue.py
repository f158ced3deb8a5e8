"""The database as it really is, read from its catalogue: policies, keys, grants, leaky views and functions.

Each finding is a function of a connection, and each is seen failing on a table made wrong on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from propmgr.audit.heads import HeadFiles
from propmgr.checks import run_checks
from propmgr.database.base import Base, GlobalTable, TenantTable
from tests.conftest import database_name

pytestmark = pytest.mark.database

TENANT = """exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and a.attnum > 0)
    and c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"""

#: name -> query that returns what is wrong.
FINDINGS: dict[str, str] = {
    "tenant tables without enabled and forced row level security": f"""
        select relname from pg_class c where {TENANT} and not (relrowsecurity and relforcerowsecurity)""",
    "tables without a check policy, whose backup would be empty": f"""
        select relname from pg_class c where {TENANT} and not exists (select from pg_policy p where p.polrelid = c.oid
          and p.polcmd = 'r' and 'propmgr_check'::regrole = any(p.polroles))""",
    "policies for everybody": "select polname from pg_policy where 0 = any(polroles)",
    "policies with OR or a sub-select": """
        select polname from pg_policy, lateral (values (pg_get_expr(polqual, polrelid)), (pg_get_expr(polwithcheck,
          polrelid))) e (text) where text ~* '\\m(or|select)\\M'""",
    "policies of the app that do not compare tenant_id": f"""
        select p.polname from pg_policy p join pg_class c on c.oid = p.polrelid where {TENANT}
          and 'propmgr_check'::regrole <> all(p.polroles)
          and coalesce(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
              !~ '^\\(?\\(?(tenant_id|division_code) '""",
    "primary keys that are not (tenant_id, ...)": f"""
        select relname from pg_class c where {TENANT} and not exists (select from pg_constraint k where k.conrelid = c.oid
          and k.contype = 'p' and (select attname from pg_attribute where attrelid = c.oid and attnum = k.conkey[1])
              = 'tenant_id')""",
    "unique keys that do not begin with tenant_id": f"""
        select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid where {TENANT}
          and i.indisunique and (select attname from pg_attribute where attrelid = c.oid and attnum = i.indkey[0])
              <> 'tenant_id'""",
    "indexes of tenant tables that do not begin with tenant_id or division_code": f"""
        select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid where {TENANT}
          and coalesce((select attname from pg_attribute where attrelid = c.oid and attnum = i.indkey[0]), '')
              not in ('tenant_id', 'division_code')""",
    "foreign keys between tenant tables that do not begin with tenant_id": """
        select conname from pg_constraint k where contype = 'f'
          and exists (select from pg_attribute where attrelid = k.conrelid and attname = 'tenant_id')
          and exists (select from pg_attribute where attrelid = k.confrelid and attname = 'tenant_id')
          and not ((select attname from pg_attribute where attrelid = k.conrelid and attnum = k.conkey[1]) = 'tenant_id'
            and (select attname from pg_attribute where attrelid = k.confrelid and attnum = k.confkey[1]) = 'tenant_id')""",
    "global tables that point into tenant tables": """
        select conname from pg_constraint k where contype = 'f'
          and not exists (select from pg_attribute where attrelid = k.conrelid and attname = 'tenant_id')
          and exists (select from pg_attribute where attrelid = k.confrelid and attname = 'tenant_id')""",
    "foreign keys that set null, were never validated, or are deferrable": """
        select conname from pg_constraint where contype = 'f' and (confdeltype in ('n', 'd') or not convalidated
          or condeferrable)""",
    "exclusion constraints": "select conname from pg_constraint where contype = 'x'",
    "identity columns, which a bulk statement cannot fill": """
        select attrelid::regclass || '.' || attname from pg_attribute where attidentity <> ''
          and attrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)""",
    "tables whose tenant_id the planner takes for a rare value": f"""
        select relname from pg_class c where {TENANT} and not exists (select from pg_attribute a where a.attrelid = c.oid
          and a.attname = 'tenant_id' and a.attstattarget = 1 and a.attoptions::text like '%n_distinct=20%')""",
    "tables nobody of ours owns": """
        select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'S')
          and relowner <> 'propmgr_owner'::regrole""",
    "rights of PUBLIC on a table or sequence": """
        select relname from pg_class, aclexplode(relacl) where relnamespace = 'public'::regnamespace and grantee = 0""",
    "rights to truncate, refer or trigger outside the owner": """
        select relname || ' ' || privilege_type from pg_class, aclexplode(relacl)
        where relnamespace = 'public'::regnamespace and grantee <> 'propmgr_owner'::regrole
          and privilege_type in ('TRUNCATE', 'REFERENCES', 'TRIGGER')""",
    "rights of the check role beyond reading": """
        select relname || ' ' || privilege_type from pg_class, aclexplode(relacl)
        where relnamespace = 'public'::regnamespace and grantee = 'propmgr_check'::regrole
          and privilege_type <> 'SELECT'""",
    "tables and sequences the backup cannot read": """
        select relname from pg_class where relnamespace = 'public'::regnamespace and (
            relkind in ('r', 'p') and not has_table_privilege('propmgr_check', oid, 'select')
            or relkind = 'S' and not has_sequence_privilege('propmgr_check', oid, 'select'))""",
    "views that show more than their reader may see": """
        select relname from pg_class where relnamespace = 'public'::regnamespace and (relkind = 'm'
          or relkind = 'v' and not coalesce(reloptions, '{}') @> '{security_invoker=true}')""",
    "functions that run with their owner's rights": """
        select proname from pg_proc where pronamespace = 'public'::regnamespace and prosecdef""",
}

#: finding -> what makes it true: the red control.
WRONGS: dict[str, str] = {
    "tenant tables without enabled and forced row level security": "alter table audit_seal no force row level security",
    "tables without a check policy, whose backup would be empty": "drop policy audit_seal_check on audit_seal",
    "policies for everybody": "create policy wrong on audit_seal for select using (false)",
    "policies with OR or a sub-select": "create policy wrong on audit_seal for select to propmgr_app using (id = 1 or id = 2)",
    "policies of the app that do not compare tenant_id": "create policy wrong on audit_seal for select to propmgr_app using (true)",
    "primary keys that are not (tenant_id, ...)": "create table wrong (tenant_id bigint, id bigint primary key)",
    "unique keys that do not begin with tenant_id": "create unique index wrong on audit_seal (id)",
    "indexes of tenant tables that do not begin with tenant_id or division_code": "create index wrong on audit_seal (id)",
    "foreign keys between tenant tables that do not begin with tenant_id": """
        create table wrong (id bigint, tenant_id bigint, foreign key (id, tenant_id) references audit_record (id, tenant_id))""",
    "global tables that point into tenant tables": """
        create table wrong (a bigint, b bigint, foreign key (a, b) references audit_seal (tenant_id, id))""",
    "foreign keys that set null, were never validated, or are deferrable": """
        create table wrong (code text references division (code) on delete set null)""",
    "exclusion constraints": "create table wrong (a int, exclude using btree (a with =))",
    "identity columns, which a bulk statement cannot fill": "create table wrong (a bigint generated always as identity)",
    "tables whose tenant_id the planner takes for a rare value": "alter table audit_seal alter tenant_id reset (n_distinct)",
    "tables nobody of ours owns": "create table wrong (a int); alter table wrong owner to postgres",
    "rights of PUBLIC on a table or sequence": "grant select on division to public",
    "rights to truncate, refer or trigger outside the owner": "grant truncate on division to propmgr_app",
    "rights of the check role beyond reading": "grant insert on division to propmgr_check",
    "tables and sequences the backup cannot read": "create sequence wrong",
    "views that show more than their reader may see": "create view wrong as select 1 as one",
    "functions that run with their owner's rights": """
        create function wrong() returns int language sql security definer as 'select 1'""",
}


@pytest.fixture
def superuser(server, urls) -> Iterator[psycopg.Connection]:
    address = server.url("postgres", database_name(urls)).replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


def found(connection: psycopg.Connection, name: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(FINDINGS[name]).fetchall()]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FINDINGS)
def test_the_schema_has_none_of(superuser, name):
    assert found(superuser, name) == []


@pytest.mark.parametrize("name", FINDINGS)
def test_red_control_it_would_be_found(superuser, name):
    if name.startswith("foreign keys between"):
        superuser.execute("create unique index other on audit_record (id, tenant_id)")
    superuser.execute(WRONGS[name])  # type: ignore[arg-type]
    assert found(superuser, name) != []


def test_every_table_is_a_tenants_or_says_why_not(superuser):
    for mapper in Base.registry.mappers:
        table = mapper.class_
        if issubclass(table, TenantTable):
            assert "tenant_id" in mapper.columns, table
        else:
            assert issubclass(table, GlobalTable) and len(table.__why_global__) > 20, table
            assert "tenant_id" not in mapper.columns, f"{table}: a global table names its organisation organisation_id"
    known = {mapper.local_table.name for mapper in Base.registry.mappers} | {"alembic_version"}
    rows = superuser.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
    )
    assert {name for (name,) in rows.fetchall()} == known


BREACHES: list[tuple[str, str | Callable[[psycopg.Connection], None]]] = [
    ("S1", "alter table audit_seal no force row level security"),
    ("S1", "drop policy audit_seal_check on audit_seal"),
    ("S2", "alter table audit_seal owner to propmgr_app"),
    ("S2", "grant execute on function set_config(text, text, boolean) to propmgr_app"),
    ("S2", "create function wrong() returns int language sql security definer as 'select 1'"),
    (
        "I12-keys",
        "create table wrong (i bigint, tenant_id bigint, foreign key (i, tenant_id) references audit_seal (tenant_id, id));"
        " grant select on wrong to propmgr_check",
    ),
    (
        "I12",
        "insert into audit_record (tenant_id, id, at, actor_kind, actor_id, act, object_kind, request_id)"
        " values (999, 1, now(), 'system', 'x', 'x.y_z', 'x', 'r')",
    ),
    ("I12-due", "insert into message_due (organisation_id, message_id, due_at) values (1, 77, now())"),
    ("I13", "insert into tenant (id, kind, name, status, opened_at) values (88, 'company', 'x', 'open', now())"),
    (
        "I13",
        "insert into job_run (id, organisation_id, job, slot, status, queued_at)"
        " values (88, 1, 'a.b_c', 'request k', 'queued', now())",
    ),
    (
        "J1",
        "insert into job_run (id, organisation_id, job, slot, status, queued_at, finished_at, done, total)"
        " values (89, 1, 'a.b_c', '2026', 'done', now(), now(), 1, 2)",
    ),
]


@pytest.mark.parametrize(("check", "breach"), BREACHES)
def test_flask_check_finds_a_breach(superuser, urls, tmp_path, check, breach):
    heads = HeadFiles(tmp_path)
    before = {result.id: result.violations for result in run_checks(urls.check, heads)}
    assert before[check] == ()
    superuser.execute(breach)
    after = {result.id: result.violations for result in run_checks(urls.check, heads)}
    assert after[check] != ()


def test_every_check_but_the_chains_own_is_seen_failing_here():
    """I9 and I9-age fail in tests/audit; a new check needs its breach above."""
    from propmgr.checks import CHECKS

    assert {name for name, _, _ in CHECKS} - {"I9", "I9-age"} == {check for check, _ in BREACHES}
