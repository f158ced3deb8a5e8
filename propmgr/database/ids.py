"""Blocks of ids for set-based statements. Decides that bulk ids never meet single ones; knows no table.

Single rows take `nextval` of their table's sequence. A bulk statement takes one block of 2^20 numbers and fills
`base + row_number()`: no lock, deterministic within the statement. Blocks begin at 2^40, far above any sequence, and
stay below 2^53 for 8 billion blocks.
"""

from __future__ import annotations

from sqlalchemy import text

from propmgr.database.unit_of_work import session

BLOCK = 1 << 20


def id_block(rows: int) -> int:
    """The base of a block for `rows` rows (fewer than 2^20); the statement fills base + 1 .. base + rows."""
    assert 0 < rows < BLOCK, "a bulk statement of more rows is split by the caller"
    return session().execute(text("select nextval('bulk_block')")).scalar_one() << 20
