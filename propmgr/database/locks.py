"""Locks that outlive a transaction. Decides who leads; never what the leader does.

The leader is whoever holds one advisory lock on a direct connection (no pooler between): when the process or its
connection dies, PostgreSQL frees the lock, and the next worker leads.
"""

from __future__ import annotations

import contextlib

import psycopg

from propmgr.kernel.errors import NotReady

#: Two-key advisory locks of the house: (HOUSE, which).
HOUSE = 0x70726F70
LEADER = 1
MIGRATIONS = 2


class LeaderLock:
    """The right to run scheduled work and jobs. One at a time in the whole installation."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._connection: psycopg.Connection | None = None

    def acquire(self) -> bool:
        """Try once, without waiting. Raises NotReady when the database cannot be reached."""
        assert self._connection is None, "already leading"
        try:
            connection = psycopg.connect(self._url, autocommit=True, prepare_threshold=None, connect_timeout=5)
        except psycopg.OperationalError as error:
            raise NotReady("The database cannot be reached.") from error
        taken = connection.execute("select pg_try_advisory_lock(%s, %s)", (HOUSE, LEADER)).fetchone()
        if taken is None or not taken[0]:
            connection.close()
            return False
        self._connection = connection
        return True

    def held(self) -> bool:
        """Whether the connection that carries the lock still answers."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("select 1")
        except psycopg.Error:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Let the next worker lead."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # Said before the connection is closed: the server notices a closed one only a moment later.
            with contextlib.suppress(psycopg.Error):
                connection.execute("select pg_advisory_unlock(%s, %s)", (HOUSE, LEADER))
            connection.close()
