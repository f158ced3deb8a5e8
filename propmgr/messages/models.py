"""Tables of messages. Decides what is kept of one, and where: people in tenant tables, ids alone in the global one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from propmgr.database.base import GlobalTable, TenantTable
from propmgr.database.types import Instant, Words, one_of
from propmgr.messages.rules import Channel, DeliveryStatus, Language, MessageKind


class Message(TenantTable):
    """One message to one recipient. Queueing it is an act; afterwards it never changes, except that `parameters` may
    be wiped (a trigger holds that)."""

    __tablename__ = "message"

    #: Why it is sent.
    kind: Mapped[MessageKind] = mapped_column(Words(MessageKind))
    #: By which way.
    channel: Mapped[Channel] = mapped_column(Words(Channel))
    #: In which words, where the words are ours.
    language: Mapped[Language] = mapped_column(Words(Language))
    #: Mobile number of 11 digits or e-mail address.
    recipient: Mapped[str] = mapped_column(Text)
    #: Parameters of the kind, all as text; {} once wiped.
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    #: The caller's name for this message, in ids: the same key again is the same message.
    key: Mapped[str] = mapped_column(Text)
    #: From this instant on it is never sent; NULL where it never grows stale.
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    #: When it was queued.
    queued_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (
        one_of("kind", MessageKind),
        one_of("channel", Channel),
        one_of("language", Language),
        UniqueConstraint("tenant_id", "key"),
        CheckConstraint("expires_at > queued_at", name="expires"),
    )


class MessageDelivery(TenantTable):
    """How the delivery of one message stands; `id` is the message's.

    A table of its own, because its changes are the house's bookkeeping about its own work, a few a message: nobody
    acts, so there is no audit row, while the message beside it stays as the act made it.
    """

    __tablename__ = "message_delivery"
    __audited__: ClassVar[bool] = False

    #: Number of the message.
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, sort_order=-1)
    #: Where it stands.
    status: Mapped[DeliveryStatus] = mapped_column(Words(DeliveryStatus))
    #: Attempts begun; each is counted before the provider is called.
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    #: When the last attempt began.
    tried_at: Mapped[datetime | None] = mapped_column(Instant)
    #: Which provider took it.
    provider: Mapped[str | None] = mapped_column(Text)
    #: The provider's own number of it.
    provider_reference: Mapped[str | None] = mapped_column(Text)
    #: Code of the last failure, the provider's or ours; never its text, which may repeat the recipient.
    error_code: Mapped[str | None] = mapped_column(Text)
    #: When it was sent, failed for good or expired.
    ended_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (
        one_of("status", DeliveryStatus),
        CheckConstraint("attempts between 0 and 5", name="attempts"),
        CheckConstraint("(status in ('sent', 'failed', 'expired')) = (ended_at is not null)", name="ended"),
        ForeignKeyConstraint(["tenant_id", "id"], ["message.tenant_id", "message.id"]),
        Index("ix_message_delivery_ended", "tenant_id", "ended_at", postgresql_where=text("ended_at is not null")),
    )


class MessageDue(GlobalTable):
    """A message whose delivery has not ended. Written in the transaction of the message; gone when it has ended.

    No foreign key leads to the message: a global table does not point into tenant tables.
    """

    __tablename__ = "message_due"
    __why_global__: ClassVar[str] = "the worker looks for messages before it knows for whom; ids and instants only"

    #: Whose message.
    organisation_id: Mapped[int] = mapped_column(ForeignKey("tenant.id"), primary_key=True)
    #: Number of the message.
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    #: When to look at it next. Whoever moves it from the value he saw has taken the message.
    due_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (Index("ix_message_due_at", "due_at"),)
