"""A house of its own for every fault: durable, in a folder of its own, driven as an operator drives it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from propmgr.config import PROJECT
from propmgr.database.embedded import Embedded, default_root


class House:
    """An installation under test: its commands as real processes, its database as a real server."""

    def __init__(self, instance: Path) -> None:
        self.instance = instance
        self.database = Embedded(default_root(instance))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """`flask --app wsgi ...` in a session of its own, so that it can be killed with all its children."""
        return subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "wsgi", *arguments],
            cwd=PROJECT,
            env={**os.environ, "PROPMGR_INSTANCE": str(self.instance), "PROPMGR_LOG_LEVEL": "warning", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> str:
        """The same command to its end; it must succeed."""
        process = self.start(*arguments, **environment)
        output = process.communicate(timeout=120)[0].decode()
        assert process.returncode == 0, f"flask {' '.join(arguments)}: {process.returncode}\n{output[-3000:]}"
        return output

    def kill(self, process: subprocess.Popen[bytes]) -> bool:
        """kill -9 of a command and its children. Returns whether it was still running."""
        alive = process.poll() is None
        if alive:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        return alive

    def kill_database(self) -> None:
        """kill -9 of the server; its children go with it. Returns when it is gone."""
        pid = int((self.database.cluster / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while self.database.running() and time.monotonic() < deadline:
            time.sleep(0.01)

    def assert_clean(self) -> None:
        """`flask check` finds nothing."""
        results = json.loads(self.run("check", "--json"))
        assert [violation for result in results for violation in result["violations"]] == []


@pytest.fixture
def house() -> Iterator[House]:
    """A house whose server runs and is empty."""
    with tempfile.TemporaryDirectory(prefix="propmgr 故障 ") as folder:
        made = House(Path(folder) / "instance")
        made.database.start()
        yield made
        made.database.erase()


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Randomness with its seed printed; PROPMGR_TEST_SEED repeats a run."""
    seed = int(os.environ.get("PROPMGR_TEST_SEED") or time.time_ns() % 1_000_000)
    print(f"seed {seed}: PROPMGR_TEST_SEED={seed} repeats {request.node.name}")
    return random.Random(seed)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """Kills in one test: ten, with --long two hundred."""
    return 200 if request.config.getoption("--long") else 10
