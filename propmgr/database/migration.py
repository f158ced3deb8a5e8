"""The forms every migration uses for its tables. Decides policies, grants and planner settings; names no table.

A migration creates its tables by Alembic's own words and then says what each is: `tenant_table(...)` or
`global_table(...)`. These functions are part of past migrations: their meaning never changes, a new form gets a new
name. DATA-FORMS sections 0 to 3 give the measurements behind each line (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op

_READ = "tenant_id = any(string_to_array(nullif(current_setting('app.read_tenants', true), ''), ',')::bigint[])"
_WRITE = "tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint"


def tenant_table(
    table: str,
    *,
    update: bool | Sequence[str] = True,
    delete: bool = False,
    office: bool = False,
    sequence: bool = True,
    never_insert: Sequence[str] = (),
) -> None:
    """Row level security, policies by role and verb, grants, and the planner's view of tenant_id.

    `update`: all columns, the named ones, or none. `office`: street offices use the table for their own rows too.
    `never_insert`: columns that only the database fills, so that the app cannot forge them.
    """
    roles = ["propmgr_app", *(["propmgr_office"] if office else [])]
    op.execute(f"alter table {table} enable row level security, force row level security")
    # Whatever tenants the statistics know, the planner must expect few rows for one: else it may walk a whole
    # tenant's rows for each look-up (79 s instead of 0.1 s was measured).
    op.execute(f"alter table {table} alter tenant_id set statistics 1, alter tenant_id set (n_distinct = 20)")
    op.execute(f"create policy {table}_check on {table} for select to propmgr_check using (true)")
    op.execute(f"grant select on {table} to propmgr_check")
    for role in roles:
        short = role.removeprefix("propmgr_")
        op.execute(f"create policy {table}_{short}_r on {table} for select to {role} using ({_READ})")
        op.execute(f"create policy {table}_{short}_i on {table} for insert to {role} with check ({_WRITE})")
        op.execute(f"grant select on {table} to {role}")
        op.execute(f"grant insert{_insert_columns(table, never_insert)} on {table} to {role}")
        if update:
            columns = "" if update is True else f" ({', '.join(update)})"
            own = f"using ({_WRITE}) with check ({_WRITE})"
            op.execute(f"create policy {table}_{short}_u on {table} for update to {role} {own}")
            op.execute(f"grant update{columns} on {table} to {role}")
        if delete:
            op.execute(f"create policy {table}_{short}_d on {table} for delete to {role} using ({_WRITE})")
            op.execute(f"grant delete on {table} to {role}")
    if sequence:
        create_sequence(f"{table}_id_seq", *roles)


def office_facing(table: str, *also: str) -> None:
    """Let street offices read the rows of their division: a tenant table of figures that carries `division_code`.

    One prefix range on an index that begins with the code (2 ms for a street among 250,200 rows; every other form of
    the condition was 10 to 20 times slower). 'A' sorts behind every digit in the C collation. `also`: further columns
    of the index. Call after `tenant_table`.
    """
    division = "nullif(current_setting('app.read_division', true), '')"
    within = f"division_code >= {division} and division_code < {division} || 'A'"
    op.execute(f"create policy {table}_division on {table} for select to propmgr_office using ({within})")
    op.execute(f"grant select on {table} to propmgr_office")
    op.create_index(f"ix_{table}_division", table, ["division_code", *also])


def global_table(table: str, *, insert: bool = True, update: bool | Sequence[str] = True, delete: bool = False) -> None:
    """Grants of a table every organisation may read: no row level security, nothing personal in it."""
    op.execute(f"grant select on {table} to propmgr_app, propmgr_office, propmgr_check")
    if insert:
        op.execute(f"grant insert on {table} to propmgr_app")
    if update:
        columns = "" if update is True else f" ({', '.join(update)})"
        op.execute(f"grant update{columns} on {table} to propmgr_app")
    if delete:
        op.execute(f"grant delete on {table} to propmgr_app")


def create_sequence(name: str, *roles: str, start: int = 1) -> None:
    """A bigint sequence the roles may draw from and the backup may read."""
    op.execute(f"create sequence {name} as bigint start {int(start)}")
    op.execute(f"grant usage on sequence {name} to {', '.join(roles or ('propmgr_app',))}")
    op.execute(f"grant select on sequence {name} to propmgr_check")


def append_only(table: str, function: str = "append_only") -> None:
    """Refuse UPDATE, DELETE and TRUNCATE to everybody, the owner included; grants alone stop only the app."""
    op.execute(
        f"create trigger {table}_{function} before update or delete or truncate on {table}"
        f" for each statement execute function {function}()"
    )


def _insert_columns(table: str, never_insert: Sequence[str]) -> str:
    if not never_insert:
        return ""
    rows = op.get_bind().exec_driver_sql(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
        " order by attnum",
        (table,),
    )
    return f" ({', '.join(name for (name,) in rows if name not in never_insert)})"
