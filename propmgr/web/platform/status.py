"""运行状态: is the house up? Decides what the page says of each part; shows no organisation and no person.

Works while the database is down: that is when people look at it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from flask import Blueprint, redirect, render_template, url_for
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.wrappers import Response

from propmgr.database.unit_of_work import unit_of_work
from propmgr.places.edition import PROVINCES
from propmgr.places.queries import divisions_count, missing_provinces
from propmgr.web.kit.acts import house_act
from propmgr.web.kit.languages import msgid
from propmgr.web.kit.readiness import Readiness, readiness
from propmgr.work.queries import run_counts, worker_leads
from propmgr.work.rules import RunStatus

log = structlog.get_logger()
blueprint = Blueprint("platform_status", __name__)

#: Order, words, icon and colour of the states of a run.
STATES = (
    (RunStatus.RUNNING, msgid("Running"), "player-play", "info"),
    (RunStatus.QUEUED, msgid("Queued"), "clock", "plain"),
    (RunStatus.DONE, msgid("Done"), "circle-check", "ok"),
    (RunStatus.FAILED, msgid("Failed"), "alert-triangle", "bad"),
    (RunStatus.CANCELLED, msgid("Cancelled"), "circle-x", "plain"),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the database says of the house; None everywhere else on the page means: it was not to be had."""

    worker: bool
    divisions: int
    missing_provinces: int
    runs: Counter[RunStatus]

    @property
    def open_runs(self) -> int:
        """Waiting or being worked on."""
        return self.runs[RunStatus.QUEUED] + self.runs[RunStatus.RUNNING]


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the page. `state` is a word people know, `tone` its colour."""

    name: str
    icon: str
    state: str
    tone: str
    says: str


@blueprint.get("/")
def start() -> Response:
    """The start page is the status page."""
    return redirect(url_for("platform_status.show"))


@blueprint.get("/status")
def show() -> str:
    """Load, then say of each part how it is."""
    ready = readiness()
    figures = _figures() if ready.ready else None
    parts = (_web(), _database(ready), _schema(ready), _worker(figures), _divisions(figures))
    return render_template(
        "platform/status.html",
        parts=parts,
        figures=figures,
        states=STATES,
        provinces=len(PROVINCES),
        well=all(part.tone == "ok" for part in parts),
        serving=ready.ready,
        now=datetime.now(UTC),
    )


def _figures() -> Figures | None:
    """The figures, or None when the database went away between two questions."""
    try:
        with unit_of_work(house_act("status")):
            return Figures(
                worker=worker_leads(),
                divisions=divisions_count(),
                missing_provinces=len(missing_provinces()),
                runs=run_counts(),
            )
    except (DBAPIError, PoolTimeoutError):
        log.warning("status.no_figures", exc_info=True)
        return None


def _web() -> Part:
    return Part(
        msgid("Web service"), "device-tv", msgid("Normal"), "ok", msgid("This page was answered, so pages are served.")
    )


def _database(ready: Readiness) -> Part:
    name, icon = msgid("Database"), "database"
    if ready.database:
        return Part(name, icon, msgid("Normal"), "ok", msgid("Answers within two seconds."))
    says = msgid("Cannot be reached. Nothing can be saved until it answers again; no restart is needed then.")
    return Part(name, icon, msgid("Not reachable"), "bad", says)


def _schema(ready: Readiness) -> Part:
    name, icon = msgid("Data structure"), "hierarchy"
    if ready.schema:
        return Part(name, icon, msgid("Normal"), "ok", msgid("Matches this release."))
    if not ready.database:
        return Part(name, icon, msgid("Unknown"), "plain", msgid("Can be checked once the database answers."))
    says = msgid("Does not match this release. Run the set-up again.")
    return Part(name, icon, msgid("Not matching"), "bad", says)


def _worker(figures: Figures | None) -> Part:
    name, icon = msgid("Background worker"), "settings"
    if figures is None:
        return Part(name, icon, msgid("Unknown"), "plain", msgid("Can be checked once the database answers."))
    if figures.worker:
        says = msgid("Scheduled work, messages and long runs are being done.")
        return Part(name, icon, msgid("Normal"), "ok", says)
    says = msgid("Scheduled work, messages and long runs wait. They are caught up once a worker starts.")
    return Part(name, icon, msgid("Not running"), "warn", says)


def _divisions(figures: Figures | None) -> Part:
    name, icon = msgid("Division codes"), "map-pin"
    if figures is None:
        return Part(name, icon, msgid("Unknown"), "plain", msgid("Can be checked once the database answers."))
    if figures.missing_provinces == 0:
        return Part(name, icon, msgid("Complete"), "ok", msgid("Every province of the shipped edition is loaded."))
    says = msgid("The shipped edition is not loaded completely. Addresses can only be chosen where it is.")
    return Part(name, icon, msgid("Incomplete"), "warn", says)
