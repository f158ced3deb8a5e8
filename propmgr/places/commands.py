"""Writing places. Decides how an edition of the division codes meets what is there; never removes a division."""

from __future__ import annotations

from sqlalchemy import text

from propmgr.audit.commands import record
from propmgr.database.unit_of_work import session
from propmgr.kernel.act import Act
from propmgr.places.edition import EDITION, read_divisions
from propmgr.places.rules import parent_code

_TAKE = text(
    """
    insert into division as d (code, name, parent_code, since_edition)
    select code, name, parent, :edition
    from unnest(cast(:codes as text[]), cast(:names as text[]), cast(:parents as text[])) as listed (code, name, parent)
    on conflict (code) do update set name = excluded.name, gone_edition = null
    where d.name <> excluded.name or d.gone_edition is not null
    returning (xmax = 0) as added
    """
)

_MARK_GONE = text(
    """
    update division set gone_edition = :edition
    where code >= :province and code < :province || 'A' and gone_edition is null and since_edition < :edition
      and code <> all(cast(:codes as text[]))
    returning code
    """
)


def load_province(act: Act, province: str) -> int:
    """Take one province of the shipped edition: new codes are added, new names taken, missing codes marked as gone.

    Returns the rows changed; 0 when everything is already so. Raises BadInput for a province the edition lacks.
    """
    rows = list(read_divisions(province))
    values = {
        "edition": EDITION,
        "province": province,
        "codes": [code for code, _ in rows],
        "names": [name for _, name in rows],
        "parents": [parent_code(code) for code, _ in rows],
    }
    taken = session().execute(_TAKE, values).scalars().all()
    gone = session().execute(_MARK_GONE, values).all()
    added = sum(taken)
    record(
        act,
        "places.load_province",
        "division",
        int(province),
        edition=EDITION,
        added=added,
        renamed=len(taken) - added,
        gone=len(gone),
    )
    return len(taken) + len(gone)
