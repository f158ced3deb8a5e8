"""Backup and restore: nothing is missing, and what is missing is noticed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from propmgr import backup
from propmgr.audit.heads import HeadFiles
from propmgr.audit.jobs import seal_all
from propmgr.backup import BackupError
from propmgr.checks import run_checks
from propmgr.config import PROJECT
from propmgr.database.unit_of_work import unit_of_work
from propmgr.identity.rules import TenantKind
from propmgr.kernel.act import operator_act
from propmgr.kernel.errors import BadInput, NotReady
from propmgr.places.commands import load_province
from tests.conftest import database_name, fresh_database, open_tenant

pytestmark = pytest.mark.database


@pytest.fixture
def bin_dir(server) -> Path:
    return server.program("pg_dump").parent


@pytest.fixture
def heads(tmp_path) -> HeadFiles:
    return HeadFiles(tmp_path / "heads")


@pytest.fixture
def lived_in(app, heads):
    """Two companies, a province, three sealed chains."""
    with unit_of_work(operator_act(1)) as act:
        load_province(act, "46")
    companies = [open_tenant(TenantKind.COMPANY, name, "460105") for name in ("甲物业", "乙\t物\\业")]
    seal_all([1, *companies], heads)
    return companies


@pytest.fixture
def made(urls, lived_in, tmp_path, bin_dir) -> Path:
    return backup.make(urls, tmp_path / "backups", bin_dir, datetime.now(UTC))


@pytest.fixture
def empty(server):
    with fresh_database(server, None) as urls:
        yield urls


def superuser(server, urls) -> psycopg.Connection:
    address = server.url("postgres", database_name(urls)).replace("+psycopg", "")
    return psycopg.connect(address, autocommit=True)


def test_a_restored_house_is_the_same_house(urls, made, empty, bin_dir, heads, lived_in, tmp_path):
    manifest = backup.restore(empty, made, bin_dir, heads, datetime.now(UTC))
    backup.prove(empty, heads)
    assert manifest.counts["audit_record"].keys() == {"1", *map(str, lived_in)}
    assert manifest.counts["division"][""] > 100 and set(manifest.heads) == {"1", *map(str, lived_in)}
    contents = []
    for each in (urls, empty):
        engine = create_engine(each.check)
        with engine.connect() as connection:
            rows = {
                table: sorted(map(repr, connection.execute(text(f"select * from {table}"))))
                for table in manifest.counts
            }
            rights = connection.execute(
                text(
                    "select relname, relacl::text, relrowsecurity, relforcerowsecurity from pg_class"
                    " where relnamespace = 'public'::regnamespace order by 1"
                )
            ).all()
            policies = connection.execute(
                text(
                    "select polname, (select array_agg(rolname order by rolname) from pg_roles where oid = any(polroles))"
                    " from pg_policy order by 1"
                )
            ).all()
            sequences = connection.execute(text("select sequencename, last_value from pg_sequences order by 1")).all()
            options = connection.execute(
                text(
                    "select attrelid::regclass::text, attoptions from pg_attribute where attoptions is not null order by 1"
                )
            ).all()
        engine.dispose()
        contents.append((rows, rights, policies, sequences, options))
    assert contents[0] == contents[1]


def test_heads_newer_than_the_backup_are_set_aside_and_said(app, urls, made, empty, bin_dir, heads, lived_in, tmp_path):
    open_tenant(TenantKind.COMPANY, "丙物业")
    seal_all([1, *lived_in], heads)
    with unit_of_work(operator_act(lived_in[0])) as act:
        from propmgr.audit.commands import record

        record(act, "tests.write_row", "thing", 1)
    seal_all(lived_in, heads)
    before = dict(heads.all())
    backup.restore(empty, made, bin_dir, heads, datetime.now(UTC))
    backup.prove(empty, heads)
    aside = list(tmp_path.glob("heads.before-restore-*"))
    assert len(aside) == 1 and dict(HeadFiles(aside[0]).all()) == before
    # Red control: with the newer heads in place the restored house would be reported as cut short.
    violations = [v for r in run_checks(empty.check, HeadFiles(aside[0])) for v in r.violations]
    assert any("is gone" in v for v in violations)


def test_a_table_hidden_from_the_backup_is_an_error_and_not_an_empty_table(server, urls, lived_in, tmp_path, bin_dir):
    with superuser(server, urls) as connection:
        connection.execute("drop policy audit_record_check on audit_record")
        with pytest.raises(BackupError, match="hidden"):
            backup.make(urls, tmp_path / "backups", bin_dir, datetime.now(UTC))
        connection.execute("create policy audit_record_check on audit_record for select to propmgr_check using (false)")
        with pytest.raises(BackupError, match="hidden"):
            backup.make(urls, tmp_path / "backups", bin_dir, datetime.now(UTC))
    assert list((tmp_path / "backups").glob("*/manifest.json")) == []


def test_red_control_without_that_question_the_empty_dump_would_pass(
    server, urls, lived_in, tmp_path, bin_dir, monkeypatch
):
    monkeypatch.setattr(backup, "hidden_from_backup", lambda connection: (0, []))
    with superuser(server, urls) as connection:
        connection.execute("drop policy audit_record_check on audit_record")
    folder = backup.make(urls, tmp_path / "backups", bin_dir, datetime.now(UTC))
    assert backup.read_manifest(folder).counts["audit_record"] == {}, "silently empty, in dump and count alike"


def test_a_dump_that_holds_less_than_was_counted_is_refused(urls, lived_in, tmp_path, bin_dir, monkeypatch):
    counted = backup.count_rows

    def one_more(connection):
        counts = counted(connection)
        counts["audit_record"][str(lived_in[1])] += 1
        return counts

    monkeypatch.setattr(backup, "count_rows", one_more)
    with pytest.raises(BackupError, match=f"audit_record of organisation {lived_in[1]}"):
        backup.make(urls, tmp_path / "backups", bin_dir, datetime.now(UTC))


def test_rows_written_during_the_dump_are_in_neither_or_both(app, urls, lived_in, tmp_path, bin_dir, monkeypatch):
    """The dump and the counts share one snapshot: an organisation opened between the two changes nothing."""
    dump = backup._dump

    def busy(*arguments):
        open_tenant(TenantKind.COMPANY, "开在半路的物业")
        dump(*arguments)

    monkeypatch.setattr(backup, "_dump", busy)
    made = backup.make(urls, tmp_path / "backups", bin_dir, datetime.now(UTC))
    assert backup.read_manifest(made).counts["tenant"] == {"": 3}


def test_a_changed_dump_or_manifest_is_refused(made, empty, bin_dir, heads):
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["counts"]["tenant"][""] += 1
    (made / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BackupError, match="tenant of organisation - has 3 rows, not 4"):
        backup.restore(empty, made, bin_dir, heads, datetime.now(UTC))
    with (made / "database.dump").open("r+b") as file:
        file.seek(2000)
        file.write(b"\0\0\0\0")
    with pytest.raises(BackupError, match="changed after"):
        backup.restore(empty, made, bin_dir, heads, datetime.now(UTC))


def test_a_database_with_tables_is_never_restored_into(urls, made, bin_dir, heads):
    with pytest.raises(BadInput, match="not empty"):
        backup.restore(urls, made, bin_dir, heads, datetime.now(UTC))


def test_what_is_no_backup_and_a_missing_program_are_said(urls, made, empty, tmp_path, heads, monkeypatch):
    with pytest.raises(BadInput, match="not a finished backup"):
        backup.restore(empty, tmp_path, None, heads, datetime.now(UTC))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotReady, match="pg_dump is not installed"):
        backup.make(urls, tmp_path / "other", None, datetime.now(UTC))


def test_fourteen_are_kept_and_leftovers_of_yesterday_go(urls, lived_in, tmp_path, bin_dir, monkeypatch):
    monkeypatch.setattr(backup, "KEPT", 2)
    folder = tmp_path / "backups"
    (folder / "20200101-000000.partial").mkdir(parents=True)
    os.utime(folder / "20200101-000000.partial", (0, 0))
    now = datetime.now(UTC)
    names = [backup.make(urls, folder, bin_dir, now + timedelta(minutes=minute)).name for minute in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == names[1:]
    assert oct(folder.stat().st_mode)[-3:] == "700"


def test_a_restore_killed_half_way_leaves_the_database_empty(made, empty, bin_dir, heads):
    """kill -9 of the restoring process and its pg_restore; the same command again fills the database."""
    code = (
        "import sys; from datetime import datetime, UTC; from pathlib import Path; from propmgr import backup;"
        "from propmgr.config import DatabaseUrls; from propmgr.audit.heads import HeadFiles;"
        "backup.restore(DatabaseUrls(*sys.argv[1:5]), Path(sys.argv[5]), Path(sys.argv[6]), HeadFiles(Path(sys.argv[7])),"
        " datetime.now(UTC))"
    )
    arguments = [empty.app, empty.owner, empty.check, empty.direct, str(made), str(bin_dir), str(heads.folder)]
    with psycopg.connect(empty.owner.replace("+psycopg", "")) as blocker:
        # A table of the same name that is not committed yet: the restore stands still in the middle of its work.
        blocker.execute("create table job_run (a int)")
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=PROJECT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
        with psycopg.connect(empty.check.replace("+psycopg", ""), autocommit=True) as watcher:
            waiting = "select count(*) from pg_locks where not granted"
            deadline = time.monotonic() + 20
            while watcher.execute(waiting).fetchone() == (0,) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert watcher.execute(waiting).fetchone() == (1,), "the restore is half way"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        blocker.rollback()
    deadline = time.monotonic() + 20
    while True:  # the server notices the dead client a moment later
        try:
            backup.restore(empty, made, bin_dir, heads, datetime.now(UTC))
            break
        except BackupError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    backup.prove(empty, heads)
