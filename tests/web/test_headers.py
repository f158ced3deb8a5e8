"""What a browser may do with an answer: on every route of the app, whatever is answered."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from propmgr.app import create_app
from propmgr.web.kit.headers import FIXED
from tests.web.conftest import away

POLICY = re.compile(
    r"default-src 'self'; script-src 'self' 'nonce-([A-Za-z0-9_-]{20,})'; style-src 'self'; style-src-attr 'none'; "
    r"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)


def address(rule: Rule) -> str:
    """An address the rule takes."""
    return re.sub(r"<[^>]+>", "1", rule.rule)


def every_answer(site: Flask) -> list[tuple[str, object]]:
    """Each route by each method, and some addresses without a route."""
    client, answers = site.test_client(), []
    for rule in site.url_map.iter_rules():
        for method in sorted((rule.methods or set()) | {"POST", "DELETE"}):
            answers.append((f"{method} {rule.rule}", client.open(address(rule), method=method, buffered=True)))
    for path in ("/nowhere", "/static/css/base.css", "/static/nothing.css", "/static/../wsgi.py"):
        answers.append((path, client.get(path, buffered=True)))
    answers.append(("foreign host", client.get("/status", headers={"Host": "evil.example"})))
    return answers


def test_every_answer_carries_the_headers_and_its_own_nonce(bare: Flask) -> None:
    nonces = set()
    answers = every_answer(bare)
    assert len(answers) > 20
    for what, answer in answers:
        policy = POLICY.fullmatch(answer.headers["Content-Security-Policy"])
        assert policy is not None, what
        nonces.add(policy[1])
        assert {name: answer.headers.get(name) for name in FIXED} == FIXED, what
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["X-Request-ID"]), what
        assert len(answer.headers.getlist("Content-Security-Policy")) == 1, what
        assert "Strict-Transport-Security" not in answer.headers
    assert len(nonces) == len(answers)


def test_pages_are_never_kept(bare: Flask) -> None:
    for what, answer in every_answer(bare):
        if not (what.startswith("/static/css") and answer.status_code == 200):
            assert answer.headers["Cache-Control"] == "no-store", what


def test_static_files_are_kept_for_a_year_under_their_version_only(bare: Flask) -> None:
    client = bare.test_client()
    page = client.get("/nowhere").text
    addresses = re.findall(r'(?:href|src)="(/static/[^"#]+)', page)
    assert len(addresses) >= 4
    for there in addresses:
        answer = client.get(there, buffered=True)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
        changed = client.get(re.sub(r"v=\w+", "v=0000000000", there), buffered=True)
        assert changed.headers["Cache-Control"] == "public, max-age=3600"


def test_the_version_follows_the_file(bare: Flask, tmp_path: Path) -> None:
    from propmgr.web.kit.assets import has_asset, version

    bare.static_folder = str(tmp_path)
    with bare.app_context():
        assert version("a.css") is None and not has_asset("a.css")
        (tmp_path / "a.css").write_text("a{}")
        first = version("a.css")
        (tmp_path / "a.css").write_text("a{b:c}")
        assert first and version("a.css") not in (None, first)
        assert version("../../etc/passwd") is None and version("") is None and version("a\0b") is None


def test_a_house_reached_by_https_insists_on_it(tmp_path: Path) -> None:
    settings = replace(away(tmp_path), public_url="https://wy.example.cn", trusted_hosts=("wy.example.cn",))
    site = create_app(settings)
    site.add_url_rule("/form", "form", lambda: site.jinja_env.globals["csrf_token"]())
    for what, answer in every_answer(site):
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000", what
    answer = site.test_client().get("/form", base_url="https://wy.example.cn")
    (cookie,) = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-propmgr=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


def test_the_session_cookie_is_not_for_scripts_nor_other_sites(bare: Flask) -> None:
    (cookie,) = bare.test_client().get("/nowhere").headers.getlist("Set-Cookie")
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))


@pytest.mark.database
def test_the_status_page_runs_its_scripts_with_the_nonce_of_its_header(client: FlaskClient) -> None:
    answer = client.get("/status")
    policy = POLICY.fullmatch(answer.headers["Content-Security-Policy"])
    assert answer.status_code == 200 and policy is not None
    for script in re.findall(r"<script[^>]*>", answer.text):
        assert f'nonce="{policy[1]}"' in script or 'src="/static/' in script
