"""Which edition of the division codes the house ships, where its files lie, and how they are read.

Decides the edition, its provinces and how deep each one goes. Never writes, never asks the database what is loaded
already, never judges the form of a code (`rules` does). Where the files come from: README.md in `FOLDER`.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from propmgr.kernel.errors import BadInput
from propmgr.places.rules import Level

#: The year the National Bureau of Statistics gave the edition; the last one it published with streets and communities.
EDITION = 2023

#: The day the codes describe, and the day they were published.
AS_OF = date(2023, 6, 30)
PUBLISHED = date(2023, 9, 11)

#: One file `<province>.csv.gz` for each of PROVINCES, and the README that tells their source.
FOLDER = Path(__file__).parent / "data" / f"divisions-{EDITION}"

#: First line of each file.
HEADER = ("code", "name")

#: Provinces of the edition. Hong Kong, Macau and Taiwan have no statistical codes and are not in it.
#: Written out, and not read from the folder, so that a file that went missing is noticed.
PROVINCES: tuple[str, ...] = (
    *("11", "12", "13", "14", "15"),  # 华北
    *("21", "22", "23"),  # 东北
    *("31", "32", "33", "34", "35", "36", "37"),  # 华东
    *("41", "42", "43", "44", "45", "46"),  # 中南
    *("50", "51", "52", "53", "54"),  # 西南
    *("61", "62", "63", "64", "65"),  # 西北
)

#: Provinces shipped down to the community; all others end at the street. The communities of the whole country would
#: add 4.1 MB, and the first users' city lies in Henan. To add one: name it here and run scripts/divisions_from_npm.
WITH_COMMUNITIES: frozenset[str] = frozenset({"41"})


def deepest_level(province_code: str) -> Level:
    """The narrowest level the file of this province holds. Raises BadInput for a province the edition has not."""
    return Level.COMMUNITY if _known(province_code) in WITH_COMMUNITIES else Level.STREET


def divisions_file(province_code: str) -> Path:
    """Where the file of this province lies. Raises BadInput for a province the edition has not."""
    return FOLDER / f"{_known(province_code)}.csv.gz"


def read_divisions(province_code: str) -> Iterator[tuple[str, str]]:
    """(code, name) of a province and of all its divisions, in the order of the codes as text.

    In that order each place comes after the one above it, so rows can be written as they are read and a load that was
    broken off goes on after the last code written. The unknown province is refused by the call itself (BadInput), not
    by the first row taken.
    """
    return _rows(divisions_file(province_code))


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        table = csv.reader(lines)
        header = tuple(next(table))
        assert header == HEADER, f"{path.name} begins with {header}"
        yield from ((code, name) for code, name in table)


def _known(province_code: str) -> str:
    # Looked up in the list before it becomes a part of a file name.
    if province_code not in PROVINCES:
        raise BadInput(
            "The division codes of %(edition)s have no province %(code)s; "
            "give its two digits, for example 41 for Henan.",
            edition=EDITION,
            code=province_code,
        )
    return province_code
