"""Decides who may start or stop the server and who still uses it, by file locks that the kernel drops when a process
dies.

Never keeps a count of its own: a count would be wrong after the first kill -9.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


class FileLock:
    """One lock file. Each object opens the file anew, so two objects in one process exclude each other as two
    processes do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, shared or not."""
        return self._fd is not None

    def try_lock(self, *, shared: bool) -> bool:
        """Take the lock, or change its kind, without waiting. False: somebody else holds it. (A failed change loses
        the lock.)"""
        if self._fd is None:
            # Not inherited by programs we start: a server that kept the lock of its starter would never be free of
            # users.
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unlock()
            return False
        return True

    def lock(self, *, shared: bool, timeout_s: float) -> bool:
        """Take the lock, waiting at most ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        while not self.try_lock(shared=shared):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def unlock(self) -> None:
        """Give the lock up. In a forked child the parent's lock stays: closing the copy of a descriptor does not
        unlock."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
