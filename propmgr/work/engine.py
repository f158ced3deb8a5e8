"""The worker: leads, plans, claims, executes. Decides what happens when a run ends or dies; knows no job.

One process leads at a time (an advisory lock). APScheduler drives the ticks; what is due comes from the database. A
leader that lost its lock stops; whatever it still has in hand is refused at its commit (run.py, Superseded).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy.exc import OperationalError

from propmgr.database.locks import LeaderLock
from propmgr.database.unit_of_work import unit_of_work
from propmgr.kernel.act import new_request_id, system_act
from propmgr.kernel.errors import NotReady
from propmgr.telemetry.metrics import JOB_RUNS, POLL_FAILURES
from propmgr.work import commands, queries
from propmgr.work.planning import Poll, Timetable, due_slots
from propmgr.work.rules import RunStatus
from propmgr.work.run import Cancelled, Run, Stopping, Superseded

log = structlog.get_logger()

#: Long runs at the same time; polls have threads of their own.
RUN_THREADS = 2

#: After trouble with the database or a provider a run waits this long; the row stays in the queue.
TROUBLE_PAUSE = timedelta(seconds=15)

Organisations = Callable[[], list[tuple[int, datetime]]]


class Worker:
    """Executes the timetable. `context` opens the application's context in each thread."""

    def __init__(
        self,
        timetable: Timetable,
        organisations: Organisations,
        context: Callable[[], AbstractContextManager[object]],
        house: int,
    ) -> None:
        self.timetable = timetable
        self.organisations = organisations
        self.context = context
        self.house = house
        self.holder = secrets.token_hex(8)
        self.stopping = threading.Event()
        self._active: set[int] = set()
        self._claiming = threading.Lock()

    def serve(self, lock: LeaderLock, *, wait: float = 2.0) -> None:
        """Lead whenever nobody else does, until `stopping` is set. Outlives the database's downtime."""
        waits = False
        while not self.stopping.is_set():
            try:
                leads = lock.acquire()
            except NotReady:
                log.warning("worker.database_away")
                leads = False
            if leads:
                self._lead(lock)
            elif not waits:
                log.info("worker.waits", because="another worker leads, or the database is away")
            waits = not leads
            self.stopping.wait(wait)

    def _lead(self, lock: LeaderLock) -> None:
        log.info("worker.leads", holder=self.holder)
        polls = [Poll("work.plan", 5, self.plan), *self.timetable.polls]
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(len(polls)), "runs": ThreadPoolExecutor(RUN_THREADS)},
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
        )
        now = datetime.now(UTC)
        for poll in polls:
            scheduler.add_job(
                self._poll, "interval", args=[poll], seconds=poll.seconds, id=poll.name, next_run_time=now
            )
        for number in range(RUN_THREADS):
            take = Poll("work.take", 1, self.work_off)
            scheduler.add_job(self._poll, "interval", args=[take], seconds=1, id=f"take {number}", executor="runs")
        scheduler.start()
        try:
            while not self.stopping.wait(1.0) and lock.held():
                pass
        finally:
            lost = not self.stopping.is_set()
            if lost:
                log.warning("worker.lost_lead", holder=self.holder)
            scheduler.shutdown(wait=True)
            lock.release()

    def _poll(self, poll: Poll) -> None:
        with self.context():
            try:
                poll.run()
            except Exception:
                POLL_FAILURES.labels(poll.name).inc()
                log.exception("worker.poll_failed", poll=poll.name)

    def plan(self, *, scheduled: bool = True) -> int:
        """Queue what a dead worker left behind and, if `scheduled`, every slot that is due. Returns those queued."""
        queued = 0
        with unit_of_work(system_act(self.house)):
            with self._claiming:
                orphans = commands.requeue_orphans(self.holder, self._active)
            organisations = self.organisations()
        if orphans:
            log.warning("worker.requeued_orphans", runs=orphans)
        for line in self.timetable.scheduled if scheduled else ():
            for tenant_id, opened_at in organisations:
                if not line.each_organisation and tenant_id != self.house:
                    continue
                with unit_of_work(system_act(tenant_id)) as act:
                    last = queries.last_slot(tenant_id, line.job)
                    for slot in due_slots(line, last, opened_at, act.at):
                        queued += commands.queue_slot(tenant_id, line.job, slot, act.at)
        return queued

    def work_off(self) -> int:
        """Execute queued runs until there are none. Returns how many were executed."""
        count = 0
        while not self.stopping.is_set() and (run := self._claim()) is not None:
            try:
                self.execute(run)
            finally:
                self._active.discard(run.id)
            count += 1
        return count

    def _claim(self) -> Run | None:
        with self._claiming, unit_of_work(system_act(self.house)) as act:
            row = commands.claim_next(self.holder, act.at)
            if row is None:
                return None
            self._active.add(row.id)
            return Run(row, self.holder, self.stopping)

    def execute(self, run: Run) -> None:
        """Run it to its end, whatever that is, and write the end into its row."""
        reference = new_request_id()
        bound = structlog.contextvars.bound_contextvars(request_id=reference, organisation=run.organisation_id)
        with bound:
            try:
                self.timetable.jobs[run.job](run)
                self._close(run, RunStatus.DONE)
            except Cancelled:
                self._close(run, RunStatus.CANCELLED)
            except Stopping:
                run.hand_back(timedelta(0))
            except Superseded:
                log.warning("work.superseded", job=run.job, run=run.id)
            except (OperationalError, NotReady):
                log.warning("work.trouble", job=run.job, run=run.id, exc_info=True)
                run.hand_back(TROUBLE_PAUSE)
            except Exception as error:
                log.exception("work.failed", job=run.job, run=run.id)
                self._close(run, RunStatus.FAILED, error=type(error).__name__, reference=reference)

    def _close(self, run: Run, status: RunStatus, *, error: str | None = None, reference: str | None = None) -> None:
        JOB_RUNS.labels(run.job, status.value).inc()
        log.info("work.ended", job=run.job, run=run.id, status=status.value, done=run.done)
        run.finish(status, error=error, reference=reference)
