"""The worker: each item once, whoever dies; progress, cancel, resume; downtime is caught up; one leads."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from propmgr.audit.commands import record
from propmgr.audit.models import AuditRecord
from propmgr.database.locks import LeaderLock
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.identity.queries import organisations
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import SHANGHAI, operator_act
from propmgr.kernel.errors import Conflict, NotFound
from propmgr.work.commands import claim_next, queue_slot, request_cancel, request_run, resume_run, trim_runs
from propmgr.work.engine import Worker
from propmgr.work.models import JobRun
from propmgr.work.planning import CatchUp, Scheduled, Timetable, due_slots, slot_instant, slot_text
from propmgr.work.queries import recent_runs, run_state, worker_leads
from propmgr.work.rules import MOST_ATTEMPTS, RunStatus
from propmgr.work.run import Run, Superseded

pytestmark = pytest.mark.database

ITEMS = 10


def count_up(run: Run) -> None:
    """Ten items, each an audit row."""
    run.expect(ITEMS)
    for number in range(int(run.cursor or 0) + 1, ITEMS + 1):
        with run.item(cursor=str(number)) as act:
            record(act, "tests.count_up", "number", number)


def worker(app, job=count_up, scheduled=()) -> Worker:
    return Worker(
        Timetable({"tests.count_up": job}, tuple(scheduled), ()),
        lambda: [(organisation.id, organisation.opened_at) for organisation in organisations()],
        app.app_context,
        PLATFORM,
    )


def ask(tenant: int, key: str = "k") -> int:
    with unit_of_work(operator_act(tenant)) as act:
        return request_run(act, "tests.count_up", key)


def state(tenant: int, run_id: int):
    with unit_of_work(operator_act(tenant)):
        found = run_state(run_id)
    assert found is not None
    return found


def effects(tenant: int) -> list[int]:
    with unit_of_work(operator_act(tenant)):
        query = select(AuditRecord.object_id).where(AuditRecord.act == "tests.count_up").order_by(AuditRecord.id)
        return list(session().scalars(query))


def test_a_run_does_each_item_once_and_says_so(app, two_companies):
    run_id = ask(two_companies.a)
    assert worker(app).work_off() == 1
    assert effects(two_companies.a) == list(range(1, ITEMS + 1))
    done = state(two_companies.a, run_id)
    assert (done.status, done.done, done.total) == (RunStatus.DONE, ITEMS, ITEMS)
    assert worker(app).work_off() == 0
    assert ask(two_companies.a) == run_id, "the same key is the same run"
    assert worker(app).work_off() == 0


def test_another_organisation_sees_nothing_of_a_run(app, two_companies):
    run_id = ask(two_companies.a)
    with unit_of_work(operator_act(two_companies.b)) as act:
        assert run_state(run_id) is None and recent_runs() == []
        for command in (request_cancel, resume_run):
            with pytest.raises(NotFound):
                command(act, run_id)


def test_cancel_stops_between_two_items_and_resume_goes_on_from_there(app, two_companies):
    def cancelled_at_four(run: Run) -> None:
        for number in range(int(run.cursor or 0) + 1, ITEMS + 1):
            if number == 4:
                with app.app_context(), unit_of_work(operator_act(two_companies.a)) as act:
                    request_cancel(act, run.id)
            with run.item(cursor=str(number)) as act:
                record(act, "tests.count_up", "number", number)

    run_id = ask(two_companies.a)
    worker(app, cancelled_at_four).work_off()
    assert state(two_companies.a, run_id).status is RunStatus.CANCELLED
    assert effects(two_companies.a) == [1, 2, 3, 4]
    with unit_of_work(operator_act(two_companies.a)) as act:
        resume_run(act, run_id)
    worker(app).work_off()
    assert state(two_companies.a, run_id).status is RunStatus.DONE
    assert effects(two_companies.a) == list(range(1, ITEMS + 1))


def test_a_queued_run_is_cancelled_at_once_and_an_ended_one_not_at_all(app, two_companies):
    run_id = ask(two_companies.a)
    with unit_of_work(operator_act(two_companies.a)) as act:
        request_cancel(act, run_id)
    assert worker(app).work_off() == 0
    with pytest.raises(Conflict), unit_of_work(operator_act(two_companies.a)) as act:
        request_cancel(act, run_id)
    done = ask(two_companies.a, "other")
    worker(app).work_off()
    with pytest.raises(Conflict), unit_of_work(operator_act(two_companies.a)) as act:
        resume_run(act, done)


def test_a_failed_run_keeps_its_place_and_names_the_error_without_its_text(app, two_companies):
    def fails_at_six(run: Run) -> None:
        for number in range(int(run.cursor or 0) + 1, ITEMS + 1):
            with run.item(cursor=str(number)) as act:
                record(act, "tests.count_up", "number", number)
                if number == 6:
                    raise ValueError("13812345678")

    run_id = ask(two_companies.a)
    worker(app, fails_at_six).work_off()
    failed = state(two_companies.a, run_id)
    assert (failed.status, failed.error, failed.done) == (RunStatus.FAILED, "ValueError", 5)
    assert failed.error_reference
    with unit_of_work(operator_act(two_companies.a)) as act:
        resume_run(act, run_id)
    worker(app).work_off()
    assert effects(two_companies.a) == list(range(1, ITEMS + 1))


def test_database_trouble_puts_the_run_back_into_the_queue(app, two_companies):
    def troubled(run: Run) -> None:
        raise OperationalError("select 1", {}, Exception("gone"))

    run_id = ask(two_companies.a)
    worker(app, troubled).work_off()
    assert state(two_companies.a, run_id).status is RunStatus.QUEUED
    assert worker(app).work_off() == 0, "it pauses first"
    with unit_of_work(operator_act(two_companies.a)):
        session().execute(text("update job_run set not_before = now() - interval '1 second'"))
    assert worker(app).work_off() == 1
    assert state(two_companies.a, run_id).status is RunStatus.DONE


def test_a_worker_told_to_stop_hands_the_run_back(app, two_companies):
    hands = worker(app)

    def stopped_at_three(run: Run) -> None:
        for number in range(int(run.cursor or 0) + 1, ITEMS + 1):
            if number == 3:
                hands.stopping.set()
            with run.item(cursor=str(number)) as act:
                record(act, "tests.count_up", "number", number)

    hands.timetable.jobs["tests.count_up"] = stopped_at_three
    run_id = ask(two_companies.a)
    hands.work_off()
    assert (state(two_companies.a, run_id).status, effects(two_companies.a)) == (RunStatus.QUEUED, [1, 2])
    worker(app).work_off()
    assert effects(two_companies.a) == list(range(1, ITEMS + 1))


def test_a_dead_workers_run_is_taken_over_and_its_last_item_is_refused(app, two_companies):
    """The old worker wakes up in the middle of item 5, after a new one has done everything: nothing is doubled."""
    old = worker(app)
    overtaken: list[str] = []

    def slept_through_item_five(run: Run) -> None:
        for number in range(int(run.cursor or 0) + 1, ITEMS + 1):
            if number == 5:
                with app.app_context():
                    new = worker(app)
                    new.plan()
                    assert new.work_off() == 1
            try:
                with run.item(cursor=str(number)) as act:
                    record(act, "tests.count_up", "number", number)
            except Superseded:
                overtaken.append(str(number))
                raise

    old.timetable.jobs["tests.count_up"] = slept_through_item_five
    run_id = ask(two_companies.a)
    old.work_off()
    assert overtaken == ["5"]
    assert effects(two_companies.a) == list(range(1, ITEMS + 1))
    assert state(two_companies.a, run_id).status is RunStatus.DONE


def test_red_control_without_the_holder_check_an_item_is_doubled(app, two_companies, monkeypatch):
    """What the fence is for: with it taken away, the scenario above does items 5 to 10 twice."""

    def unfenced(self, **values):
        values.pop("holder", None)
        return False

    monkeypatch.setattr(Run, "_update", unfenced)
    run_id = ask(two_companies.a)
    with unit_of_work(operator_act(two_companies.a)) as act:
        row = claim_next("old", act.at)
    assert row is not None and row.id == run_id
    for _ in range(2):
        count_up(Run(row, "whoever", threading.Event()))
    assert Counter(effects(two_companies.a))[5] == 2


def test_a_run_that_kills_its_worker_again_and_again_is_failed(app, two_companies):
    run_id = ask(two_companies.a)
    for _ in range(MOST_ATTEMPTS):
        hands = worker(app)
        hands.plan()
        with unit_of_work(operator_act(PLATFORM)) as act:
            assert claim_next(hands.holder, act.at) is not None
    last = worker(app)
    last.plan()
    assert last.work_off() == 0
    assert (state(two_companies.a, run_id).status, state(two_companies.a, run_id).error) == (
        RunStatus.FAILED,
        "TooManyAttempts",
    )


def test_one_job_runs_once_at_a_time_for_an_organisation(app, two_companies):
    for key in ("one", "two"):
        ask(two_companies.a, key)
    ask(two_companies.b, "one")
    taken = []
    for _ in range(3):
        with unit_of_work(operator_act(PLATFORM)) as act:
            row = claim_next("me", act.at)
            taken.append(row and row.organisation_id)
    assert taken == [two_companies.a, two_companies.b, None]


def monthly(catch_up: CatchUp) -> Scheduled:
    return Scheduled("tests.count_up", CronTrigger(day=1, hour=3, timezone=SHANGHAI), catch_up, each_organisation=True)


def test_slots_are_instants_in_utc_and_sort_as_text():
    instant = datetime(2026, 2, 1, 3, tzinfo=SHANGHAI)
    assert slot_text(instant) == "2026-01-31T19:00:00Z"
    assert slot_instant(slot_text(instant)) == instant
    assert sorted(["request a", "2026-01-31T19:00:00Z"])[0].startswith("2026"), "requests sort behind every slot"


def test_thirty_five_days_of_downtime_are_caught_up_slot_by_slot():
    last = slot_text(datetime(2026, 1, 1, 3, tzinfo=SHANGHAI))
    now = datetime(2026, 3, 7, tzinfo=UTC)
    every = due_slots(monthly(CatchUp.EVERY), last, now, now)
    assert every == ["2026-01-31T19:00:00Z", "2026-02-28T19:00:00Z"]
    assert due_slots(monthly(CatchUp.NEWEST), last, now, now) == every[-1:]
    assert due_slots(monthly(CatchUp.EVERY), every[-1], now, now) == []


@pytest.mark.parametrize("year", range(2024, 2033))
def test_the_first_of_every_month_comes_exactly_once(year):
    """Month ends, leap years and year ends: twelve slots a year, each on the first in Shanghai."""
    opened = datetime(year, 1, 1, 0, 30, tzinfo=SHANGHAI)
    slots = due_slots(monthly(CatchUp.EVERY), None, opened, opened + timedelta(days=366))
    local = [slot_instant(slot).astimezone(SHANGHAI) for slot in slots]
    assert [(day.month, day.day, day.hour) for day in local][:12] == [(month, 1, 3) for month in range(1, 13)]
    assert len(set(slots)) == len(slots)


def test_planning_twice_and_a_clock_put_back_add_nothing(app, two_companies):
    hourly = Scheduled(
        "tests.count_up", CronTrigger(minute=7, timezone=SHANGHAI), CatchUp.EVERY, each_organisation=True
    )
    hands = worker(app, scheduled=[hourly])
    long_ago = datetime.now(UTC) - timedelta(hours=5, minutes=30)
    hands.organisations = lambda: [(two_companies.a, long_ago)]
    first = hands.plan()
    assert first in (5, 6)
    assert hands.plan() == 0
    second = worker(app, scheduled=[hourly])
    second.organisations = hands.organisations
    assert second.plan() == 0, "nor does a second worker"
    with unit_of_work(operator_act(two_companies.a)) as act:
        slot = recent_runs()[0].slot
        assert not queue_slot(two_companies.a, "tests.count_up", slot, act.at)


def test_house_wide_work_is_planned_for_the_platform_only(app, two_companies):
    daily = Scheduled("tests.count_up", CronTrigger(minute="*", timezone=SHANGHAI), CatchUp.NEWEST)
    hands = worker(app, scheduled=[daily])
    hands.organisations = lambda: [
        (tenant, datetime.now(UTC) - timedelta(days=1)) for tenant in (PLATFORM, two_companies.a)
    ]
    assert hands.plan() == 1
    with unit_of_work(operator_act(PLATFORM)):
        assert [run.job for run in recent_runs()] == ["tests.count_up"]


def test_one_leads_and_the_next_takes_over(app, urls):
    first, second = LeaderLock(urls.direct), LeaderLock(urls.direct)
    assert first.acquire() and first.held()
    assert not second.acquire() and not second.held()
    with unit_of_work(operator_act(PLATFORM)):
        assert worker_leads()
    first.release()
    assert second.acquire()
    second.release()
    with unit_of_work(operator_act(PLATFORM)):
        assert not worker_leads()


def test_a_leader_whose_connection_was_cut_knows_it(app, server, urls):
    lock = LeaderLock(urls.direct)
    assert lock.acquire()
    with unit_of_work(operator_act(PLATFORM)):
        session().execute(
            text(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and pid <> pg_backend_pid()"
            )
        )
    assert not lock.held()


def test_two_workers_at_once_never_double(app, two_companies, urls):
    """Both serve for a few seconds over twenty runs; every item takes effect once, and exactly one led at a time."""
    runs = [ask(two_companies.a, f"key {number}") for number in range(10)]
    runs += [ask(two_companies.b, f"key {number}") for number in range(10)]
    hands = [worker(app), worker(app)]
    threads = [
        threading.Thread(target=each.serve, args=(LeaderLock(urls.direct),), kwargs={"wait": 0.1}) for each in hands
    ]
    for thread in threads:
        thread.start()
    deadline = datetime.now(UTC) + timedelta(seconds=60)
    while datetime.now(UTC) < deadline:
        with unit_of_work(operator_act(PLATFORM)):
            open_runs = session().scalar(text("select count(*) from job_run where status <> 'done'"))
        if open_runs == 0:
            break
        hands[0].stopping.wait(0.2)
    for each in hands:
        each.stopping.set()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    for tenant in (two_companies.a, two_companies.b):
        assert Counter(Counter(effects(tenant)).values()) == {10: ITEMS}
    assert all(state(two_companies.a if i < 10 else two_companies.b, run).done == ITEMS for i, run in enumerate(runs))


def test_finished_runs_are_forgotten_but_the_newest_of_a_job_stays(app, two_companies):
    for key in ("one", "two"):
        ask(two_companies.a, key)
    worker(app).work_off()
    with unit_of_work(operator_act(PLATFORM)) as act:
        assert trim_runs(act.at + timedelta(days=1)) == 1
    with unit_of_work(operator_act(two_companies.a)):
        assert [run.slot for run in recent_runs()] == ["request two"]


def test_the_row_of_a_run_refuses_states_that_cannot_be(app, two_companies):
    ask(two_companies.a)
    for nonsense in ("status = 'running'", "status = 'done'", "done = 5, total = 4", "done = -1", "status = 'nothing'"):
        with pytest.raises(Exception, match="ck_job_run"), unit_of_work(operator_act(two_companies.a)):
            session().execute(text(f"update job_run set {nonsense}"))
    with unit_of_work(operator_act(two_companies.a)):
        assert session().scalars(select(JobRun.status)).all() == [RunStatus.QUEUED]
