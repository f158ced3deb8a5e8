"""No float anywhere near money: not in a column, not in a name, not in an annotation of the rooms that hold it."""

from __future__ import annotations

import ast

import pytest
from sqlalchemy import BigInteger, Float, Numeric

from propmgr.config import PROJECT
from propmgr.database.base import Base
from propmgr.tables import __all__ as every_table

#: Rooms in which a float has no business at all. Others may measure seconds.
WITHOUT_FLOATS = (
    "kernel",
    "ledger",
    "receivables",
    "billing",
    "payments",
    "repairfund",
    "transition",
    "identity",
    "places",
)


def floats(source: str) -> list[int]:
    """Lines with a float literal or the name float."""
    nodes = ast.walk(ast.parse(source))
    return [
        n.lineno
        for n in nodes
        if (isinstance(n, ast.Constant) and type(n.value) is float) or (isinstance(n, ast.Name) and n.id == "float")
    ]


def test_no_float_in_the_rooms_of_money():
    assert floats("x = 1.5\ny: float\nz = float('1')") == [1, 2, 3], "red control"
    found = {
        str(path.relative_to(PROJECT)): lines
        for room in WITHOUT_FLOATS
        for path in (PROJECT / "propmgr" / room).rglob("*.py")
        if (lines := floats(path.read_text()))
    }
    assert found == {}


def test_no_column_is_a_float_and_fen_are_whole():
    assert every_table
    for table in Base.metadata.tables.values():
        for column in table.columns:
            assert not isinstance(column.type, Float) or isinstance(column.type, Numeric), column
            assert type(column.type) is not Float, column
            if column.name.endswith("_fen"):
                assert isinstance(column.type, BigInteger), column


@pytest.mark.database
def test_the_database_has_no_float_either(app):
    from sqlalchemy import text

    from propmgr.database.base import db

    query = """select table_name || '.' || column_name from information_schema.columns where table_schema = 'public'
        and (data_type in ('real', 'double precision', 'money')
             or column_name like '%\\_fen' and data_type <> 'bigint')"""
    with db.engine.connect() as connection:
        assert connection.execute(text(query)).scalars().all() == []
