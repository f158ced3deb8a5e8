"""States of a run. Decides what may follow what; never stores."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """`queued` waits for the worker; `cancelled` and `failed` keep their place and can be resumed from it."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: A run that was started this often without finishing one item is failed: something in it kills the worker.
MOST_ATTEMPTS = 5

RESUMABLE = (RunStatus.FAILED, RunStatus.CANCELLED)
