"""Reading messages. Decides whose turn it is among those that are due; never writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from propmgr.database.unit_of_work import current_act, session
from propmgr.messages.models import MessageDelivery, MessageDue
from propmgr.messages.rules import DeliveryStatus

#: Messages looked at in one poll, and how many of them may be one organisation's.
BATCH = 100
SHARE = 20


@dataclass(frozen=True, slots=True)
class Due:
    """A message that is due. `due_at` is the value seen: taking the message means moving it from there."""

    organisation_id: int
    message_id: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """How one message stands, without its recipient and content."""

    status: DeliveryStatus
    attempts: int
    error_code: str | None
    ended_at: datetime | None


def due_messages(at: datetime) -> list[Due]:
    """At most BATCH messages due at `at`, the organisations in turn: nobody's thousand delays another's log-in code."""
    turn = func.row_number().over(
        partition_by=MessageDue.organisation_id, order_by=(MessageDue.due_at, MessageDue.message_id)
    )
    due = select(MessageDue, turn.label("turn")).where(MessageDue.due_at <= at).subquery()
    query = (
        select(due.c.organisation_id, due.c.message_id, due.c.due_at)
        .where(due.c.turn <= SHARE)
        .order_by(due.c.turn, due.c.due_at, due.c.organisation_id)
        .limit(BATCH)
    )
    return [Due(*row) for row in session().execute(query)]


def waiting_messages() -> int:
    """How many messages of the whole house have not ended."""
    return session().scalars(select(func.count()).select_from(MessageDue)).one()


def delivery_state(message_id: int) -> DeliveryState | None:
    """How a message of the act's organisation stands; None where there is none."""
    query = select(MessageDelivery).filter_by(tenant_id=current_act().tenant_id, id=message_id)
    row = session().scalars(query).one_or_none()
    return None if row is None else DeliveryState(row.status, row.attempts, row.error_code, row.ended_at)
