"""Shows that what runs together starts together, comes back when it dies, and leaves nothing behind.

Every process killed here was started here, and is known by the token of its run.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from propmgr.database.embedded import Embedded, default_root
from propmgr.database.embedded.processes import processes_with

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = PROJECT / "scripts"

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


def until(condition: Callable[[], object], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_child_ends_with_its_supervisor(tmp_path: Path) -> None:
    """The supervisor is killed and can do nothing for it any more."""
    token = f"propmgr-run-test-{os.getpid()}"
    code = f"""
import sys, time
sys.path.insert(0, {os.fspath(SCRIPTS)!r})
from children import Family
Family({token!r}, {{}}).start("http.server", "--bind", "127.0.0.1", "0")
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as supervisor:
        mark = f"{token} "
        assert until(lambda: processes_with(mark))
        # The supervisor's own command line carries the token too, in quotes; the child's as a word of its own.
        child = next(process for process in processes_with(mark) if process.pid != supervisor.pid)
        time.sleep(0.5)
        os.kill(child.pid, 0)  # the control: it lives as long as the supervisor does
        supervisor.kill()
    assert until(lambda: child.pid not in {process.pid for process in processes_with(mark)}, 10)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(os.fspath(SCRIPTS))
    import children

    return children


def test_a_dead_child_comes_back_after_longer_and_longer_pauses(children, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(children.time, "monotonic", lambda: clock[0])
    said: list[str] = []
    child = children.Child("it", lambda: subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]))
    child.tend(said.append)
    for pause in (1, 2, 4, 8, 16, 30, 30):
        child._process.wait()
        first = child.pid
        assert child.tend(said.append) == first
        assert said[-1] == f"it ended (code 3); it starts again in {pause} s"
        assert child.pid is None
        clock[0] += pause - 0.1
        assert child.tend(said.append) is None
        assert child.pid is None  # the control: not before its time
        clock[0] += 0.2
        child.tend(said.append)
        assert child.pid not in (None, first)
    clock[0] += 61
    child._process.wait()
    child.tend(said.append)
    assert said[-1].endswith("in 1 s")


def test_what_does_not_end_is_killed(children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STOP_PATIENCE_S", 0.5)
    started = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert started.stdout is not None
    assert started.stdout.readline() == b"up\n"
    child = children.Child("it", lambda: started)
    child.tend(print)
    children.stop_all([child])
    assert started.returncode == -signal.SIGKILL
    started.stdout.close()


def postmaster(server: Embedded) -> int:
    return int((server.cluster / "postmaster.pid").read_text().split()[0])


class Run:
    """One ``scripts/run`` with what it printed."""

    started: ClassVar[list[Run]] = []

    def __init__(self, instance: Path, log: Path, *arguments: str) -> None:
        self.log = log
        self.instance = instance
        environment = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")}
        environment |= {"PROPMGR_INSTANCE": os.fspath(instance), "PROPMGR_METRICS_PORT": "0"}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, SCRIPTS / "run", *arguments], cwd="/", env=environment, stdout=output, stderr=output
            )
        Run.started.append(self)

    def ready(self) -> str:
        """The address, once it is printed."""
        assert until(lambda: self.process.poll() is not None or b"ready at" in self.log.read_bytes(), 120)
        found = re.search(r"ready at (http://127\.0\.0\.1:\d+)", self.log.read_text())
        assert found, self.log.read_text()
        return found[1]

    @property
    def token(self) -> str:
        record = self.instance / "run.json"
        return json.loads(record.read_text())["token"] if record.exists() else "propmgr-run-none"

    def kill_everything(self) -> None:
        """kill -9 of supervisor, web, worker and database, in one go."""
        server = Embedded(default_root(self.instance))
        for pid in [self.process.pid, postmaster(server), *(process.pid for process in processes_with(self.token))]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def end(self, sign: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(sign)
        return self.process.wait(40)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "实例 一"
    folder.mkdir()
    yield folder
    for run in Run.started:
        run.process.kill()
        run.process.wait()
        # Its children end by themselves when it is gone.
        assert until(lambda token=run.token: not processes_with(token))
    Run.started.clear()
    server = Embedded(default_root(folder))
    if server.root.exists():
        server.erase()


def test_the_house_from_the_first_start_to_the_last_kill(instance: Path, tmp_path: Path) -> None:
    first = Run(instance, tmp_path / "first.log")
    address = first.ready()
    assert answers(address)
    database = Embedded(default_root(instance))
    assert database.running()

    second = Run(instance, tmp_path / "second.log")
    assert second.process.wait(60) == 1
    assert f"running already: {address}" in second.log.read_text()

    for part in ("flask", "gunicorn"):
        victim = min(p.pid for p in processes_with(first.token) if f" {part} " in p.title)
        os.kill(victim, signal.SIGKILL)
        assert until(
            lambda v=victim, p=part: any(
                f" {p} " in process.title and process.pid > v for process in processes_with(first.token)
            )
        )
    assert until(lambda: answers(address))

    before = postmaster(database)
    os.kill(before, signal.SIGKILL)
    # The supervisor starts it again, or whichever child comes first.
    assert until(lambda: database.running() and postmaster(database) != before and answers(address))

    token = first.token
    first.kill_everything()
    again = Run(instance, tmp_path / "again.log")
    assert answers(again.ready())
    assert not processes_with(token)

    # Only the supervisor is killed, and the next one starts while its children still run.
    token = again.token
    again.process.kill()
    again.process.wait()
    third = Run(instance, tmp_path / "third.log", "--no-demo")
    assert answers(third.ready())
    assert not processes_with(token)
    assert "demo" not in third.log.read_text()

    token = third.token
    assert third.end() == 0
    assert not processes_with(token)
    assert not database.running()


def test_fresh_starts_over_and_puts_the_heads_aside(instance: Path, tmp_path: Path) -> None:
    server = Embedded(default_root(instance))
    server.start()
    old = server.url("propmgr_app")
    server.release()
    (instance / "heads").mkdir()
    (instance / "heads" / "1").write_text("proof")
    run = Run(instance, tmp_path / "fresh.log", "--fresh", "--no-demo")
    run.ready()
    assert Embedded(default_root(instance)).url("propmgr_app") != old
    assert [path.read_text() for path in instance.glob("heads-until-*/1")] == ["proof"]
    assert run.end(signal.SIGTERM) == 0


def test_a_busy_port_that_was_asked_for_is_told(instance: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = Run(instance, tmp_path / "busy.log", "--port", str(port))
        assert run.process.wait(60) == 1
    assert f"port {port} of 127.0.0.1 is taken" in run.log.read_text()


def test_fresh_never_touches_an_own_database(instance: Path) -> None:
    own = {"PROPMGR_INSTANCE": os.fspath(instance), "DATABASE_URL": "postgresql://somebody@127.0.0.1:1/theirs"}
    done = subprocess.run(
        [sys.executable, SCRIPTS / "run", "--fresh"], env=os.environ | own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "only ever empties the embedded database" in done.stderr
