"""Migrations: up, down, up with data; the models are the migrated database; two at once wait for one another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import flask_migrate
import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import create_engine, text

from propmgr.config import PROJECT, DatabaseUrls
from propmgr.database.base import Base, db
from propmgr.database.embedded import Embedded
from propmgr.database.unit_of_work import unit_of_work
from propmgr.identity.rules import TenantKind
from propmgr.kernel.act import operator_act
from propmgr.places.commands import load_province
from propmgr.work.commands import request_run
from tests.conftest import fresh_database, migrate, open_tenant

pytestmark = pytest.mark.database


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(PROJECT / "migrations"))
    return ScriptDirectory.from_config(config)


def revisions() -> list[str]:
    """Oldest first."""
    return [script.revision for script in scripts().walk_revisions()][::-1]


def counts(urls) -> dict[str, int]:
    """Rows of each table, as the check role sees them."""
    engine = create_engine(urls.check)
    with engine.connect() as connection:
        names = connection.execute(
            text("select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'")
        ).scalars()
        found = {name: connection.execute(text(f"select count(*) from {name}")).scalar_one() for name in names}
    engine.dispose()
    return found


def test_each_file_is_named_after_its_revision_and_there_is_one_line():
    assert len(scripts().get_heads()) == 1
    for script in scripts().walk_revisions():
        name = Path(script.path).stem
        assert re.fullmatch(r"\d{8}_\d{4}_[a-z_]+", name) and name.startswith(script.revision), name
        assert script.module.downgrade.__code__.co_code != (lambda: None).__code__.co_code, "both directions"


SHAPE = """
    select 'column', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod)
        || case when a.attnotnull then ' not null' else '' end || coalesce(' ' || pg_get_expr(d.adbin, d.adrelid), '')
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and c.relname <> 'alembic_version'
    union all
    select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) from pg_constraint
    where connamespace = 'public'::regnamespace and conrelid <> 0 and contype <> 'n'
      and conrelid <> coalesce(to_regclass('alembic_version'), 0)
    union all
    select 'index', indexname, indexdef from pg_indexes where schemaname = 'public' and tablename <> 'alembic_version'
    union all
    select 'sequence', relname, '' from pg_class where relnamespace = 'public'::regnamespace and relkind = 'S'
      and relname <> 'bulk_block'
    """


def shape(url: str) -> set[tuple[str, str, str]]:
    """Columns, constraints, indexes and sequences of a database, each with its definition."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {tuple(row) for row in connection.execute(text(SHAPE))}
    engine.dispose()
    return found


def assert_models_are(urls: DatabaseUrls, server: Embedded) -> None:
    """What the models would create is what the migrations did create."""
    with fresh_database(server, None) as empty:
        engine = create_engine(empty.owner)
        Base.metadata.create_all(engine)
        engine.dispose()
        modelled = shape(empty.owner)
    assert len(modelled) > 50 and shape(urls.owner) ^ modelled == set()


def test_models_are_the_migrated_database(server, urls):
    assert_models_are(urls, server)


def test_red_control_a_forgotten_word_in_a_check_is_found(server, urls):
    engine = create_engine(urls.owner)
    with engine.begin() as connection:
        connection.execute(text("alter table job_run drop constraint ck_job_run_status_word"))
        connection.execute(
            text("alter table job_run add constraint ck_job_run_status_word check (status in ('queued', 'done'))")
        )
    engine.dispose()
    with pytest.raises(AssertionError):
        assert_models_are(urls, server)


@pytest.fixture
def lived_in(app: Flask, settings):
    """A house with something in every room the commands can reach."""
    with unit_of_work(operator_act(1)) as act:
        load_province(act, "46")
    company = open_tenant(TenantKind.COMPANY, "甲物业", "460105")
    with unit_of_work(operator_act(company)) as act:
        request_run(act, "tests.do_it", "key")
    db.session.remove()
    db.engine.dispose()
    return settings.databases


@pytest.mark.parametrize("steps", range(1, len(revisions()) + 1))
def test_down_and_up_again_over_data(app, server, lived_in, steps):
    """Going back `steps` revisions keeps every row of the tables that remain; coming up again ends at the same schema."""
    before = counts(lived_in)
    assert before["tenant"] == 2 and before["division"] > 100 and before["job_run"] == 1
    flask_migrate.downgrade(revision=f"-{steps}")
    for table, rows in counts(lived_in).items():
        assert table == "alembic_version" or rows == before[table], table
    flask_migrate.upgrade()
    after = counts(lived_in)
    assert set(after) == set(before) and after["tenant"] in (before["tenant"], 1)
    assert_models_are(lived_in, server)


def test_from_nothing_revision_by_revision(server):
    with fresh_database(server, None) as urls:
        for revision in revisions():
            migrate(urls, revision)
            engine = create_engine(urls.check)
            with engine.connect() as connection:
                assert connection.execute(text("select version_num from alembic_version")).scalar_one() == revision
            engine.dispose()


def test_going_back_to_nothing_leaves_nothing(app, urls):
    db.engine.dispose()
    flask_migrate.downgrade(revision="base")
    assert counts(urls) == {"alembic_version": 0}
    engine = create_engine(app.config["OWNER_DATABASE_URL"])
    with engine.connect() as connection:
        left = connection.execute(
            text(
                "select proname from pg_proc where pronamespace = 'public'::regnamespace"
                " union all select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'S'"
            )
        ).scalars()
        assert list(left) == []
    engine.dispose()


def test_two_starters_at_once_migrate_once(server, tmp_path):
    """Two real processes: both succeed, the second finds nothing left to do."""
    with fresh_database(server, None) as urls:
        environment = {
            **os.environ,
            "DATABASE_URL": urls.app,
            "MIGRATION_DATABASE_URL": urls.owner,
            "CHECK_DATABASE_URL": urls.check,
            "PROPMGR_SECRET_KEY": "k" * 64,
            "PROPMGR_INSTANCE": str(tmp_path),
        }
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]
        both = [
            subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(2)
        ]
        outputs = [process.communicate(timeout=120)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        assert counts(urls)["tenant"] == 1


def test_a_migration_waits_four_seconds_for_a_lock_and_changes_nothing(app, urls):
    """Somebody reads the table all the while: the migration gives up instead of queueing every page behind itself."""
    db.engine.dispose()
    with psycopg.connect(urls.app.replace("+psycopg", "")) as reader:
        reader.execute("select * from division")
        failed: list[BaseException] = []

        def go_down() -> None:
            with app.app_context():
                try:
                    flask_migrate.downgrade(revision="base")
                except Exception as error:
                    failed.append(error)

        thread = threading.Thread(target=go_down)
        thread.start()
        thread.join(timeout=30)
        assert not thread.is_alive() and "lock timeout" in str(failed[0])
    assert "division" in counts(urls)


def test_rows_hidden_from_the_owner_are_an_error_and_not_silence(server, app, urls, two_companies):
    """Under FORCE an owner's UPDATE would change 0 rows and say nothing; with row_security off it fails."""
    engine = create_engine(app.config["OWNER_DATABASE_URL"])
    with engine.connect() as connection:
        silent = connection.execute(text("update audit_record set seal_no = null where seal_no = 7"))
        assert silent.rowcount == 0
        connection.rollback()
        connection.execute(text("set local row_security = off"))
        with pytest.raises(Exception, match="row-level security"):
            connection.execute(text("update audit_record set seal_no = null where seal_no = 7"))
    engine.dispose()
