"""Named points at which a test may kill the process. Decides nothing; in operation it is one dictionary look-up.

`PROPMGR_CRASH_AT=commit.before:3` ends the process with SIGKILL at the third passing of that point: what a power
cut does, and what no exception handler can tidy up after.
"""

from __future__ import annotations

import os
import signal

_WANTED, _, _NTH = os.environ.get("PROPMGR_CRASH_AT", "").partition(":")
_passed = 0


def crash_point(name: str) -> None:
    """Passes through, unless the environment names this point."""
    global _passed
    if name != _WANTED:
        return
    _passed += 1
    if _passed >= int(_NTH or 1):
        os.kill(os.getpid(), signal.SIGKILL)
