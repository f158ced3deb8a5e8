"""What is due, computed from the database. Decides slots; knows no job and starts nothing.

A trigger is APScheduler's, in Asia/Shanghai; only its arithmetic is used. The rows in job_run are the memory: after a
night or a month of downtime the missing slots are found by counting on from the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from apscheduler.triggers.base import BaseTrigger

from propmgr.work.run import Run


class CatchUp(StrEnum):
    """After downtime: run every missed slot (a month's bills), or only the newest (a backup)."""

    EVERY = "every"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One line of the timetable. `each_organisation` False: once for the house, in the platform's name."""

    job: str
    trigger: BaseTrigger
    catch_up: CatchUp
    each_organisation: bool = False


@dataclass(frozen=True, slots=True)
class Poll:
    """Work that finds its own items (an outbox, an inbox) every few seconds and needs no row a run."""

    name: str
    seconds: float
    run: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timetable:
    """Everything the worker does: jobs by name, when they run by themselves, and the polls."""

    jobs: dict[str, Callable[[Run], None]]
    scheduled: tuple[Scheduled, ...]
    polls: tuple[Poll, ...]


def slot_text(instant: datetime) -> str:
    """The slot of an instant: ISO, UTC, whole seconds; sorts as text."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def slot_instant(slot: str) -> datetime:
    """The instant of a scheduled slot."""
    return datetime.strptime(slot, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def due_slots(line: Scheduled, last: str | None, opened_at: datetime, now: datetime) -> list[str]:
    """Slots of the line after `last` (or after the organisation's opening) up to `now`, oldest first.

    With CatchUp.NEWEST at most one. A clock that was put back finds slots that already have a row, and adds nothing.
    """
    after = slot_instant(last) if last is not None else opened_at
    slots = [slot_text(instant) for instant in _instants(line.trigger, after, now)]
    return slots if line.catch_up is CatchUp.EVERY else slots[-1:]


def _instants(trigger: BaseTrigger, after: datetime, now: datetime) -> Iterator[datetime]:
    # Asked with "now = just after the last one" and no previous fire time, the trigger answers by calendar alone.
    instant = trigger.get_next_fire_time(None, after + timedelta(seconds=1))
    while instant is not None and instant <= now:
        yield instant
        instant = trigger.get_next_fire_time(None, instant + timedelta(seconds=1))
