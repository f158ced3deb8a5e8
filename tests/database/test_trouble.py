"""The database goes away and comes back: nothing is lost, nothing has to be restarted, and no error is mistaken."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from propmgr.audit.commands import record
from propmgr.database import unit_of_work as unit_module
from propmgr.database.embedded import Embedded
from propmgr.database.ids import BLOCK, id_block
from propmgr.database.locks import LeaderLock
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import operator_act
from propmgr.work.commands import request_run
from propmgr.work.engine import Worker
from propmgr.work.planning import Timetable
from propmgr.work.run import Run
from tests.conftest import a_house, migrate, postgres_binaries, test_settings, urls_of

pytestmark = pytest.mark.database


@pytest.fixture
def own_server() -> Iterator[Embedded]:
    """A durable server that this test may stop."""
    with tempfile.TemporaryDirectory(prefix="propmgr ", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        server = Embedded(Path(folder) / "postgres", binaries=postgres_binaries())
        server.start()
        migrate(urls_of(server, "propmgr"))
        yield server
        server.erase()


def test_a_connection_that_dies_before_its_scope_is_database_trouble(app, two_companies, monkeypatch):
    """The scope is sent past SQLAlchemy; its failure must still look like every other loss of the database."""

    def dead(connection: psycopg.Connection, act: object) -> None:
        raise psycopg.OperationalError("the connection is closed")

    with monkeypatch.context() as patch:
        patch.setattr(unit_module, "open_scope", dead)
        with pytest.raises(OperationalError), unit_of_work(operator_act(two_companies.a)):
            session().execute(text("select 1"))
    with unit_of_work(operator_act(two_companies.a)):
        assert session().execute(text("select 1")).scalar_one() == 1


def test_a_worker_lives_through_an_outage(own_server: Embedded, tmp_path: Path):
    """A hundred items, the database stopped in the middle for 30 s: the run ends by itself, each item once."""
    urls = urls_of(own_server, "propmgr")

    def slowly(run: Run) -> None:
        for number in range(int(run.cursor or 0) + 1, 101):
            time.sleep(0.02)
            with run.item(cursor=str(number)) as act:
                record(act, "tests.count_up", "number", number)

    with a_house(test_settings(urls, tmp_path)) as app, app.app_context():
        with unit_of_work(operator_act(PLATFORM)) as act:
            request_run(act, "tests.slowly", "key")
        hands = Worker(Timetable({"tests.slowly": slowly}, (), ()), list, app.app_context, PLATFORM)
        thread = threading.Thread(target=hands.serve, args=(LeaderLock(urls.direct),), kwargs={"wait": 0.2})
        thread.start()
        client = app.test_client()
        time.sleep(1.5)
        assert client.get("/readyz").status_code == 200
        own_server.stop()
        assert client.get("/readyz").status_code == 503 and client.get("/healthz").status_code == 200
        with pytest.raises(DBAPIError), unit_of_work(operator_act(PLATFORM)):
            session().execute(text("select 1"))
        time.sleep(30)
        own_server.start()
        deadline = time.monotonic() + 60
        state = None
        while state != "done 100" and time.monotonic() < deadline:
            time.sleep(0.3)
            with unit_of_work(operator_act(PLATFORM)):
                state = session().execute(text("select status || ' ' || done from job_run")).scalar_one()
        hands.stopping.set()
        thread.join(timeout=30)
        assert state == "done 100" and not thread.is_alive()
        with unit_of_work(operator_act(PLATFORM)):
            query = "select count(*), count(distinct object_id) from audit_record where act = 'tests.count_up'"
            assert tuple(session().execute(text(query)).one()) == (100, 100)
        assert client.get("/readyz").status_code == 200


def test_a_full_disk_refuses_the_act_and_keeps_what_was_acknowledged(tmp_path: Path):
    """The cluster on a disk of 80 MB: writes fail with a clear kind of error, reads go on, room brings writes back."""
    with tempfile.TemporaryDirectory(prefix="propmgr ", dir="/var/tmp") as folder:
        place = Path(folder)
        place.chmod(0o755)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m,mode=755", "tmpfs", folder], capture_output=True)
        if mounted.returncode != 0:
            pytest.skip("a disk of limited size needs the right to mount one")
        server = Embedded(place / "postgres", binaries=postgres_binaries())
        try:
            server.start()
            urls = urls_of(server, "propmgr")
            migrate(urls)
            with a_house(test_settings(urls, tmp_path)) as app, app.app_context():
                acknowledged = _write_until_full(place)
                with unit_of_work(operator_act(PLATFORM)):
                    kept = session().execute(text("select count(*) from audit_record")).scalar_one()
                assert kept == acknowledged
                (place / "ballast").unlink()
                _write_again()
        finally:
            server.stop()
            server.release()
            subprocess.run(["umount", folder], check=True)


def _write_until_full(place: Path) -> int:
    """Fill the disk with a file and then with acts until one is refused. Returns the acts acknowledged."""
    ballast = place / "ballast"
    with pytest.raises(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
    acknowledged = 0
    with pytest.raises(DBAPIError):
        for number in range(20_000):
            with unit_of_work(operator_act(PLATFORM)) as act:
                record(act, "tests.fill_up", "number", number, text="x" * 5000)
            acknowledged += 1
    return acknowledged


def _write_again() -> None:
    """Room is back; the server may still be recovering if it had to stop."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with unit_of_work(operator_act(PLATFORM)) as act:
                record(act, "tests.write_row", "number", 1)
            return
        except DBAPIError:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_blocks_of_ids_never_meet_one_another_or_single_ids(app, two_companies):
    taken: list[int] = []

    def take(tenant: int) -> None:
        with app.app_context():
            for _ in range(50):
                with unit_of_work(operator_act(tenant)):
                    taken.append(id_block(BLOCK - 1))

    threads = [threading.Thread(target=take, args=(tenant,)) for tenant in (two_companies.a, two_companies.b)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 100 and all(base % BLOCK == 0 for base in taken)
    assert min(taken) >= 1 << 40 and max(taken) + BLOCK < 1 << 53
    with pytest.raises(AssertionError), unit_of_work(operator_act(two_companies.a)):
        id_block(BLOCK)
