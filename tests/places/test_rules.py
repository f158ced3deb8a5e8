"""The form of division codes: what is taken, what is refused, and how two codes stand to each other.

Decides nothing about which places exist: that is test_data.
"""

from __future__ import annotations

import pytest

from propmgr.kernel.errors import BadInput
from propmgr.places.rules import Level, division_code, is_within, level_of, parent_code

HENAN, ZHENGZHOU, JINSHUI, JINGBALU, SPORT = "41", "4101", "410105", "410105001", "410105001003"
DONGGUAN = "441900"  # a city without districts: the district's digits are 00


@pytest.mark.parametrize(
    ("code", "level"),
    [
        (HENAN, Level.PROVINCE),
        (ZHENGZHOU, Level.CITY),
        (JINSHUI, Level.DISTRICT),
        (JINGBALU, Level.STREET),
        (SPORT, Level.COMMUNITY),
        (DONGGUAN, Level.DISTRICT),
        ("441900003", Level.STREET),
    ],
)
def test_the_length_tells_the_level(code: str, level: Level) -> None:
    assert division_code(code) == code
    assert level_of(code) is level
    assert len(code) == level.code_length


def test_levels_run_from_the_widest_to_the_narrowest() -> None:
    assert [level.code_length for level in Level] == [2, 4, 6, 9, 12]
    assert [level.above for level in Level] == [None, *list(Level)[:-1]]


@pytest.mark.parametrize(
    ("code", "above"),
    [
        (HENAN, None),
        (ZHENGZHOU, HENAN),
        (JINSHUI, ZHENGZHOU),
        (JINGBALU, JINSHUI),
        (SPORT, JINGBALU),
        ("110101", "1101"),
        ("419001", "4190"),
        ("441900003", DONGGUAN),
        (DONGGUAN, "4419"),
    ],
)
def test_the_parent_is_the_code_cut_by_one_level(code: str, above: str | None) -> None:
    assert parent_code(code) == above


@pytest.mark.parametrize(
    ("code", "prefix", "within"),
    [
        (SPORT, HENAN, True),
        (SPORT, JINGBALU, True),
        (JINGBALU, JINGBALU, True),  # a place lies within itself: an office sees its own street
        (JINSHUI, JINGBALU, False),  # the wider never lies within the narrower
        (SPORT, "410105002", False),
        (JINSHUI, "4104", False),
        ("410402", "410105", False),
    ],
)
def test_within(code: str, prefix: str, within: bool) -> None:
    assert is_within(code, prefix) is within


@pytest.mark.parametrize("prefix", ["", "4", "410", "41010", "41010500", "41%", " 41"])
def test_a_part_of_a_code_is_no_prefix(prefix: str) -> None:
    """Would it count, an empty division would open the whole country to an office."""
    with pytest.raises(BadInput):
        is_within(SPORT, prefix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "41 ",
        " 41",
        "41\n",
        "４１",  # full-width digits
        "4１",
        "٤١",  # digits to str.isdigit, but not ours
        "4²",
        "四一",
        "4a",
        "+41",
        "-1",
        "4.0",
        "41_1",
        "郑州",
        None,
        41,
        b"41",
    ],
)
def test_only_plain_digits_are_taken(text: str) -> None:
    with pytest.raises(BadInput, match="plain digits 0-9"):
        division_code(text)


@pytest.mark.parametrize("length", [1, 3, 5, 7, 8, 10, 11, 13, 24])
def test_other_lengths_are_refused_and_counted(length: int) -> None:
    with pytest.raises(BadInput) as refused:
        division_code("1" * length)
    assert refused.value.params == {"count": length}


@pytest.mark.parametrize(
    "text",
    [
        "00",
        "4100",
        "410000",
        "410000000",
        "410105000",
        "410105000000",
        "410105001000",
        "441900000",
        "441900000000",
        "410000001",
    ],
)
def test_codes_filled_up_with_zeros_are_refused(text: str) -> None:
    """410105000000 is how the published tables print 410105; taken as a community it would be the place twice."""
    with pytest.raises(BadInput, match="Leave off zeros") as refused:
        division_code(text)
    assert refused.value.params == {"code": text}


@pytest.mark.parametrize("text", ["", "4", "４１", "410105000"])
def test_every_function_refuses_what_is_no_code(text: str) -> None:
    for ask in (level_of, parent_code, lambda code: is_within(code, HENAN)):
        with pytest.raises(BadInput):
            ask(text)
