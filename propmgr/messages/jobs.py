"""Delivering messages: the worker's part. Decides the order of commit and call; the only file here that calls out.

An attempt is committed before the provider is called, and no transaction is open during the call. A crash between the
two commits is an attempt without an answer: it is tried again, at most five times in all. Logs carry ids and the
codes of errors, never a recipient or a parameter.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import structlog

from propmgr.database.unit_of_work import is_open, unit_of_work
from propmgr.kernel.act import Act, system_act
from propmgr.kernel.crash import crash_point
from propmgr.messages import delivery, queries
from propmgr.messages.delivery import Letter
from propmgr.messages.gateways.port import Accepted, Mail, Ports, Refused, Sms, Unavailable
from propmgr.messages.queries import Due
from propmgr.messages.rules import FORMS, Channel, DeliveryStatus, Step, render
from propmgr.telemetry.metrics import MESSAGES, MESSAGES_DUE

log = structlog.get_logger()

#: A channel that was away this often in a row is left alone for the rest of the poll: each try may cost a time-out.
TIRED_AFTER = 3

#: Name of this work as an actor.
_NAME = "messages.deliver_due"


def deliver_due(ports: Ports, house: int, *, at: datetime | None = None) -> int:
    """Try what is due, a bounded batch, each message by itself. Returns how many were sent.

    `house` is the organisation in whose name the worker looks for work. `at` is for tests; by default each unit of
    work reads the clock. A message that raises is put off and logged; the others go on.
    """
    with unit_of_work(system_act(house, name=_NAME, at=at)) as act:
        due = queries.due_messages(act.at)
        MESSAGES_DUE.set(queries.waiting_messages())
    away: Counter[Channel] = Counter()
    sent = 0
    for item in due:
        try:
            sent += _deliver(ports, item, away, at)
        except Exception:
            log.exception("messages.broken", **_ids(item))
            MESSAGES.labels("unknown", "broken").inc()
            with unit_of_work(_act(item, at)) as act:
                delivery.put_off(act, item)
    return sent


def _deliver(ports: Ports, item: Due, away: Counter[Channel], at: datetime | None) -> bool:
    """One message: take, call, store. Returns whether it was sent."""
    tired = [channel for channel, times in away.items() if times >= TIRED_AFTER]
    with unit_of_work(_act(item, at)) as act:
        taken = delivery.take(act, item, tired)
    if taken is None:
        return False
    letter = taken.letter
    if letter is None:
        if taken.step is not None:
            _count(item, taken.channel, "expired" if taken.step is Step.EXPIRE else "given_up")
        return False
    answer = _call(ports, letter)
    away[letter.channel] = away[letter.channel] + 1 if isinstance(answer, Unavailable) else 0
    with unit_of_work(_act(item, at)) as act:
        status = delivery.store_answer(act, letter, answer)
    outcome = {Accepted: "sent", Refused: "refused", Unavailable: "unavailable"}[type(answer)]
    error = None if isinstance(answer, Accepted) else answer.code
    _count(item, letter.channel, outcome, attempt=letter.attempt, error=error, status=status and status.value)
    return status is DeliveryStatus.SENT


def _call(ports: Ports, letter: Letter) -> Accepted | Refused | Unavailable:
    """Hand the letter to its provider. Whatever goes wrong becomes an answer: a fault of ours is tried again too."""
    assert not is_open(), "no provider is called while a transaction is open"
    crash_point("provider.before")
    answer: Accepted | Refused | Unavailable
    try:
        answer = _send(ports, letter)
    except (Refused, Unavailable) as error:
        answer = error
    except Exception as error:
        log.exception("messages.gateway_broken", **_ids(letter))
        answer = Unavailable(type(error).__name__)
    crash_point("provider.after")
    return answer


def _send(ports: Ports, letter: Letter) -> Accepted:
    words = render(letter.kind, letter.parameters, letter.language)
    reference = f"{letter.organisation_id}-{letter.message_id}"
    if letter.channel is Channel.EMAIL:
        return ports.mail.send_mail(Mail(letter.recipient, words.subject, words.text, reference))
    ordered = tuple(letter.parameters[name] for name in FORMS[letter.kind].parameters)
    return ports.sms.send_sms(Sms(letter.recipient, letter.kind, ordered, words.text, reference))


def _act(item: Due, at: datetime | None) -> Act:
    return system_act(item.organisation_id, name=_NAME, at=at)


def _ids(item: Due | Letter) -> dict[str, int]:
    return {"organisation": item.organisation_id, "message": item.message_id}


def _count(item: Due, channel: Channel, outcome: str, **facts: object) -> None:
    MESSAGES.labels(channel.value, outcome).inc()
    write = log.info if outcome == "sent" else log.warning
    write("messages.attempt", **_ids(item), channel=channel.value, outcome=outcome, **facts)
