"""Tables of places. Decides what is known of a division; persons never appear here."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from propmgr.database.base import GlobalTable


class Division(GlobalTable):
    """One administrative division. Kept by the platform; a division that is no longer listed stays, with its end."""

    __tablename__ = "division"
    __why_global__: ClassVar[str] = "public reference data, the same for every organisation"

    #: 2, 4, 6, 9 or 12 digits; a prefix of every code within it.
    code: Mapped[str] = mapped_column(Text, primary_key=True)
    #: Official name.
    name: Mapped[str] = mapped_column(Text)
    #: The division it lies in; NULL for a province.
    parent_code: Mapped[str | None] = mapped_column(ForeignKey("division.code"))
    #: Year of the edition that first listed it here.
    since_edition: Mapped[int] = mapped_column(SmallInteger)
    #: Year of the first edition that no longer lists it; NULL while it is listed.
    gone_edition: Mapped[int | None] = mapped_column(SmallInteger)

    __table_args__ = (
        CheckConstraint("code ~ '^([0-9]{2}|[0-9]{4}|[0-9]{6}|[0-9]{9}|[0-9]{12})$'", name="code_digits"),
        Index("ix_division_parent", "parent_code", "code"),
    )
