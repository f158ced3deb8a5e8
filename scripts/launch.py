"""Decides with which Python the scripts of this folder run: this one, or a newer one on the PATH.

Written so that Python 3.6 can read it, because its answer to an old Python is the point. Never installs a Python.
"""

import importlib
import os
import subprocess
import sys

OLDEST = (3, 11)
CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3.14", "python3")


def start(module):
    """Run ``main(arguments)`` of a module beside this one, under a Python new enough, and exit with its answer."""
    if sys.version_info < OLDEST:
        newer = _newer_python()
        if newer is None:
            sys.exit(_too_old())
        sys.stdout.flush()
        os.execv(newer, [newer, *sys.argv])
    sys.exit(importlib.import_module(module).main(sys.argv[1:]))


def _newer_python():
    for name in CANDIDATES:
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.access(path, os.X_OK) and _is_new_enough(path):
                return path
    return None


def _is_new_enough(path):
    # Asked, not guessed from the name: the PATH of a version manager is full of names that lead to an error.
    question = f"import sys; sys.exit(0 if sys.version_info >= {OLDEST!r} else 1)"
    try:
        return subprocess.call([path, "-c", question], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def _too_old():
    needed, found = (".".join(map(str, version[:2])) for version in (OLDEST, sys.version_info))
    return (
        f"propmgr needs Python {needed} or newer; this is Python {found} ({sys.executable}), and no newer one is on "
        "the PATH.\nInstall one and call this script again:\n"
        "  Debian 12+, Ubuntu 24.04+   apt-get install python3 python3-venv\n"
        "  macOS                       brew install python@3.13   (or from python.org)"
    )
