"""Runs a Python module as a child that ends when its supervisor is gone, however that died.

    python scripts/child.py <token> <descriptor> <module> [arguments]

The descriptor is the reading end of a pipe whose writing end only the supervisor holds: it ends with the supervisor, on
Linux and macOS alike. The token on the command line marks the process and its forks as ours. Decides nothing else.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

#: Longer than any of the children needs to end in order.
PATIENCE_S = 20


def end_with_supervisor(descriptor: int) -> None:
    """Wait until the supervisor is gone, then end this process: in order first, then at once."""
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_S)
    os._exit(1)


if __name__ == "__main__":
    _token, descriptor, module, *arguments = sys.argv[1:]
    threading.Thread(target=end_with_supervisor, args=[int(descriptor)], daemon=True).start()
    # The application as `python -m` would find it; this folder last, so that no file of it hides a module.
    scripts = Path(__file__).resolve().parent
    sys.path[:] = [os.fspath(scripts.parent), *sys.path[1:], os.fspath(scripts)]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
