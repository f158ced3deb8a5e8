"""The handle a job gets. Decides that an item's effects and its progress are one commit; knows no job.

def load_divisions(run: Run) -> None:
    for province in provinces_after(run.cursor):
        with run.item(cursor=province) as act:
            commands.load_province(act, province)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import update

from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.kernel.act import Act, system_act
from propmgr.kernel.crash import crash_point
from propmgr.work.models import JobRun
from propmgr.work.rules import RunStatus


class Cancelled(Exception):
    """A person asked the run to stop; what is done stays done."""


class Superseded(Exception):
    """Another worker has taken the run over: the item just tried was rolled back here and is done there."""


class Stopping(Exception):
    """The worker is shutting down; the run goes on in the next one."""


class Run:
    """One claimed run. `cursor` is the mark of the last finished item, None at the start."""

    def __init__(self, row: JobRun, holder: str, stopping: threading.Event) -> None:
        self.id = row.id
        self.organisation_id = row.organisation_id
        self.job = row.job
        self.slot = row.slot
        self.parameters: Mapping[str, Any] = row.parameters
        self.cursor = row.cursor
        self.done = row.done
        self._holder = holder
        self._stopping = stopping

    def expect(self, total: int) -> None:
        """Say how many items there are in all, finished ones included."""
        with unit_of_work(self._act()):
            self._update(total=total)

    @contextmanager
    def item(self, cursor: str, *, count: int = 1) -> Iterator[Act]:
        """One item: a unit of work that commits its effects together with the progress `cursor`.

        Raises Cancelled or Stopping before the item begins, Superseded instead of committing.
        """
        if self._stopping.is_set():
            raise Stopping
        with unit_of_work(self._act()) as act:
            yield act
            session().flush()
            crash_point("item.before")
            cancel = self._update(done=JobRun.done + count, cursor=cursor, attempts=0)
        self.cursor, self.done = cursor, self.done + count
        if cancel:
            raise Cancelled

    def _update(self, **values: object) -> bool:
        """Write to the row while it is still ours. Returns whether a stop was asked for."""
        mine = (JobRun.id == self.id) & (JobRun.holder == self._holder) & (JobRun.status == RunStatus.RUNNING)
        row = session().execute(update(JobRun).where(mine).values(values).returning(JobRun.cancel_requested)).scalar()
        if row is None:
            raise Superseded
        return row

    def _act(self) -> Act:
        return system_act(self.organisation_id, name=self.job)

    def finish(self, status: RunStatus, *, error: str | None = None, reference: str | None = None) -> None:
        """Close the row. Called by the engine alone."""
        act = self._act()
        with unit_of_work(act):
            self._update(status=status, holder=None, finished_at=act.at, error=error, error_reference=reference)

    def hand_back(self, pause: timedelta) -> None:
        """Put the row back into the queue, to be claimed after `pause`. Called by the engine alone."""
        act = self._act()
        with unit_of_work(act):
            self._update(status=RunStatus.QUEUED, holder=None, not_before=act.at + pause)
