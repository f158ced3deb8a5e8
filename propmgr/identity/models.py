"""Table of organisations. Decides what the house knows of one before anybody has logged in."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger, ForeignKey, Sequence, Text
from sqlalchemy.orm import Mapped, mapped_column

from propmgr.database.base import GlobalTable
from propmgr.database.types import Instant, Words, one_of
from propmgr.identity.rules import TenantKind, TenantStatus


class Tenant(GlobalTable):
    """An organisation. Written only in a unit of work scoped to itself (a policy holds that)."""

    __tablename__ = "tenant"
    __why_global__: ClassVar[str] = "names of organisations are public, and are needed before any scope is known"

    #: Number of the organisation; 1 is the platform.
    id: Mapped[int] = mapped_column(BigInteger, Sequence("tenant_id_seq"), primary_key=True, autoincrement=False)
    #: company, office or platform.
    kind: Mapped[TenantKind] = mapped_column(Words(TenantKind))
    #: Registered name, as on the business licence or the office's seal.
    name: Mapped[str] = mapped_column(Text, unique=True)
    #: open, suspended or closed.
    status: Mapped[TenantStatus] = mapped_column(Words(TenantStatus))
    #: Where a company has its seat, or the area an office answers for.
    division_code: Mapped[str | None] = mapped_column(ForeignKey("division.code"))
    #: When it was opened here.
    opened_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (one_of("kind", TenantKind), one_of("status", TenantStatus))
