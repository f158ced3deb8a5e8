"""What is answered when a request fails: each status, page and JSON, both languages, never the error's own text."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient
from jinja2 import TemplateError
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.test import TestResponse

from propmgr.kernel.errors import BadInput, ConfigError, Conflict, Forbidden, NotFound, NotReady
from propmgr.web.kit.failures import WORDS
from tests.web.conftest import Lines

SECRET = "李四 13800138000 postgresql://app:s3cret@10.0.0.1/db"


class ReadOnly(Exception):
    """As psycopg reports a server that may only be read."""

    sqlstate = "25006"


def raising(error: Exception) -> Callable[[], str]:
    """A view that fails like this."""

    def view() -> str:
        raise error

    return view


FAILURES: dict[str, tuple[Exception, int]] = {
    "input": (BadInput("No bill %(bill)s.", field="bill", bill="<b>7</b>"), 422),
    "absent": (NotFound("There is no such run."), 404),
    "forbidden": (Forbidden("You may not open this page"), 403),
    "conflict": (Conflict("This run has already ended."), 409),
    "not_ready": (NotReady("The database cannot be reached."), 503),
    "config": (ConfigError(SECRET), 500),
    "lost": (OperationalError(SECRET, {"name": SECRET}, Exception(SECRET)), 503),
    "cut": (DBAPIError(SECRET, {}, Exception(SECRET), connection_invalidated=True), 503),
    "read_only": (DBAPIError(SECRET, {}, ReadOnly(SECRET)), 503),
    "pool": (PoolTimeoutError(SECRET), 503),
    "double": (IntegrityError(SECRET, {"name": SECRET}, Exception(SECRET)), 500),
    "bug": (RuntimeError(SECRET), 500),
    "template": (TemplateError(SECRET), 500),
    "key": (KeyError(SECRET), 500),
}


@pytest.fixture
def client(bare: Flask) -> FlaskClient:
    """A browser of an app whose routes fail in every way, and whose database is away."""
    for name, (error, _status) in FAILURES.items():
        bare.add_url_rule(f"/fail/{name}", f"fail_{name}", raising(error))
    bare.add_url_rule("/abort/<int:status>", "fail_abort", lambda status: abort(status, SECRET))
    return bare.test_client()


def assert_tells_nothing(answer: TestResponse) -> None:
    for part in (*SECRET.split(), "s3cret", "Traceback", "Error(", "site-packages", "File &#34;", 'File "'):
        assert part not in answer.text, part


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("status", sorted(WORDS))
def test_each_status_has_its_page_in_both_languages(client: FlaskClient, status: int, language: str) -> None:
    answer = client.get(f"/abort/{status}", headers={"Accept-Language": language})
    assert answer.status_code == status
    assert answer.content_type == "text/html; charset=utf-8"
    assert f'<html lang="{language}">' in answer.text
    assert_tells_nothing(answer)
    (title,) = re.findall(r"<h1>(.+)</h1>", answer.text)
    assert (title == WORDS[status].title) is (language == "en")
    assert bool(re.search("[\u4e00-\u9fff]", title)) is (language == "zh-CN")
    assert f"<code>{answer.headers['X-Request-ID']}</code>" in answer.text


@pytest.mark.parametrize("status", sorted(WORDS))
def test_programs_get_the_same_as_json(client: FlaskClient, status: int) -> None:
    answer = client.get(f"/abort/{status}", headers={"Accept": "application/json", "Accept-Language": "en"})
    assert answer.status_code == status and answer.is_json
    assert_tells_nothing(answer)
    assert answer.json == {
        "error": {
            "status": status,
            "title": WORDS[status].title,
            "message": WORDS[status].advice,
            "reference": answer.headers["X-Request-ID"],
        }
    }


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/json, text/html;q=0.5", True),
        ("text/html, application/json", False),
        ("", False),
        (";;q=,", False),
    ],
)
def test_json_is_for_those_who_prefer_it(client: FlaskClient, accept: str, json: bool) -> None:
    assert client.get("/nowhere", headers={"Accept": accept}).is_json is json


@pytest.mark.parametrize("status", [401, 406, 415, 418, 431, 501, 502, 504])
def test_a_status_without_words_of_its_own_still_has_a_page(client: FlaskClient, status: int) -> None:
    answer = client.get(f"/abort/{status}")
    assert answer.status_code == status and "<h1>" in answer.text
    assert_tells_nothing(answer)


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_each_kind_of_error_has_its_status_and_tells_nothing(
    client: FlaskClient, name: str, accept: str, lines: Lines
) -> None:
    answer = client.get(f"/fail/{name}", headers={"Accept": accept})
    status = FAILURES[name][1]
    assert answer.status_code == status
    assert_tells_nothing(answer)
    assert (answer.headers.get("Retry-After") == "30") is (status == 503)
    logged = [line for line in lines() if str(line["event"]).startswith("request.")]
    assert len(logged) == (status >= 500)
    for line in logged:
        assert line["request_id"] == answer.headers["X-Request-ID"]
        assert not set(SECRET.split()) & set(re.split(r'[\s"]', str(line)))


def test_an_error_of_ours_is_said_in_the_language_of_the_reader(client: FlaskClient) -> None:
    chinese = client.get("/fail/conflict")
    assert "这个任务已经结束。" in chinese.text
    english = client.get("/fail/conflict", headers={"Accept-Language": "en", "Accept": "application/json"})
    assert english.json is not None and english.json["error"]["message"] == "This run has already ended."


def test_what_was_typed_comes_back_as_text(client: FlaskClient) -> None:
    assert "No bill &lt;b&gt;7&lt;/b&gt;." in client.get("/fail/input").text
    error = client.get("/fail/input", headers={"Accept": "application/json"}).json
    assert error is not None and error["error"]["field"] == "bill"


def test_what_the_protocol_asks_for_is_kept(client: FlaskClient) -> None:
    assert set(client.delete("/status").headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert client.head("/fail/bug").data == b""
    assert client.get("/status/").status_code == 404


def test_the_page_needs_no_template(client: FlaskClient, bare: Flask, lines: Lines) -> None:
    def broken() -> None:
        raise RuntimeError(SECRET)

    bare.jinja_env.globals["this_path"] = broken
    for language, word in (("zh-CN", "没有这个页面"), ("en", "There is no such page")):
        answer = client.get("/nowhere", headers={"Accept-Language": language})
        assert answer.status_code == 404 and f"<h1>{word}</h1>" in answer.text
        assert f"<code>{answer.headers['X-Request-ID']}</code>" in answer.text
        assert "<link" not in answer.text
        assert_tells_nothing(answer)
    assert [line["event"] for line in lines() if line["level"] == "error"] == ["failure.template"] * 2


def test_the_page_needs_no_catalogue(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_params: object) -> str:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("propmgr.web.kit.failures.gettext", broken)
    monkeypatch.setattr("propmgr.web.kit.failures.html_language", broken)
    monkeypatch.setattr("propmgr.web.kit.failures.render_template", broken)
    answer = client.get("/fail/input")
    assert answer.status_code == 422 and "What was entered cannot be taken" in answer.text
    assert_tells_nothing(answer)


def test_a_failure_after_the_view_is_answered_as_well(bare: Flask, lines: Lines) -> None:
    bare.add_url_rule("/pay/<token>", "pay", lambda token: "")
    bare.after_request_funcs.setdefault(None, []).append(lambda response: (_ for _ in ()).throw(RuntimeError(SECRET)))
    bare.config["PROPAGATE_EXCEPTIONS"] = False
    answer = bare.test_client().get("/pay/TOKENINTHEPATH")
    assert answer.status_code == 500
    assert_tells_nothing(answer)
    assert "TOKENINTHEPATH" not in str(lines())


def test_in_debug_the_error_is_the_developers(bare: Flask) -> None:
    bare.add_url_rule("/bug", "bug", raising(RuntimeError("seen")))
    bare.debug = True
    with pytest.raises(RuntimeError, match="seen"):
        bare.test_client().get("/bug")
