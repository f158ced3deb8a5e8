"""Tables of the audit log. Decides what an audit row holds; never what is worth one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, FetchedValue, Index, Integer, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from propmgr.database.base import TenantTable
from propmgr.database.types import Instant, Words, one_of
from propmgr.kernel.act import ActorKind


class AuditRecord(TenantTable):
    """One act of one person or program. Append-only; only `seal_no` is filled later, once."""

    __tablename__ = "audit_record"
    __audited__: ClassVar[bool] = False

    #: The instant of the act, as the act carried it.
    at: Mapped[datetime] = mapped_column(Instant)
    #: What kind of hand acted.
    actor_kind: Mapped[ActorKind] = mapped_column(Words(ActorKind))
    #: Stable id of the person or name of the program; never a name or phone number of a person.
    actor_id: Mapped[str] = mapped_column(Text)
    #: The command, as `slice.verb_noun`.
    act: Mapped[str] = mapped_column(Text)
    #: Table of the record acted on.
    object_kind: Mapped[str] = mapped_column(Text)
    #: Id of that record; NULL where the act concerned many (details then says which).
    object_id: Mapped[int | None] = mapped_column(BigInteger)
    #: Joins the row to log lines and to the reference number a person was shown.
    request_id: Mapped[str] = mapped_column(Text)
    #: What changed, in ids, codes, counts and fen; never secrets.
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    #: The seal that took this row into the chain; NULL until the worker has sealed it. Only sealing may write it, so
    #: an insert leaves it out (FetchedValue says that the database fills it).
    seal_no: Mapped[int | None] = mapped_column(BigInteger, server_default=FetchedValue())

    __table_args__ = (
        one_of("actor_kind", ActorKind),
        Index("ix_audit_record_unsealed", "tenant_id", "id", postgresql_where=text("seal_no is null")),
        Index("ix_audit_record_seal", "tenant_id", "seal_no"),
        Index("ix_audit_record_object", "tenant_id", "object_kind", "object_id"),
        Index("ix_audit_record_at", "tenant_id", "at"),
    )


class AuditSeal(TenantTable):
    """One link: head = sha256(previous head || the sealed rows' text in id order). `id` counts 1, 2, 3 without gaps."""

    __tablename__ = "audit_seal"
    __audited__: ClassVar[bool] = False

    #: Number of the link in the organisation's chain.
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, sort_order=-1)
    #: How many rows the link covers.
    records: Mapped[int] = mapped_column(Integer)
    #: When it was made.
    sealed_at: Mapped[datetime] = mapped_column(Instant)
    #: Head of the link before; 32 zero bytes before the first.
    previous: Mapped[bytes] = mapped_column(LargeBinary)
    #: SHA-256, 32 bytes.
    head: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (
        CheckConstraint("records > 0", name="records"),
        CheckConstraint("octet_length(previous) = 32 and octet_length(head) = 32", name="sha256"),
    )
