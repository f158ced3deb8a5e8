"""Which language a page speaks: the person's choice, the browser's wish, Chinese."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask_babel import force_locale, gettext

from propmgr.web.kit.languages import COOKIE, language
from tests.web.test_redirects import choose


def spoken(answer_text: str) -> str:
    """The language the page says it is in."""
    return re.findall(r'<html lang="([^"]+)">', answer_text)[0]


@pytest.mark.parametrize(
    ("wish", "got"),
    [
        (None, "zh-CN"),
        ("", "zh-CN"),
        ("zh", "zh-CN"),
        ("zh-Hant-TW,en;q=0.5", "zh-CN"),
        ("en", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("fr,de;q=0.8", "zh-CN"),
        ("fr,en;q=0.3,zh;q=0.2", "en"),
        ("en;q=0.4,zh-CN;q=0.9", "zh-CN"),
        ("en;q=0", "zh-CN"),
        ("*", "zh-CN"),
        ("english", "zh-CN"),
        (";;,=", "zh-CN"),
    ],
)
def test_the_browsers_wish(bare: Flask, wish: str | None, got: str) -> None:
    headers = {} if wish is None else {"Accept-Language": wish}
    assert spoken(bare.test_client().get("/nowhere", headers=headers).text) == got


def test_the_persons_choice_wins_and_is_remembered(bare: Flask) -> None:
    client = bare.test_client()
    chinese = {"Accept-Language": "zh-CN"}
    answer = choose(client, "en", "/status?a=1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/status?a=1")
    (cookie,) = [line for line in answer.headers.getlist("Set-Cookie") if line.startswith(COOKIE)]
    assert {"HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=31536000"} <= set(cookie.split("; "))
    assert spoken(client.get("/nowhere", headers=chinese).text) == "en"
    choose(client, "zh_CN", "/")
    assert spoken(client.get("/nowhere", headers={"Accept-Language": "en"}).text) == "zh-CN"


@pytest.mark.parametrize("value", ["fr", "", "../../etc", "zh", "EN", "zh_CN\u0000"])
def test_other_languages_are_refused(bare: Flask, value: str) -> None:
    answer = choose(bare.test_client(), value, "/")
    assert answer.status_code == 422 and COOKIE not in str(answer.headers.getlist("Set-Cookie"))
    client = bare.test_client()
    client.set_cookie(COOKIE, value.replace("\u0000", ""))
    assert spoken(client.get("/nowhere", headers={"Accept-Language": "en"}).text) == (
        "en" if value != "zh_CN\u0000" else "zh-CN"
    )


def test_a_page_offers_the_other_language_and_the_way_back_to_itself(bare: Flask) -> None:
    page = bare.test_client().get("/no/where?a=1&b=%E4%B8%AD").text
    assert re.findall(r'<button[^>]*name="language" value="(\w+)"', page) == ["en"]
    assert 'name="next" value="/no/where?a=1&amp;b=%E4%B8%AD"' in page
    assert 'name="next" value="/"' in bare.test_client().post("/nowhere").text


def test_work_without_a_request_speaks_the_default_unless_told_otherwise(bare: Flask) -> None:
    with bare.app_context():
        assert language() == "zh_CN"
        with force_locale("en"):
            assert language() == "en" and gettext("Status") == "Status"
    with bare.app_context():
        assert gettext("Status") == "运行状态"
