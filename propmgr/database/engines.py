"""How engines are made and sessions are told to trust the server. Decides pool sizes and the start-up check.

The app's engine belongs to Flask-SQLAlchemy; the check engine is read-only and used by checks and backup.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from propmgr.database.tenancy import CONNECT_ARGS
from propmgr.kernel.errors import ConfigError, NotReady

#: One web process serves one request at a time (gunicorn sync); the worker has a few threads.
APP_ENGINE: dict[str, Any] = {
    "connect_args": {**CONNECT_ARGS, "connect_timeout": 5},
    "pool_pre_ping": True,
    "pool_size": 8,
    "max_overflow": 4,
    "pool_timeout": 5,
    "pool_recycle": 1800,
}


def check_engine(url: str) -> Engine:
    """An engine as the role that reads every organisation and writes nothing. The caller disposes of it."""
    engine = create_engine(url, connect_args={**CONNECT_ARGS, "connect_timeout": 5}, pool_size=2, max_overflow=0)

    @event.listens_for(engine, "begin")
    def _read_only(connection: Any) -> None:
        connection.exec_driver_sql("set transaction read only")

    return engine


def assert_usable(engine: Engine) -> None:
    """The server is new enough and thinks in our zone. Raises ConfigError (mend the server) or NotReady (wait)."""
    try:
        with engine.connect() as connection:
            version = connection.execute(text("select current_setting('server_version_num')::int")).scalar_one()
            zone, bypass = connection.execute(
                text(
                    "select current_setting('timezone'), rolsuper or rolbypassrls"
                    " from pg_roles where rolname = current_user"
                )
            ).one()
    except DBAPIError as error:
        raise NotReady("The database cannot be reached.") from error
    if version < 150000:
        raise ConfigError("PostgreSQL 15 or newer is needed; this server is %(version)s.", version=version)
    if zone != "Asia/Shanghai":
        raise ConfigError("The app role's time zone is %(zone)s: run the output of `flask roles-sql`.", zone=zone)
    if bypass:
        raise ConfigError("The app role may bypass row level security: use the roles of `flask roles-sql`.")
