"""One act, one transaction, one commit. Decides when a scope opens and closes; knows no table.

    with unit_of_work(act):
        commands.open_organisation(act, ...)

Commands and queries take the session from `session()`, which exists only inside. A unit that changed a tenant's rows
without leaving an audit row does not commit (invariant I13).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction

from propmgr.database.base import TenantTable, db
from propmgr.database.tenancy import open_scope
from propmgr.kernel.act import Act
from propmgr.kernel.crash import crash_point


class _Unit:
    """What one open unit knows of itself: its act, and whether its changes have an audit row."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.changed: set[str] = set()
        self.audited = False


@contextmanager
def unit_of_work(act: Act) -> Iterator[Act]:
    """Open the act's scope, run the block, commit. Any exception rolls back everything. Units do not nest."""
    session = db.session()
    assert "unit" not in session.info and not session.in_transaction(), "units of work do not nest"
    session.info["unit"] = unit = _Unit(act)
    try:
        with session.begin():
            yield act
            session.flush()
            assert unit.audited or not unit.changed, f"changed {sorted(unit.changed)} without an audit row"
            crash_point("commit.before")
        crash_point("commit.after")
    finally:
        session.info.pop("unit", None)
        db.session.remove()


def session() -> Session:
    """The session of the open unit. Asserts that there is one: nothing is read or written outside a unit."""
    current = db.session()
    assert "unit" in current.info, "no unit of work is open"
    return current


def current_act() -> Act:
    """The act of the open unit."""
    return session().info["unit"].act


def is_open() -> bool:
    """Whether a unit is open here: provider calls assert that none is."""
    return "unit" in db.session().info


def mark_audited() -> None:
    """Said by the audit room when it has written the unit's row."""
    session().info["unit"].audited = True


@event.listens_for(Session, "after_begin")
def _open_scope(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    unit = session.info.get("unit")
    if unit is not None and not transaction.nested:
        driver_connection: Any = connection.connection.driver_connection
        try:
            open_scope(driver_connection, unit.act)
        except psycopg.OperationalError as error:
            # Sent past SQLAlchemy, so it must be told: this connection is dead, and what happened is database trouble.
            connection.invalidate(error)
            raise OperationalError("set local", None, error, connection_invalidated=True) from error


@event.listens_for(Session, "after_flush")
def _note_changes(session: Session, _context: object) -> None:
    unit = session.info.get("unit")
    if unit is not None:
        for row in (*session.new, *session.dirty, *session.deleted):
            _note(unit, type(row))


@event.listens_for(Session, "do_orm_execute")
def _note_statements(state: ORMExecuteState) -> None:
    unit = state.session.info.get("unit")
    if unit is not None and (state.is_insert or state.is_update or state.is_delete):
        mapper = state.bind_mapper
        if mapper is not None:
            _note(unit, mapper.class_)


def _note(unit: _Unit, table: type) -> None:
    if issubclass(table, TenantTable) and table.__audited__:
        unit.changed.add(table.__tablename__)
