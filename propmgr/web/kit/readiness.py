"""Can this process serve? Decides by asking the database as the app's own role; never says where the database is.

Two parts: the database answers, and its schema is the one this release was written for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import structlog
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from propmgr.config import PROJECT
from propmgr.database.base import db
from propmgr.database.roles import APP

log = structlog.get_logger()

#: A database that needs longer than this for `select 1` is not ready.
PATIENCE_MS = 2000


@dataclass(frozen=True, slots=True)
class Readiness:
    """What answers and what does not."""

    database: bool
    schema: bool

    @property
    def ready(self) -> bool:
        """Whether requests may be sent here."""
        return self.database and self.schema


def readiness() -> Readiness:
    """Ask. Takes no longer than the connection's and the statement's patience, and raises nothing of the database's."""
    database = False
    try:
        with db.engine.connect() as connection:
            connection.exec_driver_sql(f"set local statement_timeout = {PATIENCE_MS}")
            role = connection.exec_driver_sql("select current_user").scalar_one()
            database = role == APP
            if not database:
                log.error("readiness.wrong_role", role=role, wanted=APP)
            found = set(connection.exec_driver_sql("select version_num from alembic_version").scalars())
    except (DBAPIError, PoolTimeoutError):
        log.warning("readiness.refused", database=database, exc_info=True)
        return Readiness(database, schema=False)
    if found != newest_schema():
        log.warning("readiness.other_schema", found=sorted(found), wanted=sorted(newest_schema()))
    return Readiness(database, schema=found == newest_schema())


@cache
def newest_schema() -> frozenset[str]:
    """The revision this release was written for, read once from migrations/."""
    return frozenset(ScriptDirectory(str(PROJECT / "migrations")).get_heads())
