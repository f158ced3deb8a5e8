"""Sealing the audit log: the worker adds a link to each organisation's chain. Decides how much one link covers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import text

from propmgr.audit.heads import HeadFiles
from propmgr.audit.queries import GENESIS, ROW_TEXT, Head
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.kernel.act import SHANGHAI, system_act

#: Rows in one link. A row is about 300 bytes of text under the hash, so one link stays below 20 MB.
LINK_ROWS = 50_000

_LAST = text("select id, head from audit_seal where tenant_id = :tenant order by id desc limit 1")

_SEAL = text(
    f"""
    with taken as (
        update audit_record set seal_no = :number
        where tenant_id = :tenant and id in (
            select id from audit_record where tenant_id = :tenant and seal_no is null order by id limit :most)
        returning *)
    insert into audit_seal (tenant_id, id, records, sealed_at, previous, head)
    select :tenant, :number, count(*), :at, :previous,
           sha256(:previous || convert_to(string_agg({ROW_TEXT}, E'\\n' order by id), 'UTF8'))
    from taken having count(*) > 0
    returning records, encode(head, 'hex')
    """  # noqa: S608 - constants of this house only
)


def seal_all(tenant_ids: Iterable[int], files: HeadFiles) -> int:
    """Seal what is unsealed in each organisation, then keep the new heads outside. Returns the links made.

    The first time on a day, and where the folder was lost, the heads of all chains are kept, new or not. Heads are
    written after the commits: a kill between the two leaves the outside behind, never ahead.
    """
    newest: dict[int, Head] = {}
    made = 0
    today = datetime.now(SHANGHAI).date()
    keep_all = not files.has(today)
    for tenant_id in tenant_ids:
        if keep_all and (head := _last_head(tenant_id)) is not None:
            newest[tenant_id] = head
        while (link := _seal_once(tenant_id)) is not None:
            newest[tenant_id], records = link
            made += 1
            if records < LINK_ROWS:
                break
    if newest:
        files.keep(today, newest.values())
    return made


def _last_head(tenant_id: int) -> Head | None:
    with unit_of_work(system_act(tenant_id)):
        last = session().execute(_LAST, {"tenant": tenant_id}).one_or_none()
        return None if last is None else Head(tenant_id, last.id, bytes(last.head).hex())


def _seal_once(tenant_id: int) -> tuple[Head, int] | None:
    """One link for one organisation, with the rows it covers; None when nothing is unsealed."""
    with unit_of_work(system_act(tenant_id)) as act:
        last = session().execute(_LAST, {"tenant": tenant_id}).one_or_none()
        number = 1 if last is None else last.id + 1
        values = {
            "tenant": tenant_id,
            "number": number,
            "most": LINK_ROWS,
            "at": act.at,
            "previous": GENESIS if last is None else bytes(last.head),
        }
        row = session().execute(_SEAL, values).one_or_none()
        return None if row is None else (Head(tenant_id, number, row[1]), row[0])
