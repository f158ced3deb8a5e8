"""Operator commands (`flask --app wsgi …`). Decides what is printed and with which exit code; never holds a rule.

Exit codes: 0 done, 1 found something wrong, 2 could not be done (the reason is printed).
"""

from __future__ import annotations

import functools
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import flask_migrate
from flask import Flask, current_app
from flask.cli import with_appcontext
from psycopg.errors import UndefinedColumn, UndefinedTable
from sqlalchemy.exc import OperationalError, ProgrammingError

from propmgr import backup, checks, timetable
from propmgr.audit.heads import HeadFiles
from propmgr.config import DatabaseUrls, Settings
from propmgr.database.embedded import Embedded
from propmgr.database.engines import assert_doors
from propmgr.database.locks import LeaderLock
from propmgr.database.roles import roles_sql
from propmgr.database.unit_of_work import unit_of_work
from propmgr.demo.build import build
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import operator_act
from propmgr.kernel.errors import NotReady, PropmgrError
from propmgr.messages.gateways.choice import outbox_folder
from propmgr.messages.gateways.demo import newest
from propmgr.places.edition import EDITION
from propmgr.places.queries import missing_provinces
from propmgr.web.kit.readiness import readiness
from propmgr.work.commands import request_cancel, request_run, resume_run
from propmgr.work.queries import RunState, recent_runs, run_state
from propmgr.work.rules import RunStatus

#: Ids are bigints.
NUMBER = click.IntRange(1, 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Installation:
    """What a command needs to know of where it runs. `embedded` is None beside an own PostgreSQL."""

    settings: Settings
    urls: DatabaseUrls
    embedded: Embedded | None

    @property
    def bin_dir(self) -> Path | None:
        """Folder of pg_dump and pg_restore; None takes them from PATH."""
        return self.embedded.program("pg_dump").parent if self.embedded else None

    @property
    def heads(self) -> HeadFiles:
        """The audit heads kept outside the database."""
        return HeadFiles(self.settings.heads)


def installation() -> Installation:
    """The one of the running app."""
    return current_app.extensions["propmgr.installation"]


def register(app: Flask) -> None:
    """Add all commands to `flask`."""
    proofs = (doors, check, make_backup, restore)
    for command in (*proofs, demo, load_divisions, worker, runs, cancel, resume, outbox, roles):
        app.cli.add_command(command)


def _says_why(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print an expected error as one line and exit with 2, instead of a traceback."""

    @with_appcontext
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except PropmgrError as error:
            reason = str(error)
        except OperationalError:
            reason = "the database cannot be reached"
        except ProgrammingError as error:
            if not isinstance(error.orig, UndefinedTable | UndefinedColumn):
                raise
            reason = "the schema is not at the newest migration: run `flask --app wsgi db upgrade`"
        click.echo(f"error: {reason}", err=True)
        sys.exit(2)

    return wrapped


@click.command("doors")
@_says_why
def doors() -> None:
    """Prove that each database address leads into the same database, as the role it is for."""
    assert_doors(installation().urls)


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print a list of {id, says, checked, violations}.")
@_says_why
def check(as_json: bool) -> None:
    """Prove the invariants of the house on the data as it is. Exit code 1 where one is violated."""
    assert_doors(installation().urls)
    results = checks.run_checks(installation().urls.check, installation().heads)
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results], ensure_ascii=False, indent=1))
    else:
        for result in results:
            click.echo(
                f"{result.id:10} {result.checked:>9} checked  {len(result.violations):>4} violations  {result.says}"
            )
            for violation in result.violations:
                click.echo(f"           - {violation}")
    if any(result.violations for result in results):
        sys.exit(1)


@click.command("demo")
@click.option("--force", is_flag=True, help="Also in a database that is not the embedded one.")
@_says_why
def demo(force: bool) -> None:
    """Build the demo city. Refuses an own database unless forced. Running it again adds nothing."""
    if installation().embedded is None and not force:
        click.echo("error: demo data does not belong into this database; --force puts it there all the same.", err=True)
        sys.exit(2)
    _load_divisions()
    click.echo(f"{build()} organisations opened")


@click.command("worker")
@_says_why
def worker() -> None:
    """Run scheduled work and jobs until SIGTERM. Any number may be started: one leads, the others wait."""
    here = installation()
    assert_doors(here.urls)
    if not readiness().schema:
        raise NotReady("The schema is not at the newest migration: run `flask --app wsgi db upgrade`.")
    app = current_app._get_current_object()
    hands = timetable.make_worker(app, here.settings, here.urls, here.bin_dir)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: hands.stopping.set())
    hands.serve(LeaderLock(here.urls.direct))


@click.command("load-divisions")
@_says_why
def load_divisions() -> None:
    """Load the shipped edition of the division codes, where it is not loaded yet."""
    _load_divisions()


def _load_divisions() -> None:
    with unit_of_work(operator_act(PLATFORM)) as act:
        missing = missing_provinces()
        run_id = request_run(act, "places.load_divisions", f"edition {EDITION}") if missing else None
    if run_id is not None:
        _follow(run_id, "load-divisions")
    click.echo(f"division codes of {EDITION} are loaded")


def _follow(run_id: int, name: str) -> None:
    """Wait for a run; where no worker leads, be the worker until it has ended. Exit 2 unless it is done."""
    here = installation()
    lock = LeaderLock(here.urls.direct)
    while (state := _state(run_id)).status in (RunStatus.QUEUED, RunStatus.RUNNING):
        if lock.acquire():
            try:
                hands = timetable.make_worker(current_app._get_current_object(), here.settings, here.urls, here.bin_dir)
                hands.plan(scheduled=False)
                hands.work_off()
            finally:
                lock.release()
        else:
            click.echo(f"{name}: {state.done} of {state.total or '?'}", err=True)
            time.sleep(1)
    if state.status is not RunStatus.DONE:
        click.echo(f"error: run {run_id} is {state.status} after {state.done} items ({state.error})", err=True)
        sys.exit(2)


def _state(run_id: int) -> RunState:
    with unit_of_work(operator_act(PLATFORM)):
        state = run_state(run_id)
    assert state is not None, "a run that was just asked for is there"
    return state


@click.command("runs")
@click.option("--organisation", type=NUMBER, default=PLATFORM, show_default=True)
@_says_why
def runs(organisation: int) -> None:
    """List the newest runs of an organisation."""
    with unit_of_work(operator_act(organisation)):
        for run in recent_runs():
            click.echo(
                f"{run.id:>6}  {run.status:9} {run.done}/{run.total or '?'}  {run.job}  {run.slot}  {run.error or ''}"
            )


@click.command("cancel")
@click.argument("run_id", type=NUMBER)
@click.option("--organisation", type=NUMBER, default=PLATFORM, show_default=True)
@_says_why
def cancel(run_id: int, organisation: int) -> None:
    """Ask a run to stop between two items."""
    with unit_of_work(operator_act(organisation)) as act:
        request_cancel(act, run_id)


@click.command("resume")
@click.argument("run_id", type=NUMBER)
@click.option("--organisation", type=NUMBER, default=PLATFORM, show_default=True)
@_says_why
def resume(run_id: int, organisation: int) -> None:
    """Queue a failed or cancelled run again, from where it stopped."""
    with unit_of_work(operator_act(organisation)) as act:
        resume_run(act, run_id)


@click.command("outbox")
@click.option("--newest", "count", type=click.IntRange(1, 1000), default=20, show_default=True)
@_says_why
def outbox(count: int) -> None:
    """Show what the demo outbox took in place of a provider of text messages or e-mail."""
    for message in newest(outbox_folder(installation().settings), count):
        click.echo(f"{message.at}  {message.channel:5}  {message.recipient}  {message.subject} {message.text.rstrip()}")


@click.command("backup")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Folder of backups; default PROPMGR_BACKUPS.")
@_says_why
def make_backup(folder: Path | None) -> None:
    """Make a backup and prove that it holds everything."""
    here = installation()
    made = backup.make(here.urls, folder or here.settings.backups, here.bin_dir, datetime.now(UTC))
    click.echo(f"{made}: {backup.read_manifest(made).rows} rows, proven")


@click.command("restore")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_says_why
def restore(folder: Path) -> None:
    """Fill an empty database from a backup, prove it, and bring its schema up to date."""
    here = installation()
    manifest = backup.restore(here.urls, folder, here.bin_dir, here.heads, datetime.now(UTC))
    flask_migrate.upgrade()
    backup.prove(here.urls, here.heads)
    with unit_of_work(operator_act(PLATFORM)) as act:
        backup.note_restore(act, manifest)
    click.echo(f"restored {manifest.rows} rows as of {manifest.made_at}, proven")


@click.command("roles-sql")
def roles() -> None:
    """Print the SQL that a DBA runs once to prepare an own PostgreSQL server."""
    click.echo(roles_sql())
