"""The audit log: rows stay, the chain shows every change, heads outside show a tail cut off."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from propmgr.audit.commands import record
from propmgr.audit.heads import HeadFiles
from propmgr.audit.jobs import seal_all
from propmgr.audit.queries import Head
from propmgr.checks import run_checks
from propmgr.config import DatabaseUrls
from propmgr.database.embedded import Embedded
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.kernel.act import operator_act
from tests.conftest import Pair, database_name

pytestmark = pytest.mark.database


def violations(urls: DatabaseUrls, heads: HeadFiles, check: str = "I9") -> tuple[str, ...]:
    return next(result.violations for result in run_checks(urls.check, heads) if result.id == check)


@pytest.fixture
def heads(tmp_path: Path) -> HeadFiles:
    return HeadFiles(tmp_path / "heads")


@pytest.fixture
def sealed(two_companies: Pair, heads: HeadFiles) -> Pair:
    """Two chains of three links each."""
    for number in range(3):
        for tenant in (two_companies.a, two_companies.b):
            with unit_of_work(operator_act(tenant)) as act:
                record(act, "tests.write_row", "thing", number, note=f"第{number}次", amount=number)
        seal_all([two_companies.a, two_companies.b], heads)
    return two_companies


@pytest.fixture
def superuser(server: Embedded, urls: DatabaseUrls):
    """Someone with the run of the machine: no trigger, no policy holds him."""
    address = server.url("postgres", database_name(urls)).replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        yield connection


def test_an_untouched_chain_is_clean(urls, sealed, heads):
    result = next(r for r in run_checks(urls.check, heads) if r.id == "I9")
    assert result.violations == ()
    assert result.checked >= 6 + 2, "six links and the two heads of today"


@pytest.mark.parametrize(
    ("tampering", "says"),
    [
        ("update audit_record set details = '{\"amount\": 9}' where object_id = 1 and tenant_id = %(a)s", "changed"),
        ("update audit_record set at = at + interval '1 second' where object_id = 2 and tenant_id = %(a)s", "changed"),
        ("update audit_record set tenant_id = %(b)s where object_id = 1 and tenant_id = %(a)s", "gone"),
        ("delete from audit_record where object_id = 1 and tenant_id = %(a)s", "gone"),
        (
            "insert into audit_record (tenant_id, id, at, actor_kind, actor_id, act, object_kind, object_id, request_id,"
            " seal_no) select tenant_id, 900001, at, actor_kind, actor_id, act, object_kind, object_id, request_id, 2"
            " from audit_record where tenant_id = %(a)s limit 1",
            "another number",
        ),
        (
            "update audit_record r set seal_no = 5 - seal_no where tenant_id = %(a)s and seal_no in (2, 3)",
            "changed",
        ),
        ("update audit_seal set head = previous where tenant_id = %(a)s and id = 3", "kept outside"),
        ("delete from audit_seal where tenant_id = %(a)s and id = 2", "does not exist"),
    ],
)
def test_tampering_is_found(urls, sealed, heads, superuser, tampering, says):
    superuser.execute(tampering, {"a": sealed.a, "b": sealed.b})
    found = violations(urls, heads)
    assert found and any(says in violation for violation in found), found


def test_a_cut_tail_is_found_by_the_head_outside_and_by_nothing_else(urls, sealed, heads, superuser, tmp_path):
    superuser.execute("delete from audit_record where tenant_id = %s and seal_no = 3", (sealed.a,))
    superuser.execute("delete from audit_seal where tenant_id = %s and id = 3", (sealed.a,))
    blind = HeadFiles(tmp_path / "others")
    blind.keep(date(2026, 1, 1), [head for _, head in heads.all() if head.tenant_id == sealed.b])
    assert violations(urls, blind) == (), "the chain alone cannot know"
    assert any("is gone" in violation for violation in violations(urls, heads))


@pytest.mark.parametrize("role", ["propmgr_app", "propmgr_owner"])
@pytest.mark.parametrize(
    "statement",
    [
        "update audit_record set act = 'x.y_z'",
        "update audit_record set seal_no = 9 where seal_no = 1",
        "delete from audit_record",
        "truncate audit_record",
        "update audit_seal set records = 9",
        "delete from audit_seal",
        "truncate audit_seal",
    ],
)
def test_neither_app_nor_owner_can_change_a_row(server, urls, sealed, role, statement):
    engine = create_engine(server.url(role, database_name(urls)))
    try:
        with pytest.raises(DBAPIError) as caught, engine.begin() as connection:
            connection.execute(
                text("alter table audit_record no force row level security")
            ) if "owner" in role else None
            connection.execute(text("alter table audit_seal no force row level security")) if "owner" in role else None
            connection.execute(text(f"set local app.tenant_id = '{sealed.a}'"))
            connection.execute(text(f"set local app.read_tenants = '{sealed.a}'"))
            connection.execute(text(statement))
        assert caught.value.orig.sqlstate == "42501"
    finally:
        engine.dispose()


def test_rows_of_a_slow_transaction_are_sealed_later_and_none_is_left_out(app, two_companies, heads, urls):
    """A row with a lower id that commits after a seal goes into the next one: ids do not order commits."""
    with unit_of_work(operator_act(two_companies.a)):
        early = session().execute(text("select nextval('audit_record_id_seq')")).scalar_one()
    with unit_of_work(operator_act(two_companies.a)) as act:
        record(act, "tests.write_row", "thing", 1)
    seal_all([two_companies.a], heads)
    with unit_of_work(operator_act(two_companies.a)) as act:
        session().execute(
            text(
                "insert into audit_record (tenant_id, id, at, actor_kind, actor_id, act, object_kind, request_id)"
                " values (:t, :i, :at, 'system', 'late', 'tests.write_row', 'thing', 'r')"
            ),
            {"t": two_companies.a, "i": early, "at": act.at},
        )
    assert seal_all([two_companies.a], heads) == 1
    assert seal_all([two_companies.a], heads) == 0
    assert violations(urls, heads) == ()


def test_unsealed_rows_are_reported_after_an_hour(app, two_companies, heads, urls):
    with unit_of_work(operator_act(two_companies.a, at=datetime.now(UTC) - timedelta(hours=2))) as act:
        record(act, "tests.write_row", "thing", 1)
    assert any(f"organisation {two_companies.a}" in v for v in violations(urls, heads, "I9-age"))
    seal_all([two_companies.a, two_companies.b], heads)
    assert violations(urls, heads, "I9-age") == ()


def test_a_change_without_an_audit_row_does_not_commit(app, two_companies):
    """Seals are not audited themselves; any other tenant table is. The table of this test is the audit log's own."""
    from propmgr.audit.models import AuditSeal

    class_flag = AuditSeal.__audited__
    AuditSeal.__audited__ = True
    try:
        with pytest.raises(AssertionError, match="without an audit row"), unit_of_work(operator_act(two_companies.a)):
            session().add(
                AuditSeal(
                    tenant_id=two_companies.a,
                    id=1,
                    records=1,
                    sealed_at=datetime.now(UTC),
                    previous=bytes(32),
                    head=bytes(32),
                )
            )
    finally:
        AuditSeal.__audited__ = class_flag
    with unit_of_work(operator_act(two_companies.a)):
        assert session().execute(text("select count(*) from audit_seal")).scalar_one() == 0


def test_an_empty_folder_of_heads_is_a_violation_and_is_filled_within_a_poll(urls, sealed, tmp_path):
    """A mistyped or emptied folder must not pass for proof; the worker writes all heads, new or not."""
    other = HeadFiles(tmp_path / "mistyped")
    assert any("no head" in violation for violation in violations(urls, other))
    assert seal_all([sealed.a, sealed.b], other) == 0
    assert {head.tenant_id for _, head in other.all()} == {sealed.a, sealed.b}
    assert violations(urls, other) == ()


def test_heads_of_past_days_stay_and_todays_file_is_replaced(tmp_path):
    files = HeadFiles(tmp_path / "heads")
    files.keep(date(2026, 1, 1), [Head(1, 1, "aa"), Head(2, 1, "bb")])
    files.keep(date(2026, 1, 2), [Head(1, 2, "cc")])
    files.keep(date(2026, 1, 2), [Head(1, 3, "dd")])
    assert list(files.all()) == [
        ("2026-01-01", Head(1, 1, "aa")),
        ("2026-01-01", Head(2, 1, "bb")),
        ("2026-01-02", Head(1, 3, "dd")),
    ]
