"""The Chinese catalogue: every word people read, none that nobody says any more, and places that match.

The words are extracted afresh, so that a new sentence without a translation is a red build. babel.cfg tells how to
bring the catalogue up to date.
"""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from propmgr.config import PROJECT
from propmgr.kernel import errors
from propmgr.web.kit.languages import CATALOGUES, LANGUAGES

#: What marks a sentence, besides gettext's own names: `msgid`, and the errors that people read.
MARKS = ("msgid", "BadInput", "NotFound", "Forbidden", "Conflict", "NotReady", "ConfigError")
PLACE = re.compile(r"%\((\w+)\)([sd])")


@cache
def extracted() -> frozenset[str | tuple[str, ...]]:
    """Every sentence in the sources, a plural as the pair of its forms."""
    with (PROJECT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    keywords = {**DEFAULT_KEYWORDS, **dict.fromkeys(MARKS)}
    found = extract_from_dir(PROJECT, methods, options, keywords, directory_filter=_is_ours)
    return frozenset(message for _file, _line, message, _comments, _context in found)


def _is_ours(folder: str) -> bool:
    return not re.search(r"/(\.|node_modules|instance|static|assets)", folder.removeprefix(str(PROJECT)))


@cache
def catalogue() -> Catalog:
    """The Chinese words as they are kept."""
    with (CATALOGUES / "zh_CN" / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale="zh_CN")


def forms(words: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """All forms of a sentence or of its translation."""
    return (words,) if isinstance(words, str) else tuple(words)


def faults(sentence: str | tuple[str, ...], translation: str | tuple[str, ...]) -> list[str]:
    """What is wrong with one translation."""
    found = []
    places = {place for form in forms(sentence) for place in PLACE.findall(form)}
    for form in forms(translation):
        if not form.strip():
            found.append("empty")
        if set(PLACE.findall(form)) != places:
            found.append("other places")
        if "%" in PLACE.sub("", form):
            found.append("a stray %")
        if re.search(r"[\u4e00-\u9fff][,;:!?]|[,;:!?][\u4e00-\u9fff]|[\u4e00-\u9fff]\.(?:\s|$)", form):
            found.append("latin punctuation in Chinese")
        # The places are numbers, codes and names in latin letters wherever they are not between Chinese quotes.
        if re.search(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]", PLACE.sub("", form)):
            found.append("no space between Chinese and latin")
        if re.search(r"[\u4e00-\u9fff]%\(|\)s[\u4e00-\u9fff]|\)d[\u4e00-\u9fff]", form):
            found.append("no space around a place")
    return found


def test_nothing_is_missing() -> None:
    assert len(extracted()) > 60
    kept = {message.id for message in catalogue() if message.id}
    assert sorted(map(str, extracted() - kept)) == []


def test_nothing_is_stale() -> None:
    kept = {message.id for message in catalogue() if message.id}
    assert sorted(map(str, kept - extracted())) == []
    assert not catalogue().obsolete


def test_nothing_is_fuzzy() -> None:
    assert [message.id for message in catalogue() if message.id and message.fuzzy] == []


def test_every_translation_is_sound() -> None:
    found = {message.id: faults(message.id, message.string) for message in catalogue() if message.id}
    assert {sentence: why for sentence, why in found.items() if why} == {}


@pytest.mark.parametrize(
    ("sentence", "translation", "why"),
    [
        ("Done", "", "empty"),
        ("%(count)s runs", "个任务", "other places"),
        ("%(count)s runs", "%(number)s 个任务", "other places"),
        ("%(count)d runs", "%(count)s 个任务", "other places"),
        (("run", "%(count)s runs"), ["%(count)s 个", "个"], "other places"),
        ("Half", "50% 的", "a stray %"),
        ("Wait, please.", "请稍等.", "latin punctuation in Chinese"),
        ("Wait, please.", "请,稍等。", "latin punctuation in Chinese"),
        ("31 provinces", "31个省份", "no space between Chinese and latin"),
        ("%(count)s runs", "%(count)s个", "no space around a place"),
    ],
)
def test_each_fault_is_found(sentence: str, translation: str, why: str) -> None:
    assert why in faults(sentence, translation)


def test_the_extraction_sees_every_kind_of_mark() -> None:
    """One known sentence of each: a template's, a page's, an error's, a plural."""
    assert {"Skip to the content", "Web service", "There is no such run.", ("run", "runs")} <= extracted()


def test_every_error_of_the_house_is_marked_for_extraction() -> None:
    kinds = {
        kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__
    }
    assert kinds - {"PropmgrError"} == set(MARKS) - {"msgid"}


def test_every_error_is_raised_with_a_sentence_that_can_be_extracted() -> None:
    """A sentence put together at run time would never be found in the catalogue."""
    loose = []
    for path in (PROJECT / "propmgr").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if name in MARKS and not (node.args and isinstance(node.args[0], ast.Constant)):
                loose.append(f"{path.relative_to(PROJECT)}:{node.lineno}")
    # The list of all faults of the settings is printed at the command line only.
    assert [place for place in loose if not place.startswith("propmgr/config.py:")] == []


def test_each_language_offered_is_there() -> None:
    """English is the msgids themselves; every other language has its catalogue."""
    assert {path.name for path in CATALOGUES.iterdir() if path.is_dir()} == set(LANGUAGES) - {"en"}
