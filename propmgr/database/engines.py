"""How engines are made and sessions are told to trust the server. Decides pool sizes, and whom each address admits.

The app's engine belongs to Flask-SQLAlchemy; the check engine is read-only and used by checks and backup.
"""

from __future__ import annotations

from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event

from propmgr.config import DatabaseUrls
from propmgr.database.roles import APP, CHECK, OWNER
from propmgr.database.tenancy import CONNECT_ARGS
from propmgr.kernel.errors import ConfigError

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


#: Which address must lead in as which role. As any other role the walls would stand where nobody walks.
_DOORS = (
    ("DATABASE_URL", "app", APP),
    ("MIGRATION_DATABASE_URL", "owner", OWNER),
    ("CHECK_DATABASE_URL", "check", CHECK),
    ("DIRECT_DATABASE_URL", "direct", APP),
)

_WHO = """
    select current_user, rolsuper or rolbypassrls, current_setting('timezone'),
           current_setting('server_version_num')::int, current_database() || ' ' || pg_postmaster_start_time()
    from pg_roles where rolname = current_user
    """


def assert_doors(urls: DatabaseUrls) -> None:
    """Each address leads into the same database, as the role it is for. Raises ConfigError with every fault found."""
    faults: list[str] = []
    databases: dict[str, str] = {}
    for name, door, role in _DOORS:
        try:
            address = getattr(urls, door).replace("postgresql+psycopg://", "postgresql://", 1)
            with psycopg.connect(address, connect_timeout=5, prepare_threshold=None) as connection:
                who = connection.execute(_WHO).fetchone()
        except psycopg.Error as error:
            faults.append(f"{name}: {' '.join(str(error).split())}")
            continue
        assert who is not None, "whoever is connected is a role"
        found, powerful, zone, version, databases[name] = who
        if found != role or powerful:
            faults.append(f"{name} leads in as {found}, which must be {role}, without rights to bypass the walls")
        if zone != "Asia/Shanghai":
            faults.append(f"{name}: the role's time zone is {zone}; run the output of `flask roles-sql`")
        if version < 150000:
            faults.append(f"{name}: PostgreSQL 15 or newer is needed, this server is {version}")
    if len(set(databases.values())) > 1:
        faults.append(f"{', '.join(databases)} lead to different databases")
    if faults:
        listed = "\n".join(f"  * {fault}" for fault in faults)
        raise ConfigError("The addresses of the database cannot be used:\n%(faults)s", faults=listed)
