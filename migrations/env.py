"""How migrations run. Decides: as the owner, one transaction each, four seconds of patience for a lock.

Two starters at once wait for one another (an advisory lock). `row_security = off` turns anything hidden by row level
security into an error: under FORCE an owner's UPDATE would otherwise silently change nothing.
"""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import create_engine, event, pool, text

from propmgr.database.locks import HOUSE, MIGRATIONS

target_metadata = current_app.extensions["migrate"].db.metadata


def run() -> None:
    """Migrate over a connection of the owner's. There is no offline mode: grants need the catalogue."""
    assert not context.is_offline_mode(), "migrations run against a database"
    engine = create_engine(current_app.config["OWNER_DATABASE_URL"], poolclass=pool.NullPool)

    @event.listens_for(engine, "begin")
    def _patience(connection: object) -> None:
        connection.exec_driver_sql("set local lock_timeout = '4s'")  # type: ignore[attr-defined]
        connection.exec_driver_sql("set local row_security = off")  # type: ignore[attr-defined]

    with engine.connect() as guard:
        guard.execution_options(isolation_level="AUTOCOMMIT")
        guard.execute(text("select pg_advisory_lock(:h, :m)"), {"h": HOUSE, "m": MIGRATIONS})
        with engine.connect() as connection:
            context.configure(
                connection=connection,
                target_metadata=target_metadata,
                transaction_per_migration=True,
                compare_type=True,
                compare_server_default=True,
            )
            with context.begin_transaction():
                context.run_migrations()


run()
