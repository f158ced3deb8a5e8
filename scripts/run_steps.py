"""Decides what ``scripts/run`` does before anything runs: reads its arguments, sets up, goes over to .venv's Python.

Never starts a server: supervisor.py does, with the packages that only .venv has.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import setup_steps

DEFAULT_PORT = 8000


def parse(arguments: list[str]) -> argparse.Namespace:
    """The arguments as ``fresh``, ``demo`` and ``port`` (None when not asked for). Exits with 2 on a wrong one."""
    parser = argparse.ArgumentParser(prog="scripts/run", description="Set up and run everything; Ctrl-C stops it.")
    parser.add_argument("--fresh", action="store_true", help="start over with an empty embedded database")
    parser.add_argument("--no-demo", dest="demo", action="store_false", help="do not build the demo city")
    parser.add_argument("--port", type=_port, help=f"port of 127.0.0.1 (default {DEFAULT_PORT}, or the next free one)")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return int(text)


def main(arguments: list[str]) -> int:
    """Returns only when the set-up failed; otherwise this process becomes the supervisor."""
    parse(arguments)
    if not setup_steps.set_up():
        return 1
    sys.stdout.flush()
    python = setup_steps.PYTHON
    os.execv(python, [os.fspath(python), os.fspath(Path(__file__).with_name("supervisor.py")), *arguments])
