"""Who acts, for which organisation, at what instant. Decides the scope of a unit of work; never asks the database.

Every command takes an `Act` first. Rules never ask the clock: they get `act.at` or `act.today`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

#: Business dates are local dates here, whatever zone the host is in (DOMAIN.md, section 2).
SHANGHAI = ZoneInfo("Asia/Shanghai")


class ActorKind(StrEnum):
    """What kind of hand does it. `system` is the worker; `operator` is a person at the command line."""

    STAFF = "staff"
    RESIDENT = "resident"
    OFFICE = "office"
    PLATFORM = "platform"
    LINK = "link"
    OPERATOR = "operator"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """`id` is the stable id of the person (never a name or a phone number) or the name of the program."""

    kind: ActorKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


def new_request_id() -> str:
    """Sixteen characters that join a log line, an audit row and the reference number on an error page."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Act:
    """One act. `tenant_id` is written to; `read_tenants` may be read (a resident's several companies).

    `division` is set for a street office: the act then runs under the database role that sees figures, never
    names, of that one prefix of division codes. `at` is an aware instant.
    """

    actor: Actor
    tenant_id: int
    at: datetime
    read_tenants: tuple[int, ...] = ()
    division: str | None = None
    request_id: str = field(default_factory=new_request_id)

    def __post_init__(self) -> None:
        assert type(self.tenant_id) is int and self.tenant_id > 0, "an act is always for one organisation"
        assert self.at.tzinfo is not None, "an instant without a zone is a guess"
        assert self.division is None or (self.division.isascii() and self.division.isdigit())
        if not self.read_tenants:
            object.__setattr__(self, "read_tenants", (self.tenant_id,))

    @property
    def today(self) -> date:
        """The business date of the act in Asia/Shanghai."""
        return self.at.astimezone(SHANGHAI).date()

    def within(self, tenant_id: int) -> Act:
        """The same hand and instant, scoped to another organisation (the platform opening one)."""
        return replace(self, tenant_id=tenant_id, read_tenants=(tenant_id,), division=None)


def system_act(tenant_id: int, *, name: str = "worker", at: datetime | None = None) -> Act:
    """An act of the house itself: scheduled work, delivery, sealing. The one place where work reads the clock."""
    return Act(Actor(ActorKind.SYSTEM, name), tenant_id, at or datetime.now(UTC))


def operator_act(tenant_id: int, *, at: datetime | None = None) -> Act:
    """An act of whoever has the command line of the server."""
    return Act(Actor(ActorKind.OPERATOR, "cli"), tenant_id, at or datetime.now(UTC))
