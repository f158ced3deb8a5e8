"""Shows that the embedded server starts from every state a crash can leave, is shared, and lets nobody in without a
password.

Every process killed here was started here. Decides nothing about roles: test_roles.py does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from propmgr.database.embedded import Embedded, EmbeddedError, default_root
from propmgr.database.embedded.processes import processes_with
from propmgr.database.embedded.settings import port_is_free

pytestmark = pytest.mark.database

BINARIES = Path(os.environ["PROPMGR_TEST_POSTGRES"]) if os.environ.get("PROPMGR_TEST_POSTGRES") else None
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder for a cluster, with a space and Chinese in its name where the server's user can reach such a folder."""
    if os.geteuid() == 0:
        place = Path(tempfile.mkdtemp(prefix="propmgr 数据 ", dir="/var/tmp"))
        place.chmod(0o755)
    else:
        place = tmp_path / "物业 数据"
    yield place / "postgres"
    made(place / "postgres").stop()
    shutil.rmtree(place, ignore_errors=True)


def made(root: Path) -> Embedded:
    return Embedded(root, binaries=BINARIES, durable=False)


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")


def select_one(server: Embedded) -> None:
    with psycopg.connect(plain(server.url("propmgr_app"))) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def postmaster(server: Embedded) -> int:
    return int((server.cluster / "postmaster.pid").read_text().split()[0])


def kill_postmaster(server: Embedded) -> None:
    """SIGKILL, and wait until it is gone: on a busy machine it lives on for a moment, and would be taken for well."""
    pid = postmaster(server)
    os.kill(pid, signal.SIGKILL)
    token = json.loads((server.root / "embedded.json").read_text())["token"]
    assert until(lambda: pid not in [process.pid for process in processes_with(token)])


def in_process(root: Path, body: str) -> subprocess.Popen[str]:
    """A Python process of its own with ``server`` at hand; it says things on its output and hears them on its input."""
    lines = [
        "import os, sys, time, psycopg",
        "from pathlib import Path",
        "from propmgr.database.embedded import Embedded",
        f"binaries = Path({os.fspath(BINARIES)!r})" if BINARIES else "binaries = None",
        f"server = Embedded(Path({os.fspath(root)!r}), binaries=binaries, durable=False)",
        textwrap.dedent(body),
    ]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)], cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> int:
    with process:
        process.communicate(timeout=60)
    return process.returncode


def until(condition: object, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_started_stopped_and_kept(root: Path) -> None:
    server = made(root)
    assert not server.running()
    server.start()
    server.start()
    first = server.url("propmgr_app")
    with psycopg.connect(plain(server.url("propmgr_owner"))) as connection:
        connection.execute("create table kept as select 42 as answer")
        connection.execute("grant select on kept to propmgr_app")
    server.stop()
    server.stop()
    assert not server.running()
    again = made(root)
    again.start()
    assert again.url("propmgr_app") == first
    with psycopg.connect(plain(first)) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)
        encoding, order = connection.execute(
            "select pg_encoding_to_char(encoding), datcollate from pg_database where datname = current_database()"
        ).fetchone() or ("", "")
        assert (encoding, order) == ("UTF8", "C")
        assert connection.execute("select 'Z' < 'a', lower('Ä')").fetchone() == (True, "ä")
        assert connection.execute("show timezone").fetchone() == ("Asia/Shanghai",)


def test_unknown_role_and_unmade_cluster_are_told(root: Path) -> None:
    server = made(root)
    with pytest.raises(EmbeddedError, match="start"):
        server.url("propmgr_app")
    server.start()
    with pytest.raises(EmbeddedError, match="propmgr_office"):
        server.url("propmgr_office")


def test_secrets_are_for_their_owner_only(root: Path) -> None:
    server = made(root)
    server.start()
    kept = root / "embedded.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.cluster.stat().st_mode) == 0o700
    passwords = json.loads(kept.read_text())["passwords"].values()
    assert len(set(passwords)) == 4
    logs = "".join(log.read_text() for log in (root / "log").iterdir())
    assert not any(password in logs for password in passwords)


def test_server_does_not_run_as_root(root: Path) -> None:
    server = made(root)
    server.start()
    status = Path(f"/proc/{postmaster(server)}")
    if status.exists():
        assert status.stat().st_uid != 0
        # In a session of its own, so that Ctrl-C in our terminal does not reach it.
        assert os.getsid(postmaster(server)) != os.getsid(0)


def test_killed_server_starts_again(root: Path) -> None:
    """Repeated, because what the kill leaves behind (pid file, shared memory, backends) differs from time to time."""
    server = made(root)
    server.start()
    for _ in range(3):
        kill_postmaster(server)
        server.start()
        select_one(server)


def test_killed_server_with_a_backend_in_a_long_query(root: Path) -> None:
    """The backend does not notice that its postmaster is gone and would hold the shared memory for a minute."""
    server = made(root)
    server.start()
    busy = in_process(
        root,
        "server.start()\nwith psycopg.connect(server.url('propmgr_app').replace('+psycopg', '')) as c:"
        "\n    print('busy', flush=True)\n    c.execute('select count(*) from generate_series(1, 3000000000)')",
    )
    assert heard(busy) == "busy"
    token = json.loads((root / "embedded.json").read_text())["token"]
    assert until(lambda: any("SELECT" in process.title for process in processes_with(token)))
    kill_postmaster(server)
    began = time.monotonic()
    server.start()
    assert time.monotonic() - began < 20
    select_one(server)
    assert ended(busy) != 0


def test_stale_pid_file_that_names_a_stranger(root: Path) -> None:
    """After a restart of the machine the number may be another program's; PostgreSQL alone would refuse to start."""
    server = made(root)
    server.start()
    file = server.cluster / "postmaster.pid"
    text = file.read_text().splitlines()
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        text[0] = str(stranger.pid)
        file.write_text("\n".join(text) + "\n")
        shutil.chown(file, server.cluster.stat().st_uid, server.cluster.stat().st_gid)
        assert not server.running()
        server.start()
        select_one(server)
        assert stranger.poll() is None
        stranger.kill()


def test_starter_killed_server_survives_and_is_found(root: Path) -> None:
    starter = in_process(root, "server.start()\nprint('up', flush=True)\ntime.sleep(60)")
    assert heard(starter) == "up"
    starter.kill()
    ended(starter)
    server = made(root)
    assert server.running()
    before = postmaster(server)
    server.start()
    assert postmaster(server) == before
    select_one(server)


def test_starter_killed_in_the_middle_of_initdb(root: Path) -> None:
    starter = in_process(root, "print('go', flush=True)\nserver.start()")
    assert heard(starter) == "go"
    assert until(lambda: list(root.glob("new-*/data/base")))
    starter.kill()
    ended(starter)
    server = made(root)
    assert not server.cluster.exists()
    server.start()
    select_one(server)
    assert until(lambda: not list(root.glob("new-*")), 1)


@pytest.mark.parametrize("delay_s", [0.0, 0.3, 0.6, 0.9, 1.1, 1.3])
def test_starter_killed_at_any_moment(root: Path, delay_s: float) -> None:
    starter = in_process(root, "print('go', flush=True)\nserver.start()")
    assert heard(starter) == "go"
    time.sleep(delay_s)
    starter.kill()
    ended(starter)
    server = made(root)
    server.start()
    select_one(server)


def test_two_starts_at_once(root: Path) -> None:
    body = "sys.stdin.readline()\nserver.start()\nprint(server.url('propmgr_app'), flush=True)\nsys.stdin.readline()"
    starters = [in_process(root, body) for _ in range(3)]
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()
    assert len({heard(starter) for starter in starters}) == 1
    assert [ended(starter) for starter in starters] == [0, 0, 0]


def test_last_one_out_turns_off_the_light(root: Path) -> None:
    body = "server.start()\nprint('in', flush=True)\nsys.stdin.readline()"
    first, second = in_process(root, body), in_process(root, body)
    assert (heard(first), heard(second)) == ("in", "in")
    server = made(root)
    assert ended(first) == 0
    assert server.running()  # the control: somebody is still in
    assert ended(second) == 0
    assert not server.running()


def test_a_killed_user_does_not_keep_the_light_on(root: Path) -> None:
    body = "server.start()\nprint('in', flush=True)\nsys.stdin.readline()"
    first, second = in_process(root, body), in_process(root, body)
    assert (heard(first), heard(second)) == ("in", "in")
    first.kill()
    ended(first)
    assert ended(second) == 0
    assert not made(root).running()


def test_a_forked_child_that_ends_does_not_stop_the_server(root: Path) -> None:
    body = """
        server.start()
        child = os.fork()
        if child == 0:
            sys.exit(0)          # runs what was registered for the end of the process, as a web worker does
        os.waitpid(child, 0)
        other = Embedded(server.root, binaries=binaries)
        print(server.running(), flush=True)
        other.start(); other.release()
        print(server.running(), flush=True)   # the parent's hold is still seen by others
    """
    process = in_process(root, body)
    assert [heard(process), heard(process)] == ["True", "True"]
    assert ended(process) == 0
    assert not made(root).running()


def test_a_taken_port_is_replaced_and_the_new_one_kept(root: Path) -> None:
    server = made(root)
    server.start()
    old = json.loads((root / "embedded.json").read_text())["port"]
    server.stop()
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", old))
        taker.listen()
        assert not port_is_free(old)
        server.start()
        new = json.loads((root / "embedded.json").read_text())["port"]
        assert new != old
        select_one(server)
    server.stop()
    server.start()
    assert json.loads((root / "embedded.json").read_text())["port"] == new


def test_a_copied_folder_is_a_server_of_its_own(root: Path) -> None:
    server = made(root)
    server.start()
    copy = root.parent / "copy"
    server.stop()
    shutil.copytree(root, copy)
    if os.geteuid() == 0:
        owner = server.cluster.stat()
        for path in (copy / "cluster", copy / "log", *(copy / "cluster").rglob("*"), *(copy / "log").rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    server.start()
    shutil.copy2(server.cluster / "postmaster.pid", copy / "cluster")
    other = made(copy)
    assert not other.running()
    other.start()
    try:
        assert postmaster(other) != postmaster(server)
        assert other.url("propmgr_app") != server.url("propmgr_app")
        select_one(other)
        select_one(server)
    finally:
        other.erase()
    assert server.running()


def test_another_major_version_is_told(root: Path) -> None:
    server = made(root)
    server.start()
    server.stop()
    (server.cluster / "PG_VERSION").write_text("14\n")
    began = time.monotonic()
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 14.*flask backup"):
        made(root).start()
    assert time.monotonic() - began < 5


def test_a_fault_in_the_configuration_is_told_at_once_with_the_log(root: Path) -> None:
    server = made(root)
    server.start()
    server.stop()
    (server.cluster / "local.conf").write_text("shared_buffers = 'plenty'\n")
    began = time.monotonic()
    with pytest.raises(EmbeddedError, match=r"(?s)does not start.*shared_buffers.*logs: "):
        made(root).start()
    assert time.monotonic() - began < 10
    (server.cluster / "local.conf").unlink()


def test_lost_passwords_are_told(root: Path) -> None:
    server = made(root)
    server.start()
    server.stop()
    (root / "embedded.json").unlink()
    with pytest.raises(EmbeddedError, match="passwords"):
        made(root).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may not run PostgreSQL itself")
def test_root_in_a_folder_nobody_else_may_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match="cannot enter"):
        made(closed / "postgres").start()
    instance = closed / "某 小区" / "instance"
    server = made(default_root(instance))
    assert server.root.parent == Path("/var/lib/propmgr")
    server.start()
    select_one(server)
    server.erase()
    assert not server.root.exists()


def test_logs_are_kept_small(root: Path) -> None:
    server = made(root)
    server.start()
    server.stop()
    for number in range(30):
        (root / "log" / f"postgres-20200101-0000{number:02}.log").write_text("old\n")
    server.start()
    assert len(list((root / "log").glob("*.log"))) <= 12
