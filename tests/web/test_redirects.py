"""Where an answer may send the browser: nowhere but to paths of this house."""

from __future__ import annotations

import re
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from propmgr.web.kit.redirects import own_path

HOUSE = "https://wy.example.cn/a/b"

FOREIGN = [
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/%09/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/%0a/evil.example",
    "/%0d%0aSet-Cookie:x=y",
    "/%2f/evil.example",
    "/%2fevil.example",
    "/%252fevil.example",
    "/%25252fevil.example",
    "/%2525252525252fevil.example",
    "/%5cevil.example",
    "/%255cevil.example",
    "/%2509/evil.example",
    "%2f%2fevil.example",
    "https://evil.example",
    "https:evil.example",
    "http:///evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    "//",
    " /status",
    "/ status",
    "\u00a0//evil.example",
    "/\u0000",
    "/\ud800",
    "//[::1",
    "",
    "/" + "a" * 2001,
]
OWN = [
    "/",
    "/status",
    "/status?a=1&b=//x",
    "/bills/7?next=%2F%2Fx#part",
    "/%E7%8A%B6%E6%80%81",
    "/a//b",
    "/100%25",
    "/状态",
]

pieces = st.lists(
    st.sampled_from(
        [
            "/",
            "\\",
            "%2f",
            "%5c",
            "%09",
            "%252f",
            "\t",
            "\n",
            "\r",
            " ",
            ":",
            "@",
            "?",
            "#",
            "http:",
            "evil.example",
            "a",
        ]
    ),
    max_size=10,
).map("".join)


def browsers_host(target: str) -> str | None:
    """The host a browser goes to: it drops tabs and line ends, trims, and takes a backslash for a slash."""
    seen = re.sub(r"[\t\r\n]", "", target.strip("".join(map(chr, range(33))))).replace("\\", "/")
    seen = re.sub(r"^//+", "//", seen)
    return urlsplit(urljoin(HOUSE, seen)).hostname


@pytest.mark.parametrize("target", FOREIGN)
def test_foreign_targets_are_refused(target: str) -> None:
    assert own_path(target) == "/"
    assert own_path(target, otherwise="/status") == "/status"


@pytest.mark.parametrize("target", OWN)
def test_own_paths_are_taken_as_they_are(target: str) -> None:
    assert own_path(target) == target


@given(pieces | st.text(max_size=20) | st.text(max_size=20).map("/".__add__))
@example("/%09/evil.example")
def test_whatever_is_given_the_browser_stays_here(target: str) -> None:
    taken = own_path(target)
    for _ in range(3):
        assert taken.startswith("/") and browsers_host(taken) == "wy.example.cn", taken
        path, mark, rest = taken.partition("?")
        taken = unquote(path) + mark + rest


def test_nothing_given_is_the_start_page() -> None:
    assert own_path(None) == "/"


@pytest.mark.parametrize("target", [*FOREIGN, *OWN])
def test_the_language_form_sends_nobody_away(bare: Flask, target: str) -> None:
    client = bare.test_client()
    answer = choose(client, "en", target)
    assert answer.status_code == 303
    location = answer.headers["Location"]
    assert browsers_host(location) == "wy.example.cn" and (location == "/") is (own_path(target) == "/")


def choose(client: FlaskClient, language: str, target: str) -> TestResponse:
    """Send the form of the top bar."""
    token = re.findall(r'name="csrf_token" value="([^"]+)"', client.get("/nowhere").text)[0]
    form = {"csrf_token": token, "language": language, "next": target.encode("utf-8", "replace")}
    return client.post("/language", data=form)
