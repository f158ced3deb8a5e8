"""Which rows a transaction may see and write. Decides the SQL that sets the scope; the policies do the rest.

No scope means no rows. The settings are literal `SET LOCAL` statements, because `set_config()` is revoked from the
app role (one injected SELECT could otherwise switch the tenant) and does not travel to a distributed engine.
"""

from __future__ import annotations

from typing import Any

import psycopg

from propmgr.kernel.act import Act

OFFICE_ROLE = "propmgr_office"


class OneStatement(psycopg.Cursor):
    """A cursor that sends one statement a call, so that no text can carry a second `SET LOCAL` behind a semicolon.

    Without parameters psycopg uses the simple protocol, which runs any number of statements; the extended protocol
    refuses a second one (42601). `_execute_send` is private in psycopg 3.3.9: the version is pinned and tested.
    """

    def _execute_send(self, query: Any, *, force_extended: bool = False, binary: bool | None = None) -> None:
        super()._execute_send(query, force_extended=True, binary=binary)


#: For every engine of the house. A statement prepared under one scope must never run under another: a pooled,
#: prepared `SET LOCAL` was seen to hand one tenant another's rows.
CONNECT_ARGS: dict[str, Any] = {"cursor_factory": OneStatement, "prepare_threshold": None}


def scope_sql(act: Act) -> str:
    """The statements that open a transaction's scope. Every value is an int or digits, checked again here."""
    read = ",".join(str(int(tenant)) for tenant in act.read_tenants)
    lines = [f"SET LOCAL app.tenant_id = '{int(act.tenant_id)}'", f"SET LOCAL app.read_tenants = '{read}'"]
    if act.division is not None:
        assert act.division.isascii() and act.division.isdigit(), "a division is digits"
        lines.append(f"SET LOCAL app.read_division = '{act.division}'")
        lines.append(f"SET LOCAL ROLE {OFFICE_ROLE}")
    return "; ".join(lines)


def open_scope(driver_connection: psycopg.Connection, act: Act) -> None:
    """Send the scope in one round trip, on a plain cursor: these few statements are ours and carry no input."""
    with psycopg.Cursor(driver_connection) as cursor:
        cursor.execute(scope_sql(act))
