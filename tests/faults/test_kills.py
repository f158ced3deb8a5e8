"""kill -9 at random points of migrations, jobs and the worker; then the same command again, and nothing by hand.

Thirty kills on every change. What was acknowledged stays, nothing is doubled, `flask check` is clean.
"""

from __future__ import annotations

import json
import random
import time

import psycopg
import pytest

from propmgr.places.edition import PROVINCES
from tests.faults.conftest import House

VICTIMS = ("command", "database", "both")


def owner(house: House) -> psycopg.Connection:
    """The superuser: a test looks at every row."""
    return psycopg.connect(house.database.url("postgres").replace("+psycopg", ""), autocommit=True)


def one(house: House, query: str) -> object:
    with owner(house) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def strike(house: House, dice: random.Random, command: list[str], longest: float, *, stays: bool = False) -> str:
    """Start the command, kill a victim at a random moment, bring the server back. Returns who was hit and when.

    A command that `stays` outlives its database and is ended afterwards.
    """
    victim, moment = dice.choice(VICTIMS), dice.uniform(0.3, 1.0) * longest
    process = house.start(*command)
    time.sleep(moment)
    if victim in ("database", "both"):
        house.kill_database()
    hit = house.kill(process) if victim != "database" else process.poll() is None
    if victim == "database" and not stays:
        process.communicate(timeout=120)
    began = time.monotonic()
    house.database.start()
    assert time.monotonic() - began < 30, "the database recovers within thirty seconds"
    if victim == "database" and stays:
        time.sleep(dice.uniform(1, 4))
        assert process.poll() is None, "it waited for its database"
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 0
    return f"{victim} after {moment:.2f} s{'' if hit else ' (had ended)'}"


def test_migrations_survive_kills(house: House, dice: random.Random, rounds: int):
    """Up and down again and again, killed each time; the revision is always one that exists, and the end is the head."""
    began = time.monotonic()
    house.run("db", "upgrade")
    longest = time.monotonic() - began
    hits = 0
    for number in range(rounds):
        command = ["db", "upgrade"] if number % 2 else ["db", "downgrade", "base"]
        told = strike(house, dice, command, longest)
        hits += "had ended" not in told
        tables = one(house, "select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'")
        version = one(house, "select coalesce(max(version_num), 'none') from alembic_version")
        expected = {"none": 1, "20261123_1900": 6}
        assert version not in expected or tables == expected[str(version)], (told, version, tables)
    house.run("db", "upgrade")
    assert hits > rounds // 3, "most kills met a command that was still running"
    house.assert_clean()


def test_a_job_survives_kills(house: House, dice: random.Random, rounds: int):
    """Loading the divisions is killed again and again; every province is taken exactly once."""
    house.run("db", "upgrade")
    for _ in range(rounds):
        strike(house, dice, ["load-divisions"], 1.6)
        assert one(house, "select coalesce(max(error), '') from job_run") == ""
        if one(house, "select count(*) from division where code = '65'"):
            # All provinces are there: begin again, so that later kills meet work.
            with owner(house) as connection:
                connection.execute("set session_replication_role = replica")
                for table in ("division", "job_run", "audit_record", "audit_seal"):
                    connection.execute(f"delete from {table}")
    house.run("load-divisions")
    taken = "select count(*) from audit_record where act = 'places.load_province'"
    assert one(house, taken) == len(PROVINCES)
    assert one(house, taken.replace("count(*)", "count(distinct object_id)")) == len(PROVINCES)
    assert one(house, "select status || ' ' || done from job_run") == f"done {len(PROVINCES)}"
    house.assert_clean()


def test_the_worker_survives_kills(house: House, dice: random.Random, rounds: int):
    """Sealing, planning and the outbox go on behind every kill; no seal is lost that was kept outside."""
    house.run("db", "upgrade")
    house.run("demo")
    for _ in range(rounds):
        told = strike(house, dice, ["worker"], 4.0, stays=True)
        assert "had ended" not in told, told
        heads = sorted((house.instance / "heads").glob("*.json"))
        for path in heads:
            for tenant, kept in json.loads(path.read_text()).items():
                found = one(
                    house,
                    f"select encode(head, 'hex') from audit_seal where tenant_id = {tenant} and id = {kept['number']}",
                )
                assert found == kept["head"], told
    assert heads, "the worker sealed and kept heads outside"
    house.assert_clean()


@pytest.mark.parametrize(
    "point",
    [
        "item.before:1",
        "item.before:7",
        "item.before:31",
        "commit.before:2",
        "commit.before:9",
        "commit.after:1",
        "commit.after:3",
        "commit.after:20",
    ],
)
def test_each_named_point_can_be_the_last(house: House, point: str):
    """Before and after commits and items: whatever the last moment was, the same command finishes the work once."""
    house.run("db", "upgrade")
    process = house.start("load-divisions", PROPMGR_CRASH_AT=point)
    process.communicate(timeout=60)
    assert process.returncode == -9, "the point was reached"
    house.run("load-divisions")
    taken = "select count(*) || ' ' || count(distinct object_id) from audit_record where act = 'places.load_province'"
    assert one(house, taken) == f"{len(PROVINCES)} {len(PROVINCES)}"
    house.assert_clean()
