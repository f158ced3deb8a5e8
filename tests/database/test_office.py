"""What a street office sees: figures of its own division from every company, and nothing else.

The table of this test is made by the same form that migrations use for figures shown to offices.
"""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from propmgr.database.migration import office_facing, tenant_table
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.kernel.act import Act, Actor, ActorKind, operator_act
from tests.conftest import Pair

pytestmark = pytest.mark.database

#: (whose, number, division): two companies in two streets, one of them split over districts.
ROWS = [("a", 1, "410105001"), ("a", 2, "410105002"), ("b", 1, "410105001"), ("b", 2, "410102001"), ("b", 3, "4101050010")]


@pytest.fixture
def figures(urls, app, two_companies: Pair) -> Pair:
    engine = create_engine(urls.owner)
    with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
        op.create_table(
            "figure",
            sa.Column("tenant_id", sa.BigInteger, nullable=False),
            sa.Column("id", sa.BigInteger, nullable=False),
            sa.Column("division_code", sa.Text, nullable=False),
            sa.PrimaryKeyConstraint("tenant_id", "id"),
        )
        tenant_table("figure")
        office_facing("figure", "id")
    engine.dispose()
    for whose, number, division in ROWS:
        tenant = getattr(two_companies, whose)
        with unit_of_work(operator_act(tenant)):
            session().execute(
                text("insert into figure values (:t, :i, :d)"), {"t": tenant, "i": number, "d": division}
            )
    return two_companies


def office(tenant: int, division: str | None) -> Act:
    return Act(Actor(ActorKind.OFFICE, "1"), tenant, operator_act(tenant).at, division=division)


def seen(act: Act) -> list[str]:
    with unit_of_work(act):
        return sorted(session().execute(text("select division_code from figure")).scalars())


@pytest.mark.parametrize(
    ("division", "expected"),
    [
        ("410105001", ["410105001", "410105001", "4101050010"]),
        ("410105002", ["410105002"]),
        ("410105", ["410105001", "410105001", "4101050010", "410105002"]),
        ("4101", ["410102001", "410105001", "410105001", "4101050010", "410105002"]),
        ("4102", []),
        ("41010500", ["410105001", "410105001", "4101050010", "410105002"]),
    ],
)
def test_an_office_sees_its_prefix_over_all_companies(figures, an_office, division, expected):
    assert seen(office(an_office, division)) == expected


def test_a_company_sees_its_own_rows_and_not_by_division(figures, an_office):
    assert len(seen(operator_act(figures.a))) == 2 and len(seen(operator_act(figures.b))) == 3
    assert seen(operator_act(an_office)) == []


def test_an_office_writes_none_of_the_figures(figures, an_office):
    for statement in (
        f"insert into figure values ({an_office}, 9, '410105001')",
        f"insert into figure values ({figures.a}, 9, '410105001')",
        "update figure set division_code = '410105001'",
        "delete from figure",
    ):
        with pytest.raises(DBAPIError, match="permission denied"), unit_of_work(office(an_office, "410105001")):
            session().execute(text(statement))


def test_names_are_never_granted_to_offices(figures, an_office):
    """Tables with people in them give an office its own rows at most; what is not listed is not granted at all."""
    own_rows = {"audit_record", "message", "message_delivery"}
    figures_and_global = {"figure", "tenant", "division", "job_run", "message_due"}
    with unit_of_work(operator_act(an_office)):
        granted = session().execute(
            text(
                "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v')"
                " and has_any_column_privilege('propmgr_office', oid, 'select')"
            )
        ).scalars()
        assert set(granted) == own_rows | figures_and_global
    with unit_of_work(office(an_office, "410105001")):
        for table in own_rows:
            tenants = session().execute(text(f"select distinct tenant_id from {table}")).scalars().all()
            assert set(tenants) <= {an_office}


def test_the_range_uses_its_index(figures, an_office):
    with unit_of_work(office(an_office, "410105001")):
        session().execute(text("set local enable_seqscan = off"))
        plan = "\n".join(session().execute(text("explain select * from figure")).scalars())
    assert "ix_figure_division" in plan


def test_red_control_a_role_that_inherited_would_mix_both_views(server, urls, figures, an_office):
    """Why propmgr_app is NOINHERIT: policies of inherited roles are OR-ed into its own."""
    import psycopg

    from tests.conftest import database_name

    address = server.url("postgres", database_name(urls)).replace("+psycopg", "")
    with psycopg.connect(address, autocommit=True) as superuser:
        superuser.execute("create role mixed inherit in role propmgr_app, propmgr_office")
        try:
            with superuser.transaction(force_rollback=True):
                superuser.execute("set local role mixed")
                superuser.execute(f"set local app.read_tenants = '{figures.a}'")
                superuser.execute("set local app.read_division = '410102'")
                rows = superuser.execute("select tenant_id from figure").fetchall()
            assert {tenant for (tenant,) in rows} == {figures.a, figures.b}
        finally:
            superuser.execute("drop role mixed")
