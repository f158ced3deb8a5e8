"""Opening organisations. Decides what must be known of one; never who may open it (the door asks that)."""

from __future__ import annotations

from sqlalchemy import text

from propmgr.audit.commands import record
from propmgr.database.unit_of_work import current_act, session
from propmgr.identity.models import Tenant
from propmgr.identity.queries import organisation_named
from propmgr.identity.rules import TenantKind, TenantStatus
from propmgr.kernel.act import Act
from propmgr.kernel.errors import BadInput


def next_tenant_id() -> int:
    """A number for an organisation about to be opened: the unit of work that opens it is scoped to this number."""
    return session().execute(text("select nextval('tenant_id_seq')")).scalar_one()


def open_organisation(act: Act, kind: TenantKind, name: str, division_code: str | None) -> Tenant:
    """Open the organisation whose number is the act's scope (see `next_tenant_id`).

    Raises BadInput for an empty name or one already registered. The division must exist (a foreign key holds that).
    """
    assert act.tenant_id == current_act().tenant_id
    name = " ".join(name.split())
    if not name:
        raise BadInput("An organisation needs its registered name.", field="name")
    if kind is TenantKind.PLATFORM:
        raise BadInput("There is one platform; open a company or an office.", field="kind")
    if organisation_named(name) is not None:
        raise BadInput("An organisation named %(name)s is already open.", field="name", name=name)
    tenant = Tenant(
        id=act.tenant_id,
        kind=kind,
        name=name,
        status=TenantStatus.OPEN,
        division_code=division_code,
        opened_at=act.at,
    )
    session().add(tenant)
    session().flush()
    record(act, "identity.open_organisation", "tenant", tenant.id, kind=kind.value, division=division_code)
    return tenant
