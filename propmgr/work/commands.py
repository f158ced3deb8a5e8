"""Asking for runs, stopping and resuming them. Decides what a person may do to a run; never executes one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from propmgr.audit.commands import record
from propmgr.database.unit_of_work import current_act, session
from propmgr.kernel.act import Act
from propmgr.kernel.errors import Conflict, NotFound
from propmgr.work.models import JobRun
from propmgr.work.rules import MOST_ATTEMPTS, RESUMABLE, RunStatus


def queue_slot(organisation_id: int, job: str, slot: str, at: datetime) -> bool:
    """Queue a scheduled slot. False where it already has a row: two workers never double."""
    return _queue(organisation_id, job, slot, {}, at) is not None


def request_run(act: Act, job: str, key: str, **parameters: str | int | None) -> int:
    """Queue a run a person asked for. `key` came with the page: the same key again is the same run. Returns its id."""
    slot = f"request {key}"
    run_id = _queue(act.tenant_id, job, slot, parameters, act.at)
    if run_id is None:
        return session().scalars(select(JobRun.id).filter_by(organisation_id=act.tenant_id, job=job, slot=slot)).one()
    record(act, "work.request_run", "job_run", run_id, job=job)
    return run_id


def request_cancel(act: Act, run_id: int) -> None:
    """Ask the run to stop between two items; a queued one stops at once. Raises NotFound or Conflict (has ended)."""
    run = _own_run(run_id)
    if run.status is RunStatus.QUEUED:
        run.status, run.finished_at = RunStatus.CANCELLED, act.at
    elif run.status is RunStatus.RUNNING:
        run.cancel_requested = True
    else:
        raise Conflict("This run has already ended.")
    record(act, "work.request_cancel", "job_run", run_id, job=run.job, done=run.done)


def resume_run(act: Act, run_id: int) -> None:
    """Queue a failed or cancelled run again, from where it stopped. Raises NotFound or Conflict."""
    run = _own_run(run_id)
    if run.status not in RESUMABLE:
        raise Conflict("Only a failed or cancelled run can be resumed.")
    run.status, run.finished_at, run.cancel_requested, run.attempts = RunStatus.QUEUED, None, False, 0
    run.not_before = None
    run.error = run.error_reference = None
    record(act, "work.resume_run", "job_run", run_id, job=run.job, done=run.done)


def trim_runs(before: datetime) -> int:
    """Forget finished runs older than `before`, but never the newest of a job: the timetable counts on from it."""
    newest = select(func.max(JobRun.id)).group_by(JobRun.organisation_id, JobRun.job)
    gone = session().execute(
        JobRun.__table__.delete().where(JobRun.finished_at < before, JobRun.id.not_in(newest)).returning(JobRun.id)
    )
    return len(gone.all())


def _queue(organisation_id: int, job: str, slot: str, parameters: Mapping[str, object], at: datetime) -> int | None:
    values = {
        "organisation_id": organisation_id,
        "job": job,
        "slot": slot,
        "parameters": dict(parameters),
        "status": RunStatus.QUEUED,
        "queued_at": at,
    }
    return session().execute(insert(JobRun).values(values).on_conflict_do_nothing().returning(JobRun.id)).scalar()


def _own_run(run_id: int) -> JobRun:
    query = (
        select(JobRun)
        .where(JobRun.id == run_id, JobRun.organisation_id == current_act().tenant_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    run = session().scalars(query).one_or_none()
    if run is None:
        raise NotFound("There is no such run.")
    return run


def claim_next(holder: str, at: datetime) -> JobRun | None:
    """Take the oldest queued run whose job is not already running for that organisation. Called by the leader alone.

    A run that was started MOST_ATTEMPTS times without finishing an item is failed instead: it kills its worker.
    """
    busy = select(JobRun.organisation_id, JobRun.job).where(JobRun.status == RunStatus.RUNNING).subquery()
    query = (
        select(JobRun)
        .outerjoin(busy, (busy.c.organisation_id == JobRun.organisation_id) & (busy.c.job == JobRun.job))
        .where(JobRun.status == RunStatus.QUEUED, busy.c.job.is_(None))
        .where(JobRun.not_before.is_(None) | (JobRun.not_before <= at))
        .order_by(JobRun.id)
        .limit(1)
        .with_for_update(of=JobRun, key_share=True)
    )
    while (run := session().scalars(query).one_or_none()) is not None:
        if run.attempts < MOST_ATTEMPTS:
            run.status, run.holder, run.attempts = RunStatus.RUNNING, holder, run.attempts + 1
            run.started_at = run.started_at or at
            return run
        run.status, run.finished_at, run.error = RunStatus.FAILED, at, "TooManyAttempts"
        session().flush()
    return None


def requeue_orphans(holder: str, active: set[int]) -> int:
    """Queue again what is marked running but is not: its worker died. Only the leader calls this."""
    orphan = (JobRun.status == RunStatus.RUNNING) & ((JobRun.holder != holder) | JobRun.id.not_in(active or {0}))
    moved = session().execute(
        update(JobRun).where(orphan).values(status=RunStatus.QUEUED, holder=None).returning(JobRun.id)
    )
    return len(moved.all())
