"""Column types of the house. Decides how our words are stored; never converts money or time on its own.

Money is `Fen` (whole fen, BIGINT). There is no float type, and a test looks for one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Dialect, Text, TypeDecorator

#: Whole fen. Column names end in `_fen`.
Fen = BigInteger

#: An instant: stored in UTC, aware in Python.
Instant = DateTime(timezone=True)


class Words(TypeDecorator[StrEnum]):
    """A StrEnum stored as its word. Pair it with `one_of` so that the database refuses other words as well."""

    impl = Text
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else str(self.words(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.words(value)


def one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    """`column in ('a', 'b')` with the enum's words."""
    listed = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{column} in ({listed})", name=f"{column}_word")
