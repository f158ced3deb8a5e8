"""Organisations: opened in their own scope, once, with the audit row where it belongs."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from propmgr.audit.models import AuditRecord
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.identity.commands import next_tenant_id, open_organisation
from propmgr.identity.queries import organisation_named, organisations
from propmgr.identity.rules import PLATFORM, TenantKind, TenantStatus
from propmgr.kernel.act import operator_act
from propmgr.kernel.errors import BadInput
from tests.conftest import open_tenant

pytestmark = pytest.mark.database


def test_the_platform_is_there_from_the_beginning(app):
    with unit_of_work(operator_act(PLATFORM)):
        assert [(o.id, o.kind) for o in organisations()] == [(PLATFORM, TenantKind.PLATFORM)]


def test_opening_leaves_its_row_in_the_new_organisation(app):
    tenant = open_tenant(TenantKind.COMPANY, "  甲  物业 ")
    with unit_of_work(operator_act(tenant)):
        opened = organisation_named("甲 物业")
        assert opened is not None and (opened.id, opened.status) == (tenant, TenantStatus.OPEN)
        row = session().scalars(select(AuditRecord)).one()
        assert (row.act, row.object_id, str(row.actor_kind)) == ("identity.open_organisation", tenant, "operator")
    with unit_of_work(operator_act(PLATFORM)):
        assert session().scalars(select(AuditRecord)).all() == []


@pytest.mark.parametrize(
    ("kind", "name", "field"),
    [
        (TenantKind.COMPANY, "   ", "name"),
        (TenantKind.PLATFORM, "又一个平台", "kind"),
        (TenantKind.COMPANY, "甲物业", "name"),
    ],
)
def test_what_cannot_be_opened_is_said_beside_the_field(app, kind, name, field):
    open_tenant(TenantKind.COMPANY, "甲物业")
    with pytest.raises(BadInput) as caught:
        open_tenant(kind, name)
    assert caught.value.field == field


def test_an_unknown_division_is_refused(app):
    with pytest.raises(IntegrityError):
        open_tenant(TenantKind.OFFICE, "丁街道", "999999999")


def test_an_organisation_is_written_only_from_within_its_own_scope(app, two_companies):
    """The table is read by all; a policy lets an act write the row of its own organisation and no other."""
    with unit_of_work(operator_act(PLATFORM)):
        other = next_tenant_id()
    insert = "insert into tenant (id, kind, name, status, opened_at) values (:i, 'company', 'x', 'open', now())"
    with pytest.raises(DBAPIError, match="row-level security"), unit_of_work(operator_act(two_companies.a)):
        session().execute(text(insert), {"i": other})
    with unit_of_work(operator_act(two_companies.a)):
        update = text("update tenant set status = 'closed' where id = :i returning id")
        assert session().execute(update, {"i": two_companies.b}).all() == []
        assert session().execute(text("select count(*) from tenant")).scalar_one() == 3


def test_two_names_at_once_are_one_organisation(app):
    """The unique key has the last word where two people open the same company in the same second."""
    with unit_of_work(operator_act(PLATFORM)):
        first, second = next_tenant_id(), next_tenant_id()
    with unit_of_work(operator_act(first)) as act:
        open_organisation(act, TenantKind.COMPANY, "甲物业", None)
    with pytest.raises(IntegrityError), unit_of_work(operator_act(second)):
        session().execute(
            text("insert into tenant (id, kind, name, status, opened_at) values (:i, 'company', '甲物业', 'open', now())"),
            {"i": second},
        )
