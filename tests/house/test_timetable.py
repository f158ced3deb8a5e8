"""The timetable: every line has its job, the polls do their work, and a broken invariant reaches the operator."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from propmgr import checks, timetable
from propmgr.audit.heads import HeadFiles
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import operator_act
from propmgr.messages.gateways.choice import outbox_folder
from propmgr.messages.gateways.demo import newest
from propmgr.work.engine import Worker
from propmgr.work.queries import recent_runs
from propmgr.work.rules import RunStatus

pytestmark = pytest.mark.database


@pytest.fixture
def worker(app, settings, server) -> Worker:
    with_operator = replace(settings, operator_email="operator@example.cn")
    return timetable.make_worker(app, with_operator, settings.databases, server.program("pg_dump").parent)


def poll(worker: Worker, name: str) -> object:
    return next(each for each in worker.timetable.polls if each.name == name).run()


def statuses() -> dict[str, RunStatus]:
    with unit_of_work(operator_act(PLATFORM)):
        return {run.job: run.status for run in recent_runs()}


def test_every_line_names_a_job(worker):
    assert {line.job for line in worker.timetable.scheduled} <= set(worker.timetable.jobs)


def test_a_day_of_the_house_runs_to_its_end(worker, two_companies, settings):
    """Everything scheduled has run once, for the house or for each organisation, and each run ended well."""
    yesterday = datetime.now(UTC) - timedelta(hours=25)
    worker.organisations = lambda: [(tenant, yesterday) for tenant in (PLATFORM, two_companies.a, two_companies.b)]
    assert worker.plan() == 3 + 3
    assert worker.work_off() == 6
    assert set(statuses().values()) == {RunStatus.DONE}
    assert len(list(Path(settings.backups).glob("*/manifest.json"))) == 1
    assert worker.plan() == 0


def test_the_seal_poll_seals_every_organisation_and_keeps_heads(worker, two_companies, settings):
    assert poll(worker, "audit.seal") == 2
    kept = {head.tenant_id for _, head in HeadFiles(settings.heads).all()}
    assert kept == {two_companies.a, two_companies.b}
    assert poll(worker, "audit.seal") == 0


def test_a_broken_invariant_reaches_the_operator_once_a_day(worker, two_companies, settings):
    with unit_of_work(operator_act(PLATFORM)):
        session().execute(text("insert into message_due (organisation_id, message_id, due_at) values (1, 77, 'infinity')"))
    for hour in range(3):
        worker.organisations = lambda hour=hour: [(PLATFORM, datetime.now(UTC) - timedelta(hours=1 + hour))]
        worker.plan()
        worker.work_off()
        with unit_of_work(operator_act(PLATFORM)):
            session().execute(text("delete from job_run"))
    assert poll(worker, "messages.deliver") == 1
    letters = newest(outbox_folder(settings), 10)
    assert [letter.recipient for letter in letters] == ["operator@example.cn"]
    assert "I12-due" in letters[0].text
    assert poll(worker, "messages.deliver") == 0


def test_a_clean_house_writes_to_nobody(worker, settings):
    worker.organisations = lambda: [(PLATFORM, datetime.now(UTC) - timedelta(hours=2))]
    worker.plan()
    worker.work_off()
    poll(worker, "messages.deliver")
    assert newest(outbox_folder(settings), 10) == []


def test_report_counts_violations():
    results = [checks.Result("I1", "x", 3, ("a", "b")), checks.Result("I2", "y", 0, ())]
    assert checks.report(results) == 2
