"""The templates as they are written: nothing inline, nothing from elsewhere, no word past the catalogues, real icons."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from propmgr.config import PROJECT

TEMPLATES = sorted((PROJECT / "templates").rglob("*.html"))
STYLES = sorted((PROJECT / "static" / "css").glob("*.css"))
ICONS = (PROJECT / "scripts" / "icons.txt").read_text().split()

#: What no template may hold, and why.
FORBIDDEN = {
    "inline style, which the policy refuses": r"\sstyle\s*=|<style",
    "an inline handler, which the policy refuses": r"<[^>]*\son[a-z]+\s*=",
    "a script without the answer's nonce": r"<script(?![^>]*\b(?:nonce=\"\{\{ nonce\(\) \}\}\"|src=\"\{\{ asset_url))",
    "an address of another host": r"(?:href|src|action)\s*=\s*[\"']?(?:[a-z]+:)?//",
    "a script as an address": r"javascript:",
    "a static file without its version": r"[\"']/static/",
    "text past the escaping": r"\|\s*safe\b|autoescape\s+false",
}
#: A form that sends must carry the token.
POST_FORM = re.compile(r"<form[^>]*method=\"post\"[^>]*>.*?</form>", re.DOTALL | re.IGNORECASE)


def faults(text: str) -> list[str]:
    """What is wrong with a template's text."""
    found = [why for why, pattern in FORBIDDEN.items() if re.search(pattern, text, re.IGNORECASE)]
    if any("csrf_token()" not in form for form in POST_FORM.findall(text)):
        found.append("a form without the token of its session")
    if re.search("[\u4e00-\u9fff]", _visible(text)):
        found.append("Chinese past the catalogue")
    if re.search(r">[^<>{}]*[A-Za-z]{2,}[^<>{}]*<", _visible(text)):
        found.append("English past the catalogue")
    return found


def _visible(text: str) -> str:
    """Without comments, expressions, statements, and the brand mark, which is a drawing."""
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", text, flags=re.DOTALL)
    return re.sub(r'<span class="mark"[^>]*>[^<]*</span>', "", text)


def test_there_are_templates() -> None:
    assert len(TEMPLATES) >= 5 and len(STYLES) >= 4 and len(ICONS) > 10


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(PROJECT / "templates")))
def test_a_template_is_clean(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("{#"), "a template opens with what it is"
    assert faults(text) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('<p style="color:red">', "inline style, which the policy refuses"),
        ("<style>p{}</style>", "inline style, which the policy refuses"),
        ('<button onclick="x()">', "an inline handler, which the policy refuses"),
        ("<svg\n onload = x>", "an inline handler, which the policy refuses"),
        ("<script>x()</script>", "a script without the answer's nonce"),
        ('<script src="https://cdn.example/x.js"></script>', "an address of another host"),
        ("<img src=//cdn.example/x.png>", "an address of another host"),
        ('<a href="javascript:x">', "a script as an address"),
        ('<link href="/static/css/base.css">', "a static file without its version"),
        ("{{ name | safe }}", "text past the escaping"),
        ('<form method="post" action="/x"></form>', "a form without the token of its session"),
        ("<p>欠费</p>", "Chinese past the catalogue"),
        ("<p>Arrears</p>", "English past the catalogue"),
    ],
)
def test_each_fault_is_found(text: str, why: str) -> None:
    assert why in faults(text)


def icons_used() -> set[str]:
    """Names that templates and pages hand to the icon macro."""
    used = set()
    for path in TEMPLATES:
        text = path.read_text("utf-8")
        used |= set(re.findall(r"icon\(\"([a-z0-9-]+)\"\)", text)) | set(
            re.findall(r"tag\(\"\w+\", \"([a-z0-9-]+)\"", text)
        )
        used |= set(re.findall(r"\"(?:ok|warn|bad|info|plain)\": \"([a-z0-9-]+)\"", text))
    from propmgr.web.kit.failures import WORDS
    from propmgr.web.platform.status import STATES

    return used | {words.icon for words in WORDS.values()} | {sign for _state, _word, sign, _tone in STATES}


def test_every_icon_is_in_the_sprite() -> None:
    assert len(icons_used()) > 8
    assert icons_used() <= set(ICONS)


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_a_style_sheet_keeps_to_old_browsers_and_to_this_house(path: Path) -> None:
    """The baseline is Chrome 100: what is newer would be skipped without a word."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
    newer = r"color-mix|oklch|light-dark|@container|@import|@layer|\bpopover\b|https?:|//|:has\(|letter-spacing|italic|gradient"
    assert re.findall(newer, text) == []
    assert "&" not in text, "rules are not nested"
    for line in text.splitlines():
        assert line.count(";") <= 1, f"one declaration a line: {line}"
    if path.name not in ("tokens.css", "print.css"):
        assert set(re.findall(r"#[0-9a-f]{3,8}\b", text)) <= {"#fff"}, "colours come from tokens.css"
