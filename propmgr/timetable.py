"""What runs when: one table. Decides the times and wires each job to its function; holds no rule of its own.

Times are Asia/Shanghai. A line with `each_organisation` runs once for every organisation, else once for the house.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apscheduler.triggers.cron import CronTrigger
from flask import Flask

from propmgr import backup, checks
from propmgr.audit.heads import HeadFiles
from propmgr.audit.jobs import seal_all
from propmgr.config import DatabaseUrls, Settings
from propmgr.database.unit_of_work import unit_of_work
from propmgr.identity.queries import organisations
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import SHANGHAI, system_act
from propmgr.messages.commands import queue_message, trim_messages
from propmgr.messages.gateways.choice import ports_from
from propmgr.messages.jobs import deliver_due
from propmgr.messages.rules import KEEP_MESSAGES, Channel, MessageKind
from propmgr.places.jobs import load_divisions
from propmgr.work.commands import trim_runs
from propmgr.work.engine import Worker
from propmgr.work.planning import CatchUp, Poll, Scheduled, Timetable
from propmgr.work.run import Run

#: Finished runs are kept this long for the progress pages; what they did stands in the audit log.
KEEP_RUNS = timedelta(days=90)


def build(settings: Settings, urls: DatabaseUrls, bin_dir: Path | None) -> Timetable:
    """The table for one installation."""
    heads = HeadFiles(settings.heads)
    ports = ports_from(settings)

    def check_house(run: Run) -> None:
        alert(run, checks.run_checks(urls.check, heads), settings.operator_email)

    def back_up(run: Run) -> None:
        backup.make(urls, settings.backups, bin_dir, datetime.now(UTC))

    return Timetable(
        jobs={
            "places.load_divisions": load_divisions,
            "house.check": check_house,
            "house.back_up": back_up,
            "messages.trim": _trim_messages,
            "work.trim": _trim_runs,
        },
        scheduled=(
            Scheduled("house.check", _at(minute=7), CatchUp.NEWEST),
            Scheduled("house.back_up", _at(hour=2, minute=30), CatchUp.NEWEST),
            Scheduled("messages.trim", _at(hour=4, minute=10), CatchUp.NEWEST, each_organisation=True),
            Scheduled("work.trim", _at(hour=4, minute=20), CatchUp.NEWEST),
        ),
        polls=(
            Poll("audit.seal", 60, lambda: seal_all(_organisation_ids(), heads)),
            Poll("messages.deliver", 2, lambda: deliver_due(ports, PLATFORM)),
        ),
    )


def alert(run: Run, results: list[checks.Result], operator: str | None) -> None:
    """Log and count violations, and write to the operator: once a day for the same set of broken checks."""
    if not checks.report(results) or operator is None:
        return
    broken = [result for result in results if result.violations]
    names = ", ".join(result.id for result in broken)[:100]
    # The key is the day's alert to this mailbox; the address itself stays out of it.
    mailbox = hashlib.sha256(operator.encode()).hexdigest()[:8]
    with run.item(cursor="alerted") as act:
        queue_message(
            act,
            MessageKind.OPERATOR_ALERT,
            Channel.EMAIL,
            operator,
            {
                "what": f"flask check: {names}",
                "count": sum(len(result.violations) for result in broken),
                "reference": f"run-{run.id}",
            },
            key=f"house.check {act.today} {mailbox} {names}",
        )


def _trim_messages(run: Run) -> None:
    with run.item(cursor="trimmed") as act:
        trim_messages(act, act.at - KEEP_MESSAGES)


def _trim_runs(run: Run) -> None:
    with run.item(cursor="trimmed") as act:
        trim_runs(act.at - KEEP_RUNS)


def make_worker(app: Flask, settings: Settings, urls: DatabaseUrls, bin_dir: Path | None) -> Worker:
    """The worker of this installation, not yet started."""
    return Worker(build(settings, urls, bin_dir), _opened, app.app_context, PLATFORM)


def _opened() -> list[tuple[int, datetime]]:
    return [(organisation.id, organisation.opened_at) for organisation in organisations()]


def _organisation_ids() -> list[int]:
    with unit_of_work(system_act(PLATFORM)):
        return [organisation.id for organisation in organisations()]


def _at(**fields: int) -> CronTrigger:
    return CronTrigger(timezone=SHANGHAI, **fields)
