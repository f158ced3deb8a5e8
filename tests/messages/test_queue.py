"""Queueing: once a key, with its audit row, in the organisation it belongs to; forgotten when its time is over."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import create_engine, text, update
from sqlalchemy.exc import DBAPIError

from propmgr.config import DatabaseUrls
from propmgr.database.tenancy import CONNECT_ARGS
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.kernel.act import Act, Actor, ActorKind, system_act
from propmgr.kernel.errors import BadInput, Conflict
from propmgr.messages import queries
from propmgr.messages.commands import queue_message, trim_messages
from propmgr.messages.gateways.port import Unavailable
from propmgr.messages.models import Message
from propmgr.messages.rules import Channel, DeliveryStatus, MessageKind
from tests.conftest import Pair
from tests.messages.outbox import CODE, NOW, NUMBER, Provider, after, count, look, queue_alert, queue_code

pytestmark = pytest.mark.database


def test_a_unit_that_is_rolled_back_sends_nothing(two_companies: Pair) -> None:
    provider = Provider()
    with pytest.raises(ZeroDivisionError), unit_of_work(system_act(two_companies.a, at=NOW)) as act:
        words = {"what": "x", "count": 1, "reference": "r"}
        queue_message(act, MessageKind.OPERATOR_ALERT, Channel.EMAIL, "ops@example.cn", words, "k")
        raise ZeroDivisionError
    assert provider.deliver() == 0
    assert provider.taken == []
    assert count(two_companies.a, "select count(*) from message_due") == 0
    queue_alert(two_companies.a)
    assert provider.deliver() == 1, "the control: the same, committed, is sent"


def test_the_same_key_is_the_same_message(two_companies: Pair) -> None:
    provider = Provider()
    first = queue_code(two_companies.a)
    assert queue_code(two_companies.a) == first, "before it is sent; and a unit that only repeats a key commits"
    provider.deliver()
    assert queue_code(two_companies.a) == first, "and after"
    provider.deliver(after(3600))
    assert provider.taken == [f"{two_companies.a}-{first}"]
    assert count(two_companies.a, "select count(*) from audit_record where act = 'messages.queue_message'") == 1
    assert queue_code(two_companies.b) != first, "a key is the organisation's own"
    assert provider.deliver() == 1


def test_a_key_of_another_message_is_a_conflict(two_companies: Pair) -> None:
    queue_code(two_companies.a, "k")
    with pytest.raises(Conflict):
        queue_code(two_companies.a, "k", number="13900139000")
    with pytest.raises(Conflict):
        queue_alert(two_companies.a, "k")


def test_two_at_once_with_one_key(app: Flask, two_companies: Pair) -> None:
    found: list[int] = []

    def second() -> None:
        with app.app_context():
            found.append(queue_code(two_companies.a))

    thread = threading.Thread(target=second)
    with unit_of_work(system_act(two_companies.a, at=NOW)) as act:
        words = {"code": CODE, "minutes": 5}
        first = queue_message(act, MessageKind.LOGIN_CODE, Channel.SMS, NUMBER, words, "code 1", after(300))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive(), "the second waits to see what becomes of the first"
    thread.join()
    assert found == [first]
    assert count(two_companies.a, "select count(*) from message_due") == 1


def test_the_audit_row_names_no_recipient(two_companies: Pair) -> None:
    message_id = queue_code(two_companies.a)
    with unit_of_work(system_act(two_companies.a)):
        row = (
            session().execute(text("select * from audit_record where act = 'messages.queue_message'")).mappings().one()
        )
    assert (row["object_kind"], row["object_id"]) == ("message", message_id)
    assert row["details"] == {"kind": "login_code", "channel": "sms"}


def test_what_cannot_be_queued(two_companies: Pair) -> None:
    a = two_companies.a
    with pytest.raises(BadInput):
        queue_code(a, number="12345")
    with pytest.raises(AssertionError, match="a secret has an end"), unit_of_work(system_act(a)) as act:
        words = {"code": CODE, "minutes": 5}
        queue_message(act, MessageKind.LOGIN_CODE, Channel.SMS, NUMBER, words, "k")
    with pytest.raises(AssertionError, match="expired"):
        queue_code(a, minutes=-1)
    with pytest.raises(AssertionError, match="channel"), unit_of_work(system_act(a, at=NOW)) as act:
        queue_message(act, MessageKind.LOGIN_CODE, Channel.EMAIL, "a@b.cn", words, "k", after(300))
    assert count(a, "select count(*) from message") == 0


def test_another_organisation_sees_nothing_of_it(app: Flask, two_companies: Pair, an_office: int) -> None:
    message_id = queue_code(two_companies.a)
    for stranger in (two_companies.b, an_office):
        for table in ("message", "message_delivery"):
            assert count(stranger, f"select count(*) from {table}") == 0
        with unit_of_work(system_act(stranger)):
            assert queries.delivery_state(message_id) is None
            changed = text("update message set parameters = '{}' returning id")
            assert session().execute(changed).all() == []
            assert session().execute(text("delete from message_delivery returning id")).all() == []
    assert count(two_companies.a, "select count(*) from message") == 1, "the control: its own organisation does"
    with unit_of_work(system_act(two_companies.a)):
        state = queries.delivery_state(message_id)
    assert state is not None
    assert state.status is DeliveryStatus.QUEUED


def test_what_everybody_may_read_is_ids_and_instants(two_companies: Pair) -> None:
    queue_code(two_companies.a)
    with unit_of_work(system_act(two_companies.b)):
        row = session().execute(text("select * from message_due")).mappings().one()
    assert set(row) == {"organisation_id", "message_id", "due_at"}


def test_an_office_queues_to_its_own_people(two_companies: Pair, an_office: int) -> None:
    """Under the database role that serves offices: it queues and reads its own, and neither changes nor removes."""
    queue_code(two_companies.a)
    act = Act(Actor(ActorKind.OFFICE, "7"), an_office, NOW, division="410402")
    with unit_of_work(act):
        words = {"code": CODE, "minutes": 5}
        first = queue_message(act, MessageKind.LOGIN_CODE, Channel.SMS, NUMBER, words, "k", after(300))
        assert queue_message(act, MessageKind.LOGIN_CODE, Channel.SMS, NUMBER, words, "k", after(300)) == first
        assert session().execute(text("select current_user, count(*) from message")).one() == ("propmgr_office", 1)
    for statement in (
        "update message set parameters = '{}'",
        "delete from message_delivery",
        "delete from message_due",
    ):
        with pytest.raises(DBAPIError, match="permission denied"), unit_of_work(act):
            session().execute(text(statement))
    provider = Provider()
    assert provider.deliver() == 2
    assert look(an_office, first).status == "sent"


def test_a_message_never_changes_but_may_be_wiped(two_companies: Pair, urls: DatabaseUrls) -> None:
    a = two_companies.a
    queue_alert(a)
    with pytest.raises(DBAPIError, match="permission denied"), unit_of_work(system_act(a)):
        session().execute(update(Message).values(recipient="x@example.cn"))
    with pytest.raises(DBAPIError, match="only wiped"), unit_of_work(system_act(a)):
        session().execute(text("""update message set parameters = '{"what": "x"}'"""))
    owner = create_engine(urls.owner, connect_args=CONNECT_ARGS)
    for change in ("recipient = 'x@example.cn'", "key = 'other', parameters = '{}'"):
        with pytest.raises(DBAPIError, match="only wiped"), owner.begin() as connection:
            connection.execute(text("alter table message no force row level security"))
            connection.execute(text(f"update message set {change}"))
    owner.dispose()
    with unit_of_work(system_act(a)):
        assert session().execute(text("update message set parameters = '{}' returning 1")).all() == [(1,)]


def test_ended_messages_are_forgotten(two_companies: Pair) -> None:
    a, day = two_companies.a, timedelta(days=1)
    queue_code(a, "old")
    foreign = queue_code(two_companies.b, "old")
    Provider().deliver()
    waiting = queue_alert(a, "waiting")
    later = queue_code(a, "later", at=NOW + 10 * day)
    Provider([Unavailable("away")]).deliver(NOW + 10 * day)
    with unit_of_work(system_act(a, at=NOW + 11 * day)) as act:
        assert trim_messages(act, NOW) == 0, "what ended at that very instant did not end before it"
        assert trim_messages(act, NOW + day) == 1
    with unit_of_work(system_act(a)):
        for table in ("message", "message_delivery"):
            assert set(session().execute(text(f"select id from {table}")).scalars()) == {waiting, later}
        audit = text("select details from audit_record where act = 'messages.trim_messages'")
        assert session().execute(audit).scalar_one() == {"removed": 1, "before": (NOW + day).isoformat()}
    assert look(a, waiting).due_at is not None, "however old: its delivery has not ended"
    assert look(two_companies.b, foreign).status == "sent"
