"""Reading organisations. Decides their order; never writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from propmgr.database.unit_of_work import session
from propmgr.identity.models import Tenant
from propmgr.identity.rules import TenantKind, TenantStatus


@dataclass(frozen=True, slots=True)
class Organisation:
    """One organisation as other rooms see it."""

    id: int
    kind: TenantKind
    name: str
    status: TenantStatus
    division_code: str | None
    opened_at: datetime


def organisations(kind: TenantKind | None = None) -> list[Organisation]:
    """All organisations that are not closed, by number."""
    query = select(Tenant).where(Tenant.status != TenantStatus.CLOSED).order_by(Tenant.id)
    if kind is not None:
        query = query.where(Tenant.kind == kind)
    return [_seen(row) for row in session().scalars(query)]


def organisation_named(name: str) -> Organisation | None:
    """The organisation of that registered name, or None."""
    row = session().scalars(select(Tenant).where(Tenant.name == name)).one_or_none()
    return None if row is None else _seen(row)


def _seen(row: Tenant) -> Organisation:
    return Organisation(row.id, row.kind, row.name, row.status, row.division_code, row.opened_at)
