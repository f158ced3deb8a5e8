"""Decides the life of one PostgreSQL server in one folder: made, started, found again, shared, given up.

The server outlives whoever started it, even a kill -9, and the next ``start`` finds it; the last user to leave stops
it. Listens on 127.0.0.1 only, with SCRAM passwords for everybody and no unix socket. Never touches a database named
by DATABASE_URL, and never signals a process that does not carry this cluster's token.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from propmgr.database import roles
from propmgr.database.embedded.binaries import EmbeddedError
from propmgr.database.embedded.cluster import RECOVERY_PATIENCE_S, Cluster, clean_environment, said
from propmgr.database.embedded.locks import FileLock
from propmgr.database.embedded.settings import SUPERUSER, hba_text

DATABASE = "propmgr"


class Embedded:
    """One server in ``root``; see the methods. Not for several threads at once; several processes may hold one each."""

    def __init__(self, root: Path, *, binaries: Path | None = None, durable: bool = True) -> None:
        """``binaries``: a folder with ``bin/`` in it, None for the wheel's. ``durable=False`` (tests) loses data in a
        power cut."""
        self.root = Path(os.path.abspath(root))
        self._cluster = Cluster(self.root, binaries, durable=durable)
        self.cluster = self._cluster.data
        self._start_lock = FileLock(self.root / "start.lock")
        self._use_lock = FileLock(self.root / "use.lock")
        self._user_pid = 0

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Make the cluster when there is none, start the server when it does not run, lay down roles and the database
        ``propmgr``, and hold the server for the life of this process. Harmless when repeated. Raises
        EmbeddedError."""
        self._prepare_folder()
        self._take_start_lock()
        try:
            # Before the server starts: whoever leaves at this moment must see that somebody stays.
            if not self._use_lock.held or self._user_pid != os.getpid():
                self._use_lock.unlock()
                if not self._use_lock.try_lock(shared=True):
                    raise EmbeddedError(
                        f"The embedded database in {self.root} is being stopped by another process; try again."
                    )
            self._cluster.make()
            self._cluster.bring_up()
            self._provision()
        except BaseException:
            self._use_lock.unlock()
            raise
        finally:
            self._start_lock.unlock()
        if self._user_pid != os.getpid():
            self._user_pid = os.getpid()
            atexit.register(self.release)

    def stop(self) -> None:
        """Stop the server, whoever uses it (open transactions are rolled back). Harmless when it does not run."""
        if not self.cluster.is_dir():
            return
        self._take_start_lock()
        try:
            self._cluster.stop()
        finally:
            self._start_lock.unlock()

    def running(self) -> bool:
        """Whether the server runs and takes connections; looks at files and processes only."""
        return self._cluster.state() == "ready"

    def release(self) -> None:
        """Give the server up; when nobody else holds it, stop it. Runs by itself when the process ends."""
        atexit.unregister(self.release)
        # A forked child has a copy of its parent's lock; only the process that took it may judge that it was the last.
        mine = self._use_lock.held and self._user_pid == os.getpid()
        self._use_lock.unlock()
        self._user_pid = 0
        if not mine or not self.root.is_dir() or not self._start_lock.lock(shared=False, timeout_s=10):
            return
        try:
            if self._use_lock.try_lock(shared=False):
                self._cluster.stop()
        finally:
            self._use_lock.unlock()
            self._start_lock.unlock()

    def erase(self) -> None:
        """Stop the server and delete the cluster with all data and passwords. There is no way back."""
        self.release()
        self._take_start_lock()
        try:
            self._cluster.erase()
            (self.root / "start.lock").unlink()
            with contextlib.suppress(OSError):
                self.root.rmdir()
        finally:
            self._start_lock.unlock()

    # ------------------------------------------------------------ databases

    def url(self, role: str, database: str = DATABASE) -> str:
        """SQLAlchemy address for ``propmgr_owner``, ``propmgr_app``, ``propmgr_check`` or ``postgres`` (the superuser).

        It demands SCRAM from the server, so that a foreign program on our port cannot ask for the password in clear.
        """
        settings = self._cluster.known()
        if role not in settings.passwords:
            raise EmbeddedError(f"There is no role {role}; known are {', '.join(settings.passwords)}.")
        address = f"{role}:{settings.passwords[role]}@127.0.0.1:{settings.port}"
        return f"postgresql+psycopg://{address}/{database}?require_auth=scram-sha-256"

    def create_database(self, name: str, template: str | None = None) -> None:
        """A new database owned by propmgr_owner, empty or a copy of ``template`` (which nobody may be using), with
        the same rights as the first. Raises psycopg.errors.DuplicateDatabase or ObjectInUse."""
        with self._connect() as connection:
            statement = sql.SQL("create database {} owner {} template {}").format(
                sql.Identifier(name), sql.Identifier(roles.OWNER), sql.Identifier(template or "template1")
            )
            connection.execute(statement)
            roles.provision_database(connection, name)

    def drop_database(self, name: str) -> None:
        """Delete a database with all data, ending whoever is connected to it. Harmless when it does not exist."""
        with self._connect() as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    # ------------------------------------------------------------- programs

    def program(self, name: str) -> Path:
        """The path of a PostgreSQL program of the server's version (``pg_dump``, ``pg_restore``, ``psql``)."""
        return self._cluster.found().program(name)

    def run_program(
        self,
        name: str,
        *arguments: str | Path,
        role: str = roles.CHECK,
        database: str = DATABASE,
        timeout_s: float | None = None,
        **options: Any,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a client program as ourselves (it may write where we may), logged in as ``role`` to ``database``.

        The password travels in the environment, never on the command line. ``options`` go to ``subprocess.run``
        (stdin, stdout). Raises EmbeddedError with the program's last words when it fails.
        """
        settings = self._cluster.known()
        environment = clean_environment() | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(settings.port),
            "PGUSER": role,
            "PGPASSWORD": settings.passwords[role],
            "PGDATABASE": database,
            "PGREQUIREAUTH": "scram-sha-256",
        }
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        command = [os.fspath(self.program(name)), *map(os.fspath, arguments)]
        done = subprocess.run(command, env=environment, timeout=timeout_s, check=False, **options)
        if done.returncode != 0:
            raise EmbeddedError(f"{name} failed with code {done.returncode}: {said(done.stderr)}")
        return done

    # ------------------------------------------------------------- the parts

    def _connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        settings = self._cluster.known()
        return psycopg.connect(
            host="127.0.0.1",
            port=settings.port,
            user=SUPERUSER,
            password=settings.passwords[SUPERUSER],
            dbname=database,
            autocommit=True,
            connect_timeout=10,
            require_auth="scram-sha-256",
        )

    def _prepare_folder(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        # The server's user must pass through, nobody needs to look in; as ourselves it is nobody else's business at
        # all.
        self.root.chmod(0o711 if os.geteuid() == 0 else 0o700)

    def _take_start_lock(self) -> None:
        if not self._start_lock.lock(shared=False, timeout_s=RECOVERY_PATIENCE_S):
            raise EmbeddedError(
                f"Another process has been starting the embedded database in {self.root} for minutes; "
                "end it and try again."
            )

    def _provision(self) -> None:
        # Most starts find the server as they left it; laying the roles down again would cost each of them a connection.
        form = hashlib.sha256((roles.roles_sql(DATABASE) + hba_text()).encode()).hexdigest()[:16]
        if self._cluster.known().provisioned == form:
            return
        passwords = {role: self._cluster.known().passwords[role] for role in roles.LOGIN_ROLES}
        with self._connect() as connection:
            roles.provision(connection, passwords, DATABASE)
            for name in ("postgres", "template1"):
                connection.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(name)))
        self._cluster.keep(replace(self._cluster.known(), provisioned=form))
