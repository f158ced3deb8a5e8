"""What a division code is: its levels, its parent, whether one place lies within another.

A division code (统计用区划代码) is written without filling zeros, so that a place's code begins with the code of
every place above it: 41 河南省, 4101 郑州市, 410105 金水区, 410105001 经八路街道, 410105001003 a community. Decides
only whether a code can be one, and how two codes stand to each other; never whether such a place exists (the loaded
edition knows that), never reads a file or the database.
"""

from __future__ import annotations

from enum import Enum

from propmgr.kernel.errors import BadInput


class Level(Enum):
    """The five levels of the national statistical codes, from the widest to the narrowest.

    Source: 统计用区划代码和城乡划分代码编制规则 (国统字〔2009〕91号): 2 + 2 + 2 + 3 + 3 digits. The value is the
    word kept in the database.
    """

    PROVINCE = "province"  # 省、自治区、直辖市
    CITY = "city"  # 市、地区、自治州、盟
    DISTRICT = "district"  # 区、县、县级市、旗
    STREET = "street"  # 街道、镇、乡
    COMMUNITY = "community"  # 社区（居委会）、村（村委会）

    @property
    def code_length(self) -> int:
        """Digits of a code of this level: 2, 4, 6, 9 or 12."""
        return _CODE_LENGTHS[self]

    @property
    def above(self) -> Level | None:
        """The level one step wider; None over a province."""
        levels = list(Level)
        place = levels.index(self)
        return levels[place - 1] if place else None


_CODE_LENGTHS = {Level.PROVINCE: 2, Level.CITY: 4, Level.DISTRICT: 6, Level.STREET: 9, Level.COMMUNITY: 12}
_LEVELS = {length: level for level, length in _CODE_LENGTHS.items()}


def division_code(text: str) -> str:
    """`text` itself, if it has the form of a division code.

    Takes 2, 4, 6, 9 or 12 ASCII digits and nothing else: no spaces, no full-width digits (they look alike, and the same
    place would then be kept twice). Codes filled up with zeros to a fixed length, as the published tables print them
    (410105000000 for 410105), are refused for the same reason. Raises BadInput.
    """
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()):
        raise BadInput("A division code is written in the plain digits 0-9 without spaces, for example 410105001.")
    if len(text) not in _LEVELS:
        raise BadInput(
            "A division code has 2, 4, 6, 9 or 12 digits; this one has %(count)s. Look it up again.", count=len(text)
        )
    if _has_filling(text):
        raise BadInput(
            "No division has the code %(code)s: one part of it is all zeros. "
            "Leave off zeros that only fill a code up (410105, not 410105000000).",
            code=text,
        )
    return text


def level_of(code: str) -> Level:
    """The level a division code stands for, told by its length. Raises BadInput where `code` is none."""
    return _LEVELS[len(division_code(code))]


def parent_code(code: str) -> str | None:
    """The code of the place directly above: 410105001 -> 410105; None for a province. Raises BadInput.

    Also true where a level is only a formality: 110101 -> 1101 (市辖区), 419001 -> 4190 (省直辖县级行政区划),
    441900003 -> 441900 (东莞市, which has no districts).
    """
    above = level_of(code).above
    return code[: above.code_length] if above else None


def is_within(code: str, prefix: str) -> bool:
    """Whether the place `code` is the place `prefix` or lies within it.

    `prefix` must be a whole division code: an empty one would hold the whole country and "4" half of it, and this
    answer decides what an office may see. Raises BadInput where either is no division code.
    """
    return division_code(code).startswith(division_code(prefix))


def _has_filling(code: str) -> bool:
    """Whether one level's own digits are all zero. Only a district's may be: 东莞 441900 is a city without any."""
    begin = 0
    for level, end in _CODE_LENGTHS.items():
        if end > len(code):
            break
        if level is not Level.DISTRICT and not code[begin:end].strip("0"):
            return True
        begin = end
    return False
