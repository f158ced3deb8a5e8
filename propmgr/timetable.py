"""What runs when: one table. Decides the times and wires each job to its function; holds no work itself.

Times are Asia/Shanghai. A line with `each_organisation` runs once for every organisation, else once for the house.
"""

from __future__ import annotations

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

    def check_house(run: Run) -> None:
        checks.report(checks.run_checks(urls.check, heads))

    def back_up(run: Run) -> None:
        backup.make(urls, settings.backups, bin_dir, datetime.now(UTC))

    def trim(run: Run) -> None:
        with run.item(cursor="trimmed") as act:
            trim_runs(act.at - KEEP_RUNS)

    def seal() -> int:
        with unit_of_work(system_act(PLATFORM)):
            tenant_ids = [organisation.id for organisation in organisations()]
        return seal_all(tenant_ids, heads)

    return Timetable(
        jobs={
            "places.load_divisions": load_divisions,
            "house.check": check_house,
            "house.back_up": back_up,
            "house.trim": trim,
        },
        scheduled=(
            Scheduled("house.check", _at(minute=7), CatchUp.NEWEST),
            Scheduled("house.back_up", _at(hour=2, minute=30), CatchUp.NEWEST),
            Scheduled("house.trim", _at(hour=4, minute=10), CatchUp.NEWEST),
        ),
        polls=(Poll("audit.seal", 60, seal),),
    )


def make_worker(app: Flask, settings: Settings, urls: DatabaseUrls, bin_dir: Path | None) -> Worker:
    """The worker of this installation, not yet started."""
    return Worker(build(settings, urls, bin_dir), _opened, app.app_context, PLATFORM)


def _opened() -> list[tuple[int, datetime]]:
    return [(organisation.id, organisation.opened_at) for organisation in organisations()]


def _at(**fields: int) -> CronTrigger:
    return CronTrigger(timezone=SHANGHAI, **fields)
