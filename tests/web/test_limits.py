"""What is refused before any page sees it: foreign hosts, large bodies, forms that are not ours."""

from __future__ import annotations

import re

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from propmgr.web.kit.limits import MOST_BYTES, MOST_FORM_BYTES, MOST_FORM_PARTS, csrf
from tests.web.conftest import Lines


@pytest.fixture
def client(bare: Flask) -> FlaskClient:
    """A browser of an app with a form and a file taker."""

    def take() -> str:
        return f"{len(request.form)} {len(request.files)} {len(request.get_data())}"

    bare.add_url_rule("/take", "take", csrf.exempt(take), methods=["POST"])
    bare.add_url_rule("/write", "write", lambda: "written", methods=["POST", "PUT", "PATCH", "DELETE"])
    return bare.test_client()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost"])
def test_our_own_hosts_are_served(client: FlaskClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "a b", "evil\\x", "::"]
)
@pytest.mark.parametrize("path", ["/healthz", "/status", "/", "/static/css/base.css", "/nowhere"])
def test_other_hosts_are_refused_and_never_repeated(client: FlaskClient, host: str, path: str, lines: Lines) -> None:
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert "evil" not in answer.text and answer.headers["X-Request-ID"] in answer.text
    assert lines() == [], "a stranger's request is no fault of the house"


def test_a_forwarded_host_is_not_believed(client: FlaskClient) -> None:
    answer = client.get("/", headers={"X-Forwarded-Host": "evil.example"})
    assert answer.headers["Location"] == "/status"


def test_a_body_has_a_largest_size(client: FlaskClient) -> None:
    fits = client.post("/take", data=b"x" * 1000, content_type="application/octet-stream")
    assert fits.text == "0 0 1000"
    assert client.post("/take", data=b"x" * (MOST_BYTES + 1), content_type="text/plain").status_code == 413


def test_the_fields_of_a_form_have_a_largest_size(client: FlaskClient) -> None:
    assert client.post("/take", data={"a": "x" * (MOST_FORM_BYTES // 2)}).text == "1 0 0"
    large = "x" * (MOST_FORM_BYTES + 1)
    assert client.post("/take", data={"a": large}).status_code == 413
    parts = f'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n{large}\r\n--cut--\r\n'
    assert client.post("/take", data=parts, content_type="multipart/form-data; boundary=cut").status_code == 413


def test_a_form_has_a_largest_number_of_parts(client: FlaskClient) -> None:
    def send(parts: int) -> int:
        form = {f"field {n}": "x" for n in range(parts)}
        return client.post("/take", data=form, content_type="multipart/form-data").status_code

    assert (send(MOST_FORM_PARTS), send(MOST_FORM_PARTS + 1)) == (200, 413)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_writing_request_needs_the_token_of_its_session(client: FlaskClient, method: str) -> None:
    refused = client.open("/write", method=method)
    assert refused.status_code == 400 and "表单已经过期" in refused.text
    token = re.findall(r'name="csrf_token" value="([^"]+)"', client.get("/nowhere").text)[0]
    assert client.open("/write", method=method, headers={"X-CSRFToken": token}).text == "written"
    assert client.open("/write", method=method, headers={"X-CSRFToken": token + "x"}).status_code == 400
    stranger = client.application.test_client()
    assert stranger.open("/write", method=method, headers={"X-CSRFToken": token}).status_code == 400


def test_every_writing_route_of_the_house_asks_for_the_token(bare: Flask) -> None:
    client, asked = bare.test_client(), 0
    for rule in bare.url_map.iter_rules():
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}:
            answer = client.open(re.sub(r"<[^>]+>", "1", rule.rule), method=method)
            assert answer.status_code == 400 and "表单已经过期" in answer.text, (method, rule.rule)
            asked += 1
    assert asked
