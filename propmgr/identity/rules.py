"""Words and rules of organisations. Decides which moves between states are allowed; never stores."""

from __future__ import annotations

from enum import StrEnum

#: The one platform organisation. Work that concerns the whole house is done in its name.
PLATFORM = 1


class TenantKind(StrEnum):
    """What an organisation is to the house: it owns receivables, watches, or operates."""

    COMPANY = "company"
    OFFICE = "office"
    PLATFORM = "platform"


class TenantStatus(StrEnum):
    """`suspended` reads and does not write; `closed` has handed over everything and is kept for the record."""

    OPEN = "open"
    SUSPENDED = "suspended"
    CLOSED = "closed"
