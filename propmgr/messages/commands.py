"""Queueing messages and forgetting them. Decides what may be queued; never sends anything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from propmgr.audit.commands import record
from propmgr.database.unit_of_work import current_act, session
from propmgr.kernel.act import Act
from propmgr.kernel.errors import Conflict
from propmgr.messages.models import Message, MessageDelivery, MessageDue
from propmgr.messages.rules import (
    FORMS,
    Channel,
    DeliveryStatus,
    Language,
    MessageKind,
    checked_parameters,
    checked_recipient,
)


def queue_message(
    act: Act,
    kind: MessageKind,
    channel: Channel,
    recipient: str,
    parameters: Mapping[str, str | int],
    key: str,
    expires_at: datetime | None = None,
    *,
    language: Language = Language.ZH_CN,
) -> int:
    """Queue a message; it is sent after this unit of work has committed, or never. Returns its number.

    `key` names the message within the organisation, in ids only: the same key again is the same message, whatever
    became of it. A secret kind must have `expires_at`. Raises BadInput (recipient, parameters) or Conflict (the key
    belongs to a message of another kind or to somebody else).
    """
    form = FORMS[kind]
    assert act.tenant_id == current_act().tenant_id
    assert channel is form.channel, "the kind names the channel"
    assert key, "a message without a key could be sent twice"
    assert expires_at is not None or not form.secret, "a secret has an end"
    assert expires_at is None or expires_at > act.at, "what has expired is not queued"
    recipient = checked_recipient(channel, recipient)
    values = {
        "tenant_id": act.tenant_id,
        "kind": kind,
        "channel": channel,
        "language": language,
        "recipient": recipient,
        "parameters": checked_parameters(kind, parameters),
        "key": key,
        "expires_at": expires_at,
        "queued_at": act.at,
    }
    # The plain table, not the class: a repeated key changes nothing, and such a unit needs no audit row.
    message = Message.__table__
    adding = insert(message).values(values).on_conflict_do_nothing().returning(message.c.id)
    message_id = session().execute(adding).scalar()
    if message_id is None:
        return _queued_before(act, key, kind, recipient)
    session().add(MessageDelivery(tenant_id=act.tenant_id, id=message_id, status=DeliveryStatus.QUEUED, attempts=0))
    session().add(MessageDue(organisation_id=act.tenant_id, message_id=message_id, due_at=act.at))
    session().flush()
    record(act, "messages.queue_message", "message", message_id, kind=kind.value, channel=channel.value)
    return message_id


def trim_messages(act: Act, before: datetime) -> int:
    """Forget the organisation's messages whose delivery ended before `before`. Returns how many were removed."""
    ended = (
        delete(MessageDelivery)
        .where(MessageDelivery.tenant_id == act.tenant_id, MessageDelivery.ended_at < before)
        .returning(MessageDelivery.id)
    )
    gone = session().execute(ended).scalars().all()
    if gone:
        session().execute(delete(Message).where(Message.tenant_id == act.tenant_id, Message.id.in_(gone)))
        record(act, "messages.trim_messages", "message", None, removed=len(gone), before=before.isoformat())
    return len(gone)


def _queued_before(act: Act, key: str, kind: MessageKind, recipient: str) -> int:
    query = select(Message.id, Message.kind, Message.recipient).filter_by(tenant_id=act.tenant_id, key=key)
    known = session().execute(query).one()
    if (known.kind, known.recipient) != (kind, recipient):
        raise Conflict("This key already belongs to another message.")
    return known.id
