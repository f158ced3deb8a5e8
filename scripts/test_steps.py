"""Decides what a test run consists of and when it has failed: ruff, pytest, the database tests on PostgreSQL 15.

Runs under any Python >= 3.11 and calls .venv's. A run in which no test ran has failed. Never changes a file of the
project, and never talks to a database that it did not start.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import setup_steps

POSTGRES_15 = Path("/usr/lib/postgresql/15")
#: Extensionless Python files that ruff does not find by itself.
SCRIPTS = [os.fspath(path) for path in map(Path(__file__).with_name, ("setup", "run", "test"))]
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_CHROME = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
#: pytest's own code for "nothing was collected".
NO_TESTS = 5
SUMMARY = re.compile(r"\d+ (passed|failed|error|skipped|deselected)|no tests ran")


def main(arguments: list[str]) -> int:
    """Run everything that can be run and return the first exit code that is not 0."""
    if not setup_steps.set_up():
        return 1
    environment = dict(os.environ) | _chromium()
    environment.pop("PROPMGR_TEST_POSTGRES", None)
    code = _ruff()
    if not any(argument == "-n" or argument.startswith(("-n=", "--numprocesses")) for argument in arguments):
        arguments = ["-n", "2", *arguments]
    tested, summary = _pytest(arguments, environment)
    summaries, code = [summary], code or tested
    if (POSTGRES_15 / "bin" / "initdb").is_file() and "-m" not in arguments:
        print(f"Once more on {POSTGRES_15}: the tests marked `database`", flush=True)
        environment["PROPMGR_TEST_POSTGRES"] = os.fspath(POSTGRES_15)
        tested, summary = _pytest([*arguments, "-m", "database and not browser"], environment)
        # A choice of tests may hold none for the second round; the first has told whether it held any at all.
        summaries, code = [*summaries, summary], code or (0 if tested == NO_TESTS else tested)
    if code and not any("failed" in line or "error" in line for line in summaries):
        print("The run has failed; the reason stands above.")
    # Last, so that whoever reads only the end reads how many ran.
    print("\n".join(summaries), flush=True)
    return code


def _ruff() -> int:
    command = [setup_steps.PYTHON, "-m", "ruff", "check", "--quiet", ".", *SCRIPTS]
    return subprocess.run(command, cwd=setup_steps.PROJECT, check=False).returncode


def _pytest(arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run pytest; returns its exit code and its summary line. Its output is passed on as it comes."""
    command = [setup_steps.PYTHON, "-m", "pytest", *arguments]
    summary = "pytest gave no summary"
    with subprocess.Popen(
        command, cwd=setup_steps.PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            text = line.decode("utf-8", "replace").strip()
            if SUMMARY.search(text):
                summary = text
    return process.returncode, summary


def _chromium() -> dict[str, str]:
    """What the browser tests are told: which Chromium to use, or why there is none."""
    found = _find_chromium()
    if not found and setup_steps.install_system_packages(["chromium", "fonts-noto-cjk"]):
        found = _find_chromium()
    if found:
        return {"PROPMGR_TEST_CHROMIUM": found}
    reason = "Chromium is not installed (Debian: apt-get install chromium fonts-noto-cjk)"
    print(f"Browser tests are skipped: {reason}", flush=True)
    return {"PROPMGR_TEST_NO_CHROMIUM": reason}


def _find_chromium() -> str | None:
    if named := os.environ.get("PROPMGR_TEST_CHROMIUM"):
        return named
    for name in CHROMIUMS:
        if path := shutil.which(name):
            return path
    return os.fspath(MAC_CHROME) if MAC_CHROME.is_file() else None
