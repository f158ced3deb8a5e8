"""Reading the audit log and proving its chain. Decides what the hash covers; never writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

GENESIS = bytes(32)

#: The text of one row under the hash. A JSON array keeps fields apart whatever they contain; instants are in UTC.
ROW_TEXT = """jsonb_build_array(id, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), actor_kind, actor_id,
    act, object_kind, object_id, request_id, details)::text"""


@dataclass(frozen=True, slots=True)
class Head:
    """The last link of one organisation's chain: how long it is, and the hash that stands for all of it."""

    tenant_id: int
    number: int
    head: str


_LINKS = text(
    f"""
    with made as (
        select tenant_id, seal_no, count(*) as records,
               string_agg({ROW_TEXT}, E'\\n' order by id) as body
        from audit_record where seal_no is not null group by tenant_id, seal_no)
    select coalesce(s.tenant_id, m.tenant_id) as tenant_id, coalesce(s.id, m.seal_no) as number,
           case when s.id is null then 'rows name a seal that does not exist'
                when m.seal_no is null then 'all rows of the seal are gone'
                when s.records <> m.records then 'the seal covered another number of rows'
                when s.previous is distinct from coalesce(
                    lag(s.head) over (partition by s.tenant_id order by s.id), decode(repeat('00', 32), 'hex'))
                    then 'the seal does not follow the one before'
                when s.id <> row_number() over (partition by s.tenant_id order by s.id)
                    then 'a seal is missing'
                when s.head <> sha256(s.previous || convert_to(m.body, 'UTF8')) then 'sealed rows were changed'
           end as fault
    from audit_seal s full join made m on m.tenant_id = s.tenant_id and m.seal_no = s.id
    order by 1, 2
    """  # noqa: S608 - constants of this file only
)


def broken_links(connection: Connection) -> tuple[int, list[str]]:
    """Recompute every chain from its rows. Returns (links checked, faults). `connection` reads all organisations."""
    checked, faults = 0, []
    for tenant_id, number, fault in connection.execute(_LINKS):
        checked += 1
        if fault:
            faults.append(f"organisation {tenant_id}, seal {number}: {fault}")
    return checked, faults


def heads(connection: Connection) -> Iterator[Head]:
    """The newest head of each chain, by organisation."""
    rows = connection.execute(
        text(
            "select distinct on (tenant_id) tenant_id, id, encode(head, 'hex') from audit_seal"
            " order by tenant_id, id desc"
        )
    )
    for tenant_id, number, head in rows:
        yield Head(tenant_id, number, head)


def head_at(connection: Connection, tenant_id: int, number: int) -> str | None:
    """The head of one link, or None where the chain is shorter than that."""
    return connection.execute(
        text("select encode(head, 'hex') from audit_seal where tenant_id = :t and id = :n"),
        {"t": tenant_id, "n": number},
    ).scalar_one_or_none()
