"""Reading runs. Decides what a progress page shows; never writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text

from propmgr.database.locks import HOUSE, LEADER
from propmgr.database.unit_of_work import current_act, session
from propmgr.work.models import JobRun
from propmgr.work.rules import RunStatus


@dataclass(frozen=True, slots=True)
class RunState:
    """One run as a page shows it."""

    id: int
    job: str
    slot: str
    status: RunStatus
    done: int
    total: int | None
    error: str | None
    error_reference: str | None
    queued_at: datetime
    finished_at: datetime | None


def run_state(run_id: int) -> RunState | None:
    """The run, if it belongs to an organisation the act may read; else None."""
    query = select(JobRun).where(JobRun.id == run_id, JobRun.organisation_id.in_(current_act().read_tenants))
    row = session().scalars(query).one_or_none()
    return None if row is None else _seen(row)


def recent_runs(limit: int = 50) -> list[RunState]:
    """The newest runs of the act's organisation."""
    query = (
        select(JobRun).where(JobRun.organisation_id == current_act().tenant_id).order_by(JobRun.id.desc()).limit(limit)
    )
    return [_seen(row) for row in session().scalars(query)]


def run_counts() -> Counter[RunStatus]:
    """How many runs of the whole house stand where; finished ones are kept for 90 days."""
    rows = session().execute(select(JobRun.status, func.count()).group_by(JobRun.status))
    return Counter(dict(rows.all()))


def last_slot(organisation_id: int, job: str) -> str | None:
    """The newest scheduled slot with a row: ISO instants in UTC sort as text; requests begin with a letter."""
    query = select(func.max(JobRun.slot)).where(
        JobRun.organisation_id == organisation_id, JobRun.job == job, JobRun.slot < "A"
    )
    return session().scalar(query)


def worker_leads() -> bool:
    """Whether some worker holds the leader's lock right now."""
    query = text(
        "select exists (select from pg_locks where locktype = 'advisory' and classid = :h and objid = :l and granted"
        " and database = (select oid from pg_database where datname = current_database()))"
    )
    return bool(session().execute(query, {"h": HOUSE, "l": LEADER}).scalar_one())


def _seen(row: JobRun) -> RunState:
    return RunState(
        row.id,
        row.job,
        row.slot,
        row.status,
        row.done,
        row.total,
        row.error,
        row.error_reference,
        row.queued_at,
        row.finished_at,
    )
