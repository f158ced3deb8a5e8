"""The state of a delivery: take a message, store the answer. Decides who may try and what an answer means for the
message; never calls a provider and leaves no audit row (models.py says why).

Every function locks in the same order: message_due, message_delivery, message. The row in message_due is the token: a
taker moves `due_at` from the value he saw to the instant at which his attempt counts as lost, and a failure is stored
only while it still stands there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, select, update

from propmgr.database.unit_of_work import session
from propmgr.kernel.act import Act
from propmgr.messages.gateways.port import Accepted, Refused, Unavailable
from propmgr.messages.models import Message, MessageDelivery, MessageDue
from propmgr.messages.queries import Due
from propmgr.messages.rules import (
    FORMS,
    MOST_ATTEMPTS,
    PAUSES,
    Channel,
    DeliveryStatus,
    Language,
    MessageKind,
    Step,
    lost_at,
    next_step,
    retry_at,
)

#: A row that cannot even be taken is looked at again after this long, so that it never crowds out the others.
PUT_OFF = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Letter:
    """A message taken for one attempt. Its `repr` shows neither recipient nor content."""

    organisation_id: int
    message_id: int
    kind: MessageKind
    channel: Channel
    language: Language
    recipient: str = field(repr=False)
    parameters: dict[str, str] = field(repr=False)
    expires_at: datetime | None
    attempt: int
    lost_at: datetime


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a message that was due: a letter to send now, or None where the step ended or postponed it."""

    channel: Channel
    step: Step | None
    letter: Letter | None


def take(act: Act, due: Due, tired: Collection[Channel]) -> Taken | None:
    """Take a message that is due, if it is still as it was seen; None where somebody else has it.

    Ends it where it has expired or used up its attempts. A message for a channel in `tired` is put off without using
    up an attempt.
    """
    moved = update(MessageDue).where(_due_at(due.organisation_id, due.message_id, due.due_at))
    if session().execute(moved.values(due_at=act.at + PAUSES[0]).returning(MessageDue.message_id)).scalar() is None:
        return None
    row = {"tenant_id": act.tenant_id, "id": due.message_id}
    message, delivery = session().get_one(Message, row), session().get_one(MessageDelivery, row)
    step = next_step(delivery.attempts, message.expires_at, act.at)
    if step is Step.EXPIRE:
        _end(act, message.id, message.kind, DeliveryStatus.EXPIRED)
        return Taken(message.channel, step, None)
    if step is Step.GIVE_UP:
        # The last attempt began and its answer was never stored: the worker died in it.
        _end(act, message.id, message.kind, DeliveryStatus.FAILED, error_code=delivery.error_code or "NoAnswer")
        return Taken(message.channel, step, None)
    if message.channel in tired:
        return Taken(message.channel, None, None)
    attempt = delivery.attempts + 1
    lost = lost_at(attempt, message.expires_at, act.at)
    _move(due.organisation_id, due.message_id, lost)
    delivery.status, delivery.attempts, delivery.tried_at = DeliveryStatus.SENDING, attempt, act.at
    letter = Letter(
        due.organisation_id,
        message.id,
        message.kind,
        message.channel,
        message.language,
        message.recipient,
        message.parameters,
        message.expires_at,
        attempt,
        lost,
    )
    return Taken(message.channel, step, letter)


def store_answer(act: Act, letter: Letter, answer: Accepted | Refused | Unavailable) -> DeliveryStatus | None:
    """Store what the provider said. Returns where the message stands now; None where the answer came too late.

    `Accepted` is stored however late: it is what happened. A failure that comes after the attempt counted as lost is
    dropped, because another attempt may be under way.
    """
    due = _due(letter.organisation_id, letter.message_id)
    if isinstance(answer, Accepted):
        session().execute(delete(MessageDue).where(due))
        _end(
            act,
            letter.message_id,
            letter.kind,
            DeliveryStatus.SENT,
            provider=answer.provider,
            provider_reference=answer.reference,
            error_code=None,
        )
        return DeliveryStatus.SENT
    ours = select(MessageDue.message_id).where(due, MessageDue.due_at == letter.lost_at).with_for_update()
    if session().execute(ours).scalar() is None:
        return None
    if isinstance(answer, Refused) or letter.attempt >= MOST_ATTEMPTS:
        _end(act, letter.message_id, letter.kind, DeliveryStatus.FAILED, error_code=answer.code)
        return DeliveryStatus.FAILED
    _move(letter.organisation_id, letter.message_id, retry_at(letter.attempt, letter.expires_at, act.at))
    _set(act, letter.message_id, status=DeliveryStatus.QUEUED, error_code=answer.code)
    return DeliveryStatus.QUEUED


def put_off(act: Act, due: Due) -> None:
    """Look at a message later whose taking raised; nothing where it has moved on since."""
    seen = _due_at(due.organisation_id, due.message_id, due.due_at)
    session().execute(update(MessageDue).where(seen).values(due_at=act.at + PUT_OFF))


def _end(act: Act, message_id: int, kind: MessageKind, status: DeliveryStatus, **values: str | None) -> None:
    """The end of a delivery: nothing is due any more, and a secret is no longer readable."""
    session().execute(delete(MessageDue).where(_due(act.tenant_id, message_id)))
    _set(act, message_id, status=status, ended_at=act.at, **values)
    if FORMS[kind].secret:
        # The plain table, not the class: wiping follows from the end of the delivery, it is nobody's act.
        message = Message.__table__
        mine = and_(message.c.tenant_id == act.tenant_id, message.c.id == message_id)
        session().execute(update(message).where(mine).values(parameters={}))


def _set(act: Act, message_id: int, **values: object) -> None:
    mine = and_(MessageDelivery.tenant_id == act.tenant_id, MessageDelivery.id == message_id)
    session().execute(update(MessageDelivery).where(mine).values(values))


def _move(organisation_id: int, message_id: int, due_at: datetime) -> None:
    session().execute(update(MessageDue).where(_due(organisation_id, message_id)).values(due_at=due_at))


def _due(organisation_id: int, message_id: int) -> ColumnElement[bool]:
    return and_(MessageDue.organisation_id == organisation_id, MessageDue.message_id == message_id)


def _due_at(organisation_id: int, message_id: int, due_at: datetime) -> ColumnElement[bool]:
    return and_(_due(organisation_id, message_id), MessageDue.due_at == due_at)
