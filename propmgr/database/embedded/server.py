"""Decides the life of one PostgreSQL server in one folder: made, started, found again, shared, given up.

The server outlives whoever started it, even a kill -9, and the next ``start`` finds it; the last user to leave stops
it. Listens on 127.0.0.1 only, with SCRAM passwords for everybody and no unix socket. Never touches a database named
by DATABASE_URL, and never signals a process that does not carry this cluster's token.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from propmgr.database import roles
from propmgr.database.embedded.binaries import Binaries, EmbeddedError, Runner, find_binaries, find_runner
from propmgr.database.embedded.locks import FileLock
from propmgr.database.embedded.processes import end_left_behind, processes_with
from propmgr.database.embedded.settings import (
    SUPERUSER,
    Settings,
    config_text,
    free_port,
    hba_text,
    initdb_options,
    port_is_free,
)

DATABASE = "propmgr"
#: How long a start is repeated when leftovers of a killed server stand in its way.
REFUSAL_PATIENCE_S = 30.0
#: How long a server may replay its log after a crash before we call it lost.
RECOVERY_PATIENCE_S = 300.0
_LOGS_KEPT = 10
_PASSING = re.compile(
    r"lock file|another postmaster|shared memory|semaphore"
    r"|[Aa]ddress already in use|could not bind|could not create any TCP/IP sockets"
)


class Embedded:
    """One server in ``root``; see the methods. Not for several threads at once; several processes may hold one each."""

    def __init__(self, root: Path, *, binaries: Path | None = None, durable: bool = True) -> None:
        """``binaries``: a folder with ``bin/`` in it, None for the wheel's. ``durable=False`` (tests) loses data in a
        power cut."""
        self.root = Path(os.path.abspath(root))
        self.cluster = self.root / "cluster"
        self._durable = durable
        self._folder = binaries
        self._binaries: Binaries | None = None
        self._start_lock = FileLock(self.root / "start.lock")
        self._use_lock = FileLock(self.root / "use.lock")
        self._settings: Settings | None = None
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
            self._make_cluster()
            self._bring_up()
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
            self._stop_server()
        finally:
            self._start_lock.unlock()

    def running(self) -> bool:
        """Whether the server runs and takes connections; looks at files and processes only."""
        return self._state() == "ready"

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
                self._stop_server()
        finally:
            self._use_lock.unlock()
            self._start_lock.unlock()

    def erase(self) -> None:
        """Stop the server and delete the cluster with all data and passwords. There is no way back."""
        self.stop()
        self.release()
        shutil.rmtree(self.root, ignore_errors=False)
        self._settings = None

    # ------------------------------------------------------------ databases

    def url(self, role: str, database: str = DATABASE) -> str:
        """SQLAlchemy address for ``propmgr_owner``, ``propmgr_app``, ``propmgr_check`` or ``postgres`` (the superuser).

        It demands SCRAM from the server, so that a foreign program on our port cannot ask for the password in clear.
        """
        settings = self._known()
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
        return self._found().program(name)

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
        settings = self._known()
        environment = _clean_environment() | {
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
            raise EmbeddedError(f"{name} failed with code {done.returncode}: {_text(done.stderr)}")
        return done

    # ------------------------------------------------------------- the parts

    def _found(self) -> Binaries:
        # Looked up late: asking for an address must not copy programs or need the wheel.
        if self._binaries is None:
            self._binaries = find_binaries(self._folder)
        return self._binaries

    def _known(self) -> Settings:
        settings = self._settings or Settings.read(self.root / "embedded.json")
        if settings is None:
            raise EmbeddedError(f"There is no embedded database in {self.root} yet; start() makes it.")
        return settings

    def _keep(self, settings: Settings) -> None:
        settings.write(self.root / "embedded.json")
        self._settings = settings

    def _connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        settings = self._known()
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

    def _make_cluster(self) -> None:
        """initdb into a folder beside, then rename: a cluster is there whole or not at all."""
        for leftover in self.root.glob("new-*"):
            # The initdb of a killed starter goes on writing; its command line names this folder.
            end_left_behind(leftover.name)
            shutil.rmtree(leftover, ignore_errors=True)
        self._settings = Settings.read(self.root / "embedded.json")
        if self.cluster.is_dir():
            if self._settings is None:
                raise EmbeddedError(
                    f"The file {self.root / 'embedded.json'} with the passwords of the embedded database is gone. "
                    "Put it back from a backup, or delete the folder to start with an empty database."
                )
            return
        self._keep(self._settings or Settings.new())
        runner = self._runner()
        place = Path(tempfile.mkdtemp(prefix="new-", dir=self.root))
        try:
            secret = place / "password"
            secret.write_text(self._known().passwords[SUPERUSER] + "\n", encoding="ascii")
            secret.chmod(0o600)
            runner.give(secret)
            runner.give(place)
            options = [
                "--auth=scram-sha-256",
                f"--username={SUPERUSER}",
                "--pwfile",
                secret,
                *initdb_options(self._found().major),
            ]
            if not self._durable:
                options.append("--no-sync")
            done = self._run_as_server("initdb", "-D", place / "data", *options, timeout_s=300)
            if done.returncode != 0:
                raise EmbeddedError(f"The embedded database could not be made in {self.root}: {_text(done.stdout)}")
            (place / "data").rename(self.cluster)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _runner(self) -> Runner:
        runner = find_runner(self.cluster)
        if runner.uid is not None:
            # Asked of the system as that user: permissions, mount options and access lists all count.
            entered = subprocess.run(
                ["/bin/sh", "-c", 'cd "$1"', "sh", self.root],
                check=False,
                capture_output=True,
                cwd="/",
                **runner.popen_options(),
            )
            if entered.returncode != 0:
                raise EmbeddedError(
                    f"PostgreSQL must not run as root, and the user with id {runner.uid} who runs it cannot enter "
                    f"{self.root}. Choose a folder below /var/lib/propmgr (default_root does)."
                )
        return runner

    def _run_as_server(self, name: str, *arguments: str | Path, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
        # A session of its own: Ctrl-C in the terminal must reach the application, which then stops the server last.
        return subprocess.run(
            [self.program(name), *arguments],
            env=_clean_environment(),
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
            timeout=timeout_s,
            check=False,
            **self._runner().popen_options(),
        )

    def _token(self) -> str:
        # With the folder's inode: a moved folder keeps its server, and a copied one must not take the original's for
        # its own.
        return f"{self._known().token}_{self.cluster.stat().st_ino:x}"

    def _state(self) -> str | None:
        """``starting``, ``ready``, ``stopping`` (the server's own words) or None when no server of ours lives."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text("utf-8", "surrogateescape").splitlines()
            pid = int(lines[0])
            token = self._token()
        except (OSError, ValueError, IndexError, EmbeddedError):
            return None
        if pid not in (process.pid for process in processes_with(token)):
            return None
        return lines[7].strip() if len(lines) > 7 else "starting"

    def _bring_up(self) -> None:
        began = time.monotonic()
        while (state := self._state()) != "ready":
            waited_s = time.monotonic() - began
            if state is not None:
                # Left by a starter that was killed, or on its way down: either comes to an end by itself.
                if waited_s > RECOVERY_PATIENCE_S:
                    so_long = f"has been {state} for {waited_s:.0f} s"
                    raise EmbeddedError(f"The embedded database in {self.root} {so_long}.{self._last_words()}")
                time.sleep(0.1)
                continue
            refusal = self._try_start()
            if refusal and (waited_s > REFUSAL_PATIENCE_S or not _PASSING.search(refusal)):
                raise EmbeddedError(f"The embedded database in {self.root} does not start.{refusal}")
            time.sleep(0.5 if refusal else 0)

    def _try_start(self) -> str:
        """One attempt; returns "" or why it failed."""
        self._check_version()
        end_left_behind(self._token())
        # No process of ours lives, so the number in it is stale, or meanwhile somebody else's, at whom the server
        # would balk. Two servers on one cluster remain impossible: PostgreSQL finds attached shared memory by the
        # folder itself.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        if not port_is_free(self._known().port):
            self._keep(replace(self._known(), port=free_port()))
        runner = self._runner()
        for name, text in (("postgresql.conf", config_text(durable=self._durable)), ("pg_hba.conf", hba_text())):
            (self.cluster / name).write_text(text, "utf-8")
            runner.give(self.cluster / name)
        self._trim_logs(runner)
        done = self._run_as_server(
            "pg_ctl",
            "start",
            "-D",
            self.cluster,
            "-w",
            "-t",
            str(int(RECOVERY_PATIENCE_S)),
            "-l",
            self.root / "log" / "start.log",
            "-o",
            f"-p {self._known().port} -c cluster_name={self._token()}",
            timeout_s=RECOVERY_PATIENCE_S + 30,
        )
        return "" if done.returncode == 0 else f" {_text(done.stdout)}{self._last_words()}"

    def _check_version(self) -> None:
        made_by = (self.cluster / "PG_VERSION").read_text("ascii").strip()
        if made_by != str(self._found().major):
            raise EmbeddedError(
                f"The data in {self.root} was made by PostgreSQL {made_by}, and the programs are version "
                f"{self._found().major}. Take a backup with the old version (flask backup), start afresh, "
                "and restore it."
            )

    def _trim_logs(self, runner: Runner) -> None:
        folder = self.root / "log"
        folder.mkdir(exist_ok=True, mode=0o700)
        runner.give(folder)
        for old in sorted(folder.glob("postgres-*.log"))[:-_LOGS_KEPT]:
            old.unlink(missing_ok=True)
        # Holds only the words of the last attempt, which is what an error message quotes.
        (folder / "start.log").unlink(missing_ok=True)

    def _last_words(self) -> str:
        """The end of the server's logs, for an error message."""
        logs = [self.root / "log" / "start.log", *sorted((self.root / "log").glob("postgres-*.log"))[-1:]]
        words = [log.read_text("utf-8", "replace")[-1500:].strip() for log in logs if log.is_file()]
        return "".join(f"\n{text}" for text in words if text) + f"\n(logs: {self.root / 'log'})"

    def _provision(self) -> None:
        # Most starts find the server as they left it; laying the roles down again would cost each of them a connection.
        form = hashlib.sha256((roles.roles_sql(DATABASE) + hba_text()).encode()).hexdigest()[:16]
        if self._known().provisioned == form:
            return
        passwords = {role: self._known().passwords[role] for role in roles.LOGIN_ROLES}
        with self._connect() as connection:
            roles.provision(connection, passwords, DATABASE)
            for name in ("postgres", "template1"):
                connection.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(name)))
        self._keep(replace(self._known(), provisioned=form))

    def _stop_server(self) -> None:
        if self._state() is None:
            return
        for mode in ("fast", "immediate"):
            done = self._run_as_server("pg_ctl", "stop", "-D", self.cluster, "-m", mode, "-w", "-t", "60", timeout_s=90)
            if done.returncode == 0 or self._state() is None:
                return
        raise EmbeddedError(
            f"The embedded database in {self.root} does not stop: {_text(done.stdout)}{self._last_words()}"
        )


def _text(output: bytes | None) -> str:
    # The end says why; a dump that fails may have printed pages before.
    return os.fsdecode(output or b"")[-1000:].strip()


def _clean_environment(keep: Sequence[str] = ("PATH", "HOME", "TMPDIR")) -> dict[str, str]:
    # Variables such as PGDATA, PGOPTIONS or PGSERVICE of the caller must not change what our programs do; messages
    # are in English because some of them are recognised.
    kept = {name: os.environ[name] for name in keep if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}
