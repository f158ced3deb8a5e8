"""Writing the audit log. Decides the form of a row; never whether the act was allowed."""

from __future__ import annotations

from propmgr.audit.models import AuditRecord
from propmgr.database.unit_of_work import current_act, mark_audited, session
from propmgr.kernel.act import Act

Detail = str | int | bool | None | list[str] | list[int]


def record(act: Act, what: str, object_kind: str, object_id: int | None, **details: Detail) -> None:
    """Add the act's row. `what` is `slice.verb_noun`; `details` are ids, codes, counts and fen, never secrets."""
    assert act.tenant_id == current_act().tenant_id, "an audit row lies in the organisation that was acted on"
    slice_name, _, verb_noun = what.partition(".")
    assert slice_name and "_" in verb_noun, "name the command: slice.verb_noun"
    session().add(
        AuditRecord(
            tenant_id=act.tenant_id,
            at=act.at,
            actor_kind=act.actor.kind,
            actor_id=act.actor.id,
            act=what,
            object_kind=object_kind,
            object_id=object_id,
            request_id=act.request_id,
            details=details,
        )
    )
    mark_audited()
