"""What the log says of messages: ids and codes of errors, never a recipient or a parameter, at any level."""

from __future__ import annotations

import json

import pytest
import structlog
from sqlalchemy import text

from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.kernel.act import system_act
from propmgr.kernel.errors import BadInput
from propmgr.messages.gateways.port import Refused, Unavailable
from propmgr.telemetry import logs
from tests.conftest import Pair
from tests.messages.outbox import CODE, NUMBER, Provider, after, queue_alert, queue_code

pytestmark = pytest.mark.database

PERSONAL = (NUMBER, CODE, "ops@example.cn")


def _everything_that_happens(pair: Pair) -> int:
    """Sent, refused, away, a broken gateway, a broken row, expired. Returns the number of the message that was sent."""
    queue_code(pair.a, "refused", at=after(-9))
    queue_code(pair.a, "away", at=after(-8))
    queue_code(pair.a, "gateway", at=after(-7))
    sent = queue_code(pair.a, "sent", at=after(-6))
    headless = queue_alert(pair.a, "headless", at=after(-5))
    queue_code(pair.a, "expired", at=after(-300))
    with unit_of_work(system_act(pair.a)):
        session().execute(text(f"delete from message_delivery where id = {headless}"))
    broken = ValueError(f"cannot send {CODE} to {NUMBER} and ops@example.cn")
    Provider([Refused("no"), Unavailable("away"), broken]).deliver()
    with pytest.raises(BadInput):
        queue_code(pair.a, "bad", number=NUMBER + "0")
    return sent


def test_events_carry_ids_alone(two_companies: Pair) -> None:
    """As the events are made, before anything masks them."""
    with structlog.testing.capture_logs() as events:
        sent = _everything_that_happens(two_companies)
    written = json.dumps(events, default=repr, ensure_ascii=False)
    assert not [word for word in PERSONAL if word in written]
    outcomes = [event.get("outcome") for event in events if event["event"] == "messages.attempt"]
    assert sorted(map(str, outcomes)) == ["expired", "refused", "sent", "unavailable", "unavailable"]
    ours = next(event for event in events if event.get("outcome") == "sent")
    assert (ours["organisation"], ours["message"]) == (two_companies.a, sent)
    assert {event["event"] for event in events} >= {"messages.broken", "messages.gateway_broken"}


def test_lines_carry_no_person(two_companies: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    """As they are written, at the most talkative level, with the frames of the exceptions."""
    logs.configure("debug")
    try:
        _everything_that_happens(two_companies)
    finally:
        logs.configure("warning")
    written = "".join(capsys.readouterr())
    assert "messages.gateway_broken" in written
    assert "ValueError" in written
    assert not [word for word in PERSONAL if word in written]
