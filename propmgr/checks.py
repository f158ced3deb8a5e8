"""The invariants of the house. Decides what must always hold (ARCHITECTURE section 6); changes nothing.

Each check reads as the role that sees every organisation, in one snapshot, and returns how many things it looked at
and what is wrong with which. Run by `flask check`, hourly by the worker, after every story test and every restore.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, text

from propmgr.audit.heads import HeadFiles
from propmgr.audit.queries import broken_links, head_at
from propmgr.database.engines import check_engine
from propmgr.telemetry.metrics import VIOLATIONS

log = structlog.get_logger()

#: At most this many violations of one kind are listed.
LISTED = 50


@dataclass(frozen=True, slots=True)
class Result:
    """One check: `checked` things looked at, `violations` each a sentence with ids and no names."""

    id: str
    says: str
    checked: int
    violations: tuple[str, ...]


Found = tuple[int, list[str]]
Check = Callable[[Connection, HeadFiles], Found]


def run_checks(url: str, heads: HeadFiles) -> list[Result]:
    """Run all checks in one read-only snapshot. `url` is the check role's."""
    engine = check_engine(url)
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
            return [Result(name, says, *_found(check(connection, heads))) for name, says, check in CHECKS]
    finally:
        engine.dispose()


def report(results: list[Result]) -> int:
    """Set the figures for Prometheus and log what is wrong. Returns the number of violations."""
    for result in results:
        VIOLATIONS.labels(result.id).set(len(result.violations))
        if result.violations:
            log.error("check.violated", check=result.id, count=len(result.violations), first=result.violations[0])
    return sum(len(result.violations) for result in results)


def _found(found: Found) -> tuple[int, tuple[str, ...]]:
    checked, violations = found
    return checked, tuple(violations)


def _chains(connection: Connection, heads: HeadFiles) -> Found:
    """I9: the chains hold by themselves, and every head kept outside is found in them."""
    checked, faults = broken_links(connection)
    outside = list(heads.all())
    if checked and not outside:
        # The worker keeps all heads within a minute: an empty folder is the wrong one, or somebody emptied it.
        faults.append(f"chains are sealed, and no head of theirs is kept in {heads.folder}")
    for day, kept in outside:
        checked += 1
        present = head_at(connection, kept.tenant_id, kept.number)
        if present is None:
            faults.append(f"organisation {kept.tenant_id}: seal {kept.number}, kept outside on {day}, is gone")
        elif present != kept.head:
            faults.append(f"organisation {kept.tenant_id}: seal {kept.number} is not the one kept outside on {day}")
    return checked, faults


def _unsealed(connection: Connection, _: HeadFiles) -> Found:
    """I9: no audit row waits longer than an hour for its seal."""
    query = """select tenant_id, count(*), count(*) filter (where at < now() - interval '1 hour')
               from audit_record where seal_no is null group by tenant_id"""
    rows = connection.execute(text(query)).all()
    late = [f"organisation {tenant}: {late} audit rows unsealed for over an hour" for tenant, _, late in rows if late]
    return sum(count for _, count, _ in rows), late


def tenant_tables(connection: Connection) -> list[str]:
    """Names of all tables that carry a tenant_id, from the catalogue."""
    query = """select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
               where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') order by 1"""
    return list(connection.execute(text(query)).scalars())


def _organisations(connection: Connection, _: HeadFiles) -> Found:
    """I12: every tenant row belongs to an organisation that exists."""
    checked, faults = 0, []
    for table in tenant_tables(connection):
        rows = connection.execute(
            text(
                f"select r.tenant_id, count(*), t.id is null from {table} r"
                " left join tenant t on t.id = r.tenant_id group by 1, 3"
            )
        )
        for tenant_id, count, unknown in rows:
            checked += count
            if unknown:
                faults.append(f"{table}: {count} rows of organisation {tenant_id}, which does not exist")
    return checked, faults


def _child_keys(connection: Connection, _: HeadFiles) -> Found:
    """I12: a foreign key between two tenant tables carries tenant_id on both sides, so no child is another's."""
    query = """
        select con.conname, con.conrelid::regclass::text,
               (select attname from pg_attribute where attrelid = con.conrelid and attnum = con.conkey[1]) = 'tenant_id'
               and (select attname from pg_attribute where attrelid = con.confrelid and attnum = con.confkey[1])
                   = 'tenant_id' and con.convalidated as good
        from pg_constraint con
        where con.contype = 'f' and con.connamespace = 'public'::regnamespace
          and exists (select from pg_attribute where attrelid = con.conrelid and attname = 'tenant_id')
          and exists (select from pg_attribute where attrelid = con.confrelid and attname = 'tenant_id')"""
    rows = connection.execute(text(query)).all()
    return len(rows), [f"{table}: {name} does not begin with tenant_id" for name, table, good in rows if not good]


#: Rows that only an act of somebody makes: (table, its organisation column, a condition, the act that must be there).
_ACTED = (
    ("tenant", "id", "id <> 1", "identity.open_organisation"),
    ("job_run", "organisation_id", "slot like 'request %'", "work.request_run"),
    ("message", "tenant_id", "true", "messages.queue_message"),
)


def _audited(connection: Connection, _: HeadFiles) -> Found:
    """I13: what a person or the house did to a record has its audit row, in the organisation it concerns."""
    checked, faults = 0, []
    for table, organisation, condition, act in _ACTED:
        rows = f"from {table} r where {condition}"
        missing = f"""select r.{organisation}, r.id {rows} and not exists (
            select from audit_record a where a.tenant_id = r.{organisation} and a.object_kind = '{table}'
              and a.object_id = r.id and a.act = '{act}') limit {LISTED}"""
        checked += connection.execute(text(f"select count(*) {rows}")).scalar_one()
        for tenant_id, row_id in connection.execute(text(missing)):
            faults.append(f"{table} {row_id} of organisation {tenant_id} has no audit row {act}")
    return checked, faults


def _due(connection: Connection, _: HeadFiles) -> Found:
    """I12: a message that is due belongs to the organisation it is due for."""
    missing = f"""select organisation_id, message_id from message_due d where not exists (
        select from message m where m.tenant_id = d.organisation_id and m.id = d.message_id) limit {LISTED}"""
    faults = [f"organisation {o}: message {m} is due and does not exist" for o, m in connection.execute(text(missing))]
    return connection.execute(text("select count(*) from message_due")).scalar_one(), faults


def _runs(connection: Connection, _: HeadFiles) -> Found:
    """J1: a finished run did all it announced."""
    short = f"""select id, done, total from job_run
        where status = 'done' and total is not null and done <> total limit {LISTED}"""
    faults = [
        f"run {run} is done after {done} of {total} items" for run, done, total in connection.execute(text(short))
    ]
    return connection.execute(text("select count(*) from job_run")).scalar_one(), faults


def hidden_from_backup(connection: Connection, _: HeadFiles | None = None) -> Found:
    """S1: every tenant table is under forced row level security, each policy names its role, and the backup sees it."""
    query = """
        select c.relname, c.relrowsecurity and c.relforcerowsecurity,
               exists (select from pg_policy p where p.polrelid = c.oid and p.polcmd = 'r'
                         and 'propmgr_check'::regrole = any(p.polroles)
                         and pg_get_expr(p.polqual, p.polrelid) = 'true'),
               exists (select from pg_policy p where p.polrelid = c.oid and 0 = any(p.polroles))
        from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
          and (c.relrowsecurity or exists (
                select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id'))"""
    rows = connection.execute(text(query)).all()
    faults = [f"{table}: row level security is not enabled and forced" for table, forced, _, _ in rows if not forced]
    faults += [f"{table}: the backup would be silently empty" for table, _, seen, _ in rows if not seen]
    faults += [f"{table}: a policy is for everybody" for table, _, _, everybody in rows if everybody]
    return len(rows), faults


def _doors(connection: Connection, _: HeadFiles) -> Found:
    """S2: the app role owns nothing, inherits nothing and cannot switch its scope inside a statement."""
    query = """
        select 'a role of the house may step over row level security' where exists (
            select from pg_roles where rolname like 'propmgr\\_%' and (rolsuper or rolbypassrls))
        union all select 'propmgr_app inherits rights' where exists (
            select from pg_roles where rolname = 'propmgr_app' and rolinherit)
        union all select 'propmgr_app owns tables' where exists (
            select from pg_class where relowner = 'propmgr_app'::regrole and relpersistence = 'p')
        union all select 'propmgr_app may call set_config' where has_function_privilege(
            'propmgr_app', 'pg_catalog.set_config(text, text, boolean)', 'execute')
        union all select 'function ' || proname || ' runs with its owner''s rights' from pg_proc
            where pronamespace = 'public'::regnamespace and prosecdef
        union all select 'view ' || relname || ' shows more than its reader may see' from pg_class
            where relnamespace = 'public'::regnamespace and (relkind = 'm' or relkind = 'v'
              and not coalesce(reloptions, '{}') @> '{security_invoker=true}')"""
    return 6, list(connection.execute(text(query)).scalars())


CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("I9", "the audit chains hold, and the heads kept outside are found in them", _chains),
    ("I9-age", "no audit row waits longer than an hour for its seal", _unsealed),
    ("I12", "every row belongs to an organisation that exists", _organisations),
    ("I12-keys", "no child row can be another organisation's", _child_keys),
    ("I12-due", "what is due to be sent exists in its organisation", _due),
    ("I13", "every writing act has its audit row", _audited),
    ("J1", "a finished run did all it announced", _runs),
    ("S1", "row level security covers every tenant table, and the backup sees them", hidden_from_backup),
    ("S2", "the app's role cannot step over the walls", _doors),
)
