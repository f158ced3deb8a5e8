"""Reading places. Decides how divisions are listed and named in full; never writes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from propmgr.database.unit_of_work import session
from propmgr.places.edition import PROVINCES
from propmgr.places.models import Division
from propmgr.places.rules import Level, division_code, level_of


@dataclass(frozen=True, slots=True)
class Place:
    """One division; `full_name` runs from the province down to it."""

    code: str
    name: str
    level: Level
    full_name: str
    gone: bool


def division(code: str) -> Place | None:
    """The division of that code, or None. Raises BadInput where it cannot be a code."""
    chain = _chain(division_code(code))
    return chain[-1] if chain and chain[-1].code == code else None


def divisions_within(code: str | None) -> list[Place]:
    """The divisions directly below `code` (None: the provinces) that are still listed, by code."""
    above = _chain(division_code(code)) if code is not None else []
    prefix = above[-1].full_name + " " if above else ""
    query = select(Division).where(Division.gone_edition.is_(None)).order_by(Division.code)
    query = query.where(Division.parent_code == code if code is not None else Division.parent_code.is_(None))
    return [_seen(row, prefix + row.name) for row in session().scalars(query)]


def missing_provinces() -> list[str]:
    """Provinces of the shipped edition that have no row yet; each is loaded in one commit."""
    present = set(session().scalars(select(Division.code).where(func.length(Division.code) == 2)))
    return [code for code in PROVINCES if code not in present]


def divisions_count() -> int:
    """How many divisions are listed in the current state."""
    query = select(func.count()).select_from(Division).where(Division.gone_edition.is_(None))
    return session().scalars(query).one()


def _chain(code: str) -> list[Place]:
    """The divisions from the province down to `code`."""
    lengths = [level.code_length for level in Level if level.code_length <= len(code)]
    codes = [code[:length] for length in lengths]
    names: list[str] = []
    chain = []
    for row in session().scalars(select(Division).where(Division.code.in_(codes)).order_by(Division.code)):
        names.append(row.name)
        chain.append(_seen(row, " ".join(names)))
    return chain


def _seen(row: Division, full_name: str) -> Place:
    return Place(row.code, row.name, level_of(row.code), full_name, row.gone_edition is not None)
