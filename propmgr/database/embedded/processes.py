"""Decides which running processes belong to our server, by a token that each of them carries in its title.

Reads /proc on Linux and ``ps`` elsewhere. Never takes a number in a pid file at its word: after a crash or in a
container the number may belong to somebody else. Never signals a process that does not carry the token.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A live process: ``title`` is its command line as it shows itself."""

    pid: int
    title: str


def processes_with(token: str) -> list[Process]:
    """All live processes whose title carries ``token`` (dead ones nobody has reaped are left out)."""
    found = _from_proc() if (_PROC / "self" / "stat").exists() else _from_ps()
    return [process for process in found if token in process.title and process.pid != os.getpid()]


def _from_proc() -> list[Process]:
    found = []
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]
        except (OSError, IndexError):
            continue  # it ended while we looked
        if state not in (b"Z", b"X"):
            found.append(Process(int(folder.name), os.fsdecode(title)))
    return found


def _from_ps() -> list[Process]:
    output = subprocess.run(
        ["ps", "-axww", "-o", "pid=,stat=,command="], capture_output=True, check=False, timeout=30
    ).stdout
    found = []
    for line in output.splitlines():
        parts = line.split(None, 2)
        if len(parts) == 3 and not parts[1].startswith(b"Z"):
            found.append(Process(int(parts[0]), os.fsdecode(parts[2])))
    return found


def end_left_behind(token: str, gently: signal.Signals = signal.SIGQUIT, patience_s: float = 2.0) -> None:
    """End what a killed program of ours left running.

    A backend whose postmaster is gone, say: in a long query it would hold the shared memory until it is done.
    Each gets the signal ``gently`` (SIGQUIT ends a backend at once) and after ``patience_s`` seconds SIGKILL.
    The caller has made sure that nothing with this token is still wanted.
    """
    for sign in (gently, signal.SIGKILL):
        deadline = time.monotonic() + patience_s
        for process in processes_with(token):
            try:
                os.kill(process.pid, sign)
            except ProcessLookupError:
                continue
        while processes_with(token):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return
