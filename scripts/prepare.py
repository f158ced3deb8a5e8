"""Brings the data up to what this release needs, in one process: tables, division codes, and the demo city if asked.

    python scripts/prepare.py [--demo]

The same as the flask commands one after another; together, because each would load the whole application anew. Decides
only their order; what they do, and that they may be repeated, is theirs.
"""

from __future__ import annotations

import os
import sys

# A person is watching: the steps below say what happens, and only what is wrong needs a log line besides.
os.environ.setdefault("PROPMGR_LOG_LEVEL", "warning")

from flask.cli import cli

STEPS = (
    ("Looking at the database", ["doors"]),
    ("Bringing the tables up to date", ["db", "upgrade"]),
    ("Loading the division codes", ["load-divisions"]),
)
DEMO = ("Building the demo city, where it is not built yet", ["demo"])


def main(arguments: list[str]) -> int:
    """Returns 0, or the exit code of the command that failed; it has said why."""
    for says, command in (*STEPS, DEMO) if "--demo" in arguments else STEPS:
        print(f"propmgr: {says}", flush=True)
        try:
            cli.main(["--app", "wsgi", *command], prog_name="flask", standalone_mode=False)
        except SystemExit as end:
            if end.code:
                print(f"propmgr: flask {' '.join(command)} failed with code {end.code}.", file=sys.stderr, flush=True)
                return end.code if isinstance(end.code, int) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
