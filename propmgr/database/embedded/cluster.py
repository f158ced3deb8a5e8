"""Decides the life of one data folder and its server process: made whole or not at all, started from any state, ended.

The caller holds the start lock of the folder. Never signals a process that does not carry this cluster's token, and
knows nothing of roles and databases inside.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from propmgr.database.embedded.binaries import Binaries, EmbeddedError, Runner, find_binaries, find_runner
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

#: How long a start is repeated when leftovers of a killed server stand in its way.
REFUSAL_PATIENCE_S = 30.0
#: How long a server may replay its log after a crash before we call it lost.
RECOVERY_PATIENCE_S = 300.0
_LOGS_KEPT = 10
_PASSING = re.compile(
    r"lock file|another postmaster|shared memory|semaphore"
    r"|[Aa]ddress already in use|could not bind|could not create any TCP/IP sockets"
)


class Cluster:
    """The data folder ``root/cluster``, the settings beside it, and the one server process on it."""

    def __init__(self, root: Path, binaries: Path | None, *, durable: bool) -> None:
        self.root = root
        self.data = root / "cluster"
        self._durable = durable
        self._folder = binaries
        self._binaries: Binaries | None = None
        self._settings: Settings | None = None

    def known(self) -> Settings:
        """What is kept beside the data. Raises EmbeddedError when nothing is."""
        settings = self._settings or Settings.read(self.root / "embedded.json")
        if settings is None:
            raise EmbeddedError(f"There is no embedded database in {self.root} yet; start() makes it.")
        return settings

    def keep(self, settings: Settings) -> None:
        """Write it down."""
        settings.write(self.root / "embedded.json")
        self._settings = settings

    def found(self) -> Binaries:
        """The programs."""
        # Looked up late: asking for an address must not copy programs or need the wheel.
        if self._binaries is None:
            self._binaries = find_binaries(self._folder)
        return self._binaries

    def make(self) -> None:
        """initdb into a folder beside, then rename: a cluster is there whole or not at all."""
        for leftover in self.root.glob("new-*"):
            # The initdb of a killed starter goes on writing; its command line names this folder.
            end_left_behind(leftover.name)
            shutil.rmtree(leftover, ignore_errors=True)
        self._settings = Settings.read(self.root / "embedded.json")
        if self.data.is_dir():
            if self._settings is None:
                raise EmbeddedError(
                    f"The file {self.root / 'embedded.json'} with the passwords of the embedded database is gone. "
                    "Put it back from a backup, or delete the folder to start with an empty database."
                )
            return
        self.keep(self._settings or Settings.new())
        runner = self._runner()
        place = Path(tempfile.mkdtemp(prefix="new-", dir=self.root))
        try:
            secret = place / "password"
            secret.write_text(self.known().passwords[SUPERUSER] + "\n", encoding="ascii")
            secret.chmod(0o600)
            runner.give(secret)
            runner.give(place)
            options = [
                "--auth=scram-sha-256",
                f"--username={SUPERUSER}",
                "--pwfile",
                secret,
                *initdb_options(self.found().major),
            ]
            if not self._durable:
                options.append("--no-sync")
            done = self._run_as_server("initdb", "-D", place / "data", *options, timeout_s=300)
            if done.returncode != 0:
                raise EmbeddedError(f"The embedded database could not be made in {self.root}: {said(done.stdout)}")
            (place / "data").rename(self.data)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _runner(self) -> Runner:
        runner = find_runner(self.data)
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
            [self.found().program(name), *arguments],
            env=clean_environment(),
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
        return f"{self.known().token}_{self.data.stat().st_ino:x}"

    def state(self) -> str | None:
        """``starting``, ``ready``, ``stopping`` (the server's own words) or None when no server of ours lives."""
        try:
            lines = (self.data / "postmaster.pid").read_text("utf-8", "surrogateescape").splitlines()
            pid = int(lines[0])
            token = self._token()
        except (OSError, ValueError, IndexError, EmbeddedError):
            return None
        if pid not in (process.pid for process in processes_with(token)):
            return None
        return lines[7].strip() if len(lines) > 7 else "starting"

    def bring_up(self) -> None:
        """Return when the server takes connections, whatever it was doing before. Raises EmbeddedError."""
        began = time.monotonic()
        while (state := self.state()) != "ready":
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
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        if not port_is_free(self.known().port):
            self.keep(replace(self.known(), port=free_port()))
        runner = self._runner()
        for name, text in (("postgresql.conf", config_text(durable=self._durable)), ("pg_hba.conf", hba_text())):
            (self.data / name).write_text(text, "utf-8")
            runner.give(self.data / name)
        self._trim_logs(runner)
        done = self._run_as_server(
            "pg_ctl",
            "start",
            "-D",
            self.data,
            "-w",
            "-t",
            str(int(RECOVERY_PATIENCE_S)),
            "-l",
            self.root / "log" / "start.log",
            "-o",
            f"-p {self.known().port} -c cluster_name={self._token()}",
            timeout_s=RECOVERY_PATIENCE_S + 30,
        )
        return "" if done.returncode == 0 else f" {said(done.stdout)}{self._last_words()}"

    def _check_version(self) -> None:
        made_by = (self.data / "PG_VERSION").read_text("ascii").strip()
        if made_by != str(self.found().major):
            raise EmbeddedError(
                f"The data in {self.root} was made by PostgreSQL {made_by}, and the programs are version "
                f"{self.found().major}. Take a backup with the old version (flask backup), start afresh, "
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

    def stop(self) -> None:
        """Stop the server; harmless when none runs. Raises EmbeddedError when it does not stop."""
        if self.state() is None:
            return
        for mode in ("fast", "immediate"):
            done = self._run_as_server("pg_ctl", "stop", "-D", self.data, "-m", mode, "-w", "-t", "60", timeout_s=90)
            if done.returncode == 0 or self.state() is None:
                return
        raise EmbeddedError(
            f"The embedded database in {self.root} does not stop: {said(done.stdout)}{self._last_words()}"
        )

    def erase(self) -> None:
        """Stop the server and delete everything but the lock the caller holds: the next starter waits for it, and must
        not find half a folder."""
        self.stop()
        self._settings = None
        for path in self.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "start.lock":
                path.unlink()


def said(output: bytes | None) -> str:
    """The last words of a program."""
    # The end says why; a dump that fails may have printed pages before.
    return os.fsdecode(output or b"")[-1000:].strip()


def clean_environment(keep: Sequence[str] = ("PATH", "HOME", "TMPDIR")) -> dict[str, str]:
    """What our programs see of the environment."""
    # Variables such as PGDATA, PGOPTIONS or PGSERVICE of the caller must not change what our programs do; messages
    # are in English because some of them are recognised.
    kept = {name: os.environ[name] for name in keep if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}
