"""The demo city: two companies and two street offices in 郑州. Decides names; builds by commands only."""

from __future__ import annotations

from dataclasses import dataclass

from propmgr.database.unit_of_work import unit_of_work
from propmgr.identity.commands import next_tenant_id, open_organisation
from propmgr.identity.queries import organisation_named
from propmgr.identity.rules import PLATFORM, TenantKind
from propmgr.kernel.act import operator_act


@dataclass(frozen=True, slots=True)
class DemoOrganisation:
    """One organisation of the demo: kind, registered name, seat or area."""

    kind: TenantKind
    name: str
    division_code: str


ORGANISATIONS = (
    DemoOrganisation(TenantKind.COMPANY, "演示·中原惠民物业服务有限公司", "410102"),
    DemoOrganisation(TenantKind.COMPANY, "演示·金水安居物业服务有限公司", "410105"),
    DemoOrganisation(TenantKind.OFFICE, "演示·林山寨街道办事处", "410102001"),
    DemoOrganisation(TenantKind.OFFICE, "演示·经八路街道办事处", "410105001"),
)


def build() -> int:
    """Open what is not there yet, each organisation in a unit of its own. Returns how many were opened.

    The division codes must be loaded. A kill between two leaves whole organisations; the next run goes on.
    """
    opened = 0
    for wanted in ORGANISATIONS:
        with unit_of_work(operator_act(PLATFORM)):
            if organisation_named(wanted.name) is not None:
                continue
            tenant_id = next_tenant_id()
        with unit_of_work(operator_act(tenant_id)) as act:
            open_organisation(act, wanted.kind, wanted.name, wanted.division_code)
            opened += 1
    return opened
