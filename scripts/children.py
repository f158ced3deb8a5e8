"""Decides how the processes under ``scripts/run`` are started, started again when they die, and stopped.

A child that dies comes back after a pause that doubles up to half a minute, and is short again once it has held out.
Never signals a process that was not started here, save those of an earlier run that carry that run's token.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
#: Names the folder in which prometheus_client adds up the figures of several processes.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
LONGEST_PAUSE_S = 30.0
#: Who has lived this long was not killed by its own start.
HELD_OUT_S = 60.0
STOP_PATIENCE_S = 15.0


class Family:
    """Everything one supervisor starts: they share its token and the pipe whose end tells them that it is gone."""

    def __init__(self, token: str, environment: dict[str, str]) -> None:
        self.token = token
        self.environment = environment
        # Python's descriptors are not inherited, so the writing end lives and dies with this process alone.
        self._reading, self._writing = os.pipe()

    def start(self, module: str, *arguments: str, counted: bool = True, quiet: bool = False) -> subprocess.Popen[bytes]:
        """A Python module as a child in a session of its own: Ctrl-C reaches the supervisor, which stops in order.

        ``counted``: its figures go into the common folder (of commands that end soon they would only lie about there).
        ``quiet``: what it says on standard error is dropped.
        """
        head = [sys.executable, os.fspath(SCRIPTS / "child.py"), self.token, str(self._reading)]
        environment = dict(self.environment)
        if not counted:
            environment.pop(METRICS_FOLDER, None)
        return subprocess.Popen(
            [*head, module, *arguments],
            cwd=SCRIPTS.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if quiet else None,
            pass_fds=[self._reading],
            start_new_session=True,
        )


class Child:
    """A process that is to run for good."""

    def __init__(self, name: str, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.name = name
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._pause_s = 1.0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process else None

    def tend(self, say: Callable[[str], None]) -> int | None:
        """Start it when it is due. Returns the pid of a process that was found dead, else None."""
        now = time.monotonic()
        dead = None
        if self._process and self._process.poll() is not None:
            dead = self._process.pid
            # What it forked still holds its port; the group is that of its own session, so nothing else is in it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(dead, signal.SIGTERM)
            if now - self._started_at > HELD_OUT_S:
                self._pause_s = 1.0
            say(f"{self.name} ended ({_how(self._process.returncode)}); it starts again in {self._pause_s:.0f} s")
            self._process = None
            self._not_before = now + self._pause_s
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        if self._process is None and now >= self._not_before:
            self._process = self._start()
            self._started_at = now
        return dead

    def ask_to_stop(self) -> None:
        """SIGTERM, once; see ``stop_all`` for the rest."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        """Wait for the end until ``deadline`` (monotonic seconds), then kill it with all its forks."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None


def stop_all(children: Iterable[Child]) -> None:
    """Ask all of them at once, wait once for all."""
    family = list(children)
    for child in family:
        child.ask_to_stop()
    deadline = time.monotonic() + STOP_PATIENCE_S
    for child in family:
        child.wait(deadline)


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"
