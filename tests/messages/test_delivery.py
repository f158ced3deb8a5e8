"""Delivery: after the commit, at least once, at most five times, each message by itself."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import text

from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import system_act
from propmgr.messages import delivery, queries
from propmgr.messages.gateways.port import Accepted, Refused, Unavailable
from propmgr.messages.jobs import TIRED_AFTER
from propmgr.messages.queries import BATCH, SHARE, Due
from propmgr.messages.rules import LEASE, PAUSES, DeliveryStatus
from propmgr.telemetry.metrics import MESSAGES, MESSAGES_DUE
from tests.conftest import Pair
from tests.messages.outbox import CODE, NOW, Provider, after, count, look, queue_alert, queue_code

pytestmark = pytest.mark.database


def attempts(channel: str, outcome: str) -> float:
    return MESSAGES.labels(channel, outcome)._value.get()


def test_sent_once_and_then_no_more(two_companies: Pair) -> None:
    provider, before = Provider(), attempts("sms", "sent")
    message_id = queue_code(two_companies.a)
    assert provider.deliver(after(-1)) == 0, "not before it is due"
    assert provider.deliver() == 1
    assert provider.deliver(after(86400)) == 0
    assert provider.taken == [f"{two_companies.a}-{message_id}"]
    assert CODE in provider.texts[0]
    seen = look(two_companies.a, message_id)
    assert (seen.status, seen.attempts, seen.error, seen.due_at) == ("sent", 1, None, None)
    assert seen.provider_reference == "n-1"
    assert attempts("sms", "sent") == before + 1
    assert MESSAGES_DUE._value.get() == 0


def test_the_attempt_is_committed_before_the_call(two_companies: Pair) -> None:
    message_id = queue_alert(two_companies.a)
    during = []
    Provider([lambda _: during.append(look(two_companies.a, message_id))]).deliver()
    assert (during[0].status, during[0].attempts, during[0].due_at) == ("sending", 1, NOW + LEASE)


def test_refused_stops_at_once(two_companies: Pair) -> None:
    provider = Provider([Refused("FailedOperation.PhoneNumberInBlacklist")])
    message_id = queue_code(two_companies.a)
    assert provider.deliver() == 0
    assert provider.deliver(after(60)) == 0
    seen = look(two_companies.a, message_id)
    assert (seen.status, seen.attempts, seen.due_at) == ("failed", 1, None)
    assert seen.error == "FailedOperation.PhoneNumberInBlacklist"


def test_unavailable_backs_off_and_gives_up(two_companies: Pair) -> None:
    provider = Provider([Unavailable(f"try-{number}") for number in range(1, 9)])
    message_id = queue_alert(two_companies.a)
    at, pauses = NOW, []
    while (seen := look(two_companies.a, message_id)).due_at is not None:
        before = len(provider.answers)
        provider.deliver(seen.due_at.replace(microsecond=0) - (PAUSES[0] / 100))
        assert len(provider.answers) == before, "not before it is due"
        pauses.append((seen.due_at - at).total_seconds())
        at = seen.due_at
        provider.deliver(at)
    assert pauses == [0, 10, 60, 300, 1800]
    assert (seen.status, seen.attempts, seen.error) == ("failed", 5, "try-5")
    assert provider.deliver(after(10**6)) == 0
    assert provider.taken == []


def test_unavailable_once_is_sent_the_second_time(two_companies: Pair) -> None:
    provider = Provider([Unavailable("away")])
    message_id = queue_code(two_companies.a)
    assert provider.deliver() == 0
    between = look(two_companies.a, message_id)
    assert (between.status, between.attempts, between.error) == ("queued", 1, "away")
    assert between.parameters["code"] == CODE, "still needed"
    assert provider.deliver(after(10)) == 1
    seen = look(two_companies.a, message_id)
    assert (seen.status, seen.attempts, seen.error) == ("sent", 2, None)


def test_expired_is_never_sent(two_companies: Pair) -> None:
    provider = Provider()
    message_id = queue_code(two_companies.a)
    assert provider.deliver(after(300)) == 0, "at its very instant it has expired"
    assert provider.deliver(after(86400)) == 0
    assert provider.taken == []
    seen = look(two_companies.a, message_id)
    assert (seen.status, seen.attempts, seen.due_at) == ("expired", 0, None)
    queue_code(two_companies.a, "code 2")
    assert provider.deliver(after(299)) == 1, "the control: a second earlier it is sent"


@pytest.mark.parametrize(
    ("answers", "at", "end"),
    [([], 0, "sent"), ([Refused("no")], 0, "failed"), ([], 300, "expired"), ([Unavailable("away")] * 5, 0, "expired")],
)
def test_a_secret_is_wiped_when_its_delivery_ends(
    two_companies: Pair, answers: list[Exception], at: int, end: str
) -> None:
    provider = Provider([*answers])
    message_id, alert = queue_code(two_companies.a), queue_alert(two_companies.b, at=after(10**5))
    for seconds in (at, 10, 70, 300):
        provider.deliver(after(max(at, seconds)))
    seen = look(two_companies.a, message_id)
    assert (seen.status, seen.parameters) == (end, {})
    assert count(two_companies.a, f"select count(*) from message where message::text like '%{CODE}%'") == 0
    provider.deliver(after(10**5))
    assert look(two_companies.b, alert).parameters["count"] == "3", "what is no secret stays"


def test_a_secret_is_looked_at_again_when_it_expires(two_companies: Pair) -> None:
    """Not only when its next attempt would be due: until then it would stay readable."""
    message_id = queue_code(two_companies.a, minutes=1)
    provider = Provider([Unavailable("away"), Unavailable("away")])
    provider.deliver()
    provider.deliver(after(10))
    assert look(two_companies.a, message_id).due_at == after(60)


def test_one_broken_message_stops_no_other(two_companies: Pair) -> None:
    a, b = two_companies.a, two_companies.b
    wiped, headless = queue_code(a, "wiped"), queue_code(a, "headless")
    good = [queue_code(a, "good"), queue_alert(b)]
    with unit_of_work(system_act(a)):
        session().execute(text(f"update message set parameters = '{{}}' where id = {wiped}"))
        session().execute(text(f"delete from message_delivery where id = {headless}"))
    provider, broken = Provider([ValueError(f"a gateway of ours breaks over {CODE}")]), attempts("unknown", "broken")
    provider.deliver()
    provider.deliver(after(10))
    assert sorted(provider.taken) == sorted([f"{a}-{good[0]}", f"{b}-{good[1]}"])
    assert look(a, wiped).error == "KeyError"
    assert attempts("unknown", "broken") == broken + 1, "put off, not tried again in every poll"
    with unit_of_work(system_act(a)):
        query = text(f"select due_at from message_due where message_id = {headless}")
        assert session().execute(query).scalar_one() == NOW + delivery.PUT_OFF


def test_nobody_waits_behind_anothers_thousand(two_companies: Pair) -> None:
    for number in range(SHARE + 5):
        queue_alert(two_companies.a, f"alert {number}", at=after(-100))
    code = queue_code(two_companies.b)
    provider = Provider()
    assert provider.deliver() == SHARE + 1
    assert provider.taken.index(f"{two_companies.b}-{code}") == 1, "the organisations take turns"
    assert provider.deliver() == 5
    assert SHARE < BATCH


def test_a_channel_that_is_away_is_left_alone_for_the_rest_of_the_poll(two_companies: Pair) -> None:
    codes = [queue_code(two_companies.a, f"code {number}") for number in range(6)]
    alert = queue_alert(two_companies.a)
    provider = Provider([Unavailable("away")] * TIRED_AFTER)
    assert provider.deliver() == 1
    assert provider.taken == [f"{two_companies.a}-{alert}"], "the other channel goes on"
    tried = [look(two_companies.a, code).attempts for code in codes]
    assert tried == [1, 1, 1, 0, 0, 0], "what was not tried has used up no attempt"
    assert provider.deliver(after(10)) == 6


def test_two_workers_do_not_both_send(app: Flask, two_companies: Pair) -> None:
    """While one calls the provider, the other looks for work: the message is taken."""
    provider = Provider()
    other = Provider()

    def elsewhere(_: object) -> None:
        def run() -> int:
            with app.app_context():
                return other.deliver(after(5))

        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(run).result() == 0

    provider.answers = [elsewhere]
    queue_code(two_companies.a)
    assert provider.deliver() == 1
    assert other.taken == []


def test_two_workers_with_the_same_list_do_not_both_take(app: Flask, two_companies: Pair) -> None:
    for number in range(30):
        queue_code(two_companies.a, f"code {number}")
    with unit_of_work(system_act(PLATFORM, at=NOW)):
        listed = [*queries.due_messages(NOW)]
    assert len(listed) == SHARE
    start = threading.Barrier(4)

    def worker() -> list[int]:
        with app.app_context():
            start.wait()
            taken = []
            for due in listed:
                with unit_of_work(system_act(due.organisation_id, at=NOW)) as act:
                    found = delivery.take(act, due, ())
                if found is not None and found.letter is not None:
                    taken.append(due.message_id)
            return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [message for future in [pool.submit(worker) for _ in range(4)] for message in future.result()]
    assert sorted(taken) == sorted(due.message_id for due in listed)


def _lost(two_companies: Pair) -> tuple[int, delivery.Letter]:
    """A message whose first attempt counts as lost and whose second is under way."""
    message_id = queue_alert(two_companies.a)
    letters = []
    for at in (NOW, NOW + LEASE):
        with unit_of_work(system_act(two_companies.a, at=at)) as act:
            taken = delivery.take(act, Due(two_companies.a, message_id, at), ())
        assert taken is not None
        letters.append(taken.letter)
    return message_id, letters[0]


@pytest.mark.parametrize("answer", [Refused("no"), Unavailable("away")])
def test_a_failure_that_comes_too_late_is_dropped(two_companies: Pair, answer: Refused | Unavailable) -> None:
    message_id, first = _lost(two_companies)
    with unit_of_work(system_act(two_companies.a, at=NOW + LEASE)) as act:
        assert delivery.store_answer(act, first, answer) is None
    seen = look(two_companies.a, message_id)
    assert (seen.status, seen.attempts, seen.due_at) == ("sending", 2, NOW + 2 * LEASE)


def test_a_success_is_stored_however_late(two_companies: Pair) -> None:
    message_id, first = _lost(two_companies)
    with unit_of_work(system_act(two_companies.a, at=NOW + LEASE)) as act:
        assert delivery.store_answer(act, first, Accepted("memory", "n-1")) is DeliveryStatus.SENT
    assert look(two_companies.a, message_id).due_at is None
