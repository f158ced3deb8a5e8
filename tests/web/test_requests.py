"""A request from its first to its last moment: its number, its log line, its figures."""

from __future__ import annotations

import re

import pytest
import structlog
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from propmgr.telemetry import logs
from propmgr.web.kit.requests import request_id
from tests.web.conftest import Lines


@pytest.fixture
def client(bare: Flask) -> FlaskClient:
    """A browser of an app that logs at `info` and has some routes of its own."""
    logs.configure("info")
    bare.add_url_rule("/pay/<token>", "pay", lambda token: request_id())
    bare.add_url_rule("/bug/<token>", "bug", lambda token: [][0])
    return bare.test_client()


def test_page_answer_and_log_carry_one_number(client: FlaskClient, lines: Lines) -> None:
    answer = client.get("/bug/TOKEN")
    number = answer.headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{16}", number) and f"<code>{number}</code>" in answer.text
    written = lines()
    assert [line["event"] for line in written] == ["request.failed", "request"]
    assert {line["request_id"] for line in written} == {number}


def test_the_line_of_a_request(client: FlaskClient, lines: Lines) -> None:
    answer = client.get("/pay/SECRETTOKEN?phone=13800138000&note=hello")
    (line,) = lines()
    assert isinstance(line.pop("milliseconds"), float) and line.pop("time")
    assert line == {
        "event": "request",
        "level": "info",
        "method": "GET",
        "endpoint": "pay",
        "status": 200,
        "organisation": None,
        "request_id": answer.text,
    }


def test_forms_queries_and_paths_are_never_logged(client: FlaskClient, lines: Lines) -> None:
    logs.configure("debug")
    for method in ("GET", "POST", "BREW"):
        for path in ("/pay/SECRETTOKEN", "/bug/SECRETTOKEN", "/SECRETTOKEN", "/status", "/static/SECRETTOKEN"):
            client.open(f"{path}?q=SECRETQUERY", method=method, data={"f": "SECRETFORM"})
    client.get("/status", headers={"Host": "SECRETHOST.example", "Referer": "http://x/SECRETREFERER"})
    written = str(lines())
    assert "request.failed" in written
    assert "SECRET" not in written


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a1B2-c3", "a1B2-c3"),
        ("x" * 64, "x" * 64),
        ("x" * 65, None),
        ("", None),
        ("a b", None),
        ("a\u00e9", None),
        ("<script>", None),
        ("13800138000", "[phone]"),
    ],
)
def test_a_number_that_came_along_is_only_kept_beside_ours(
    client: FlaskClient, lines: Lines, given: str, kept: str | None
) -> None:
    answer = client.get("/pay/1", headers={"X-Request-ID": given})
    (line,) = lines()
    assert line.get("upstream_id") == kept
    assert line["request_id"] == answer.headers["X-Request-ID"] != given


def test_two_requests_share_nothing(client: FlaskClient, lines: Lines) -> None:
    client.get("/pay/1", headers={"X-Request-ID": "first"})
    assert structlog.contextvars.get_contextvars() == {}
    client.get("/pay/1")
    first, second = lines()
    assert first["request_id"] != second["request_id"] and "upstream_id" not in second


def test_nothing_of_earlier_work_in_the_process_is_left(client: FlaskClient, lines: Lines) -> None:
    structlog.contextvars.bind_contextvars(organisation=7, run=8)
    client.get("/pay/1")
    (line,) = lines()
    assert line["organisation"] is None and "run" not in line


def test_machines_that_ask_every_few_seconds_do_not_fill_the_log(client: FlaskClient, lines: Lines) -> None:
    for path in ("/healthz", "/static/css/base.css"):
        client.get(path, buffered=True)
    assert lines() == []
    logs.configure("debug")
    client.get("/healthz")
    assert len(lines()) == 1


def count(endpoint: str, method: str, status: str) -> float:
    """Requests counted so far."""
    labels = {"endpoint": endpoint, "method": method, "status": status}
    return REGISTRY.get_sample_value("propmgr_http_requests_total", labels) or 0.0


def test_every_answer_is_counted_under_its_route(client: FlaskClient) -> None:
    asked = [
        ("/pay/1", "GET", ("pay", "GET", "200")),
        ("/bug/1", "GET", ("bug", "GET", "500")),
        ("/nowhere", "GET", ("none", "GET", "404")),
        ("/pay/1", "BREW", ("none", "other", "405")),
    ]
    for path, method, labels in asked:
        before = count(*labels)
        client.open(path, method=method)
        assert count(*labels) == before + 1, labels
    name, labels = "propmgr_http_request_seconds_count", {"endpoint": "pay"}
    before_timed = REGISTRY.get_sample_value(name, labels) or 0.0
    client.get("/pay/2")
    assert REGISTRY.get_sample_value(name, labels) == before_timed + 1
