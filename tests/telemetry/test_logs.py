"""Log lines: one JSON object each, and nobody in them. The web's own lines are in tests/web/test_requests.py."""

from __future__ import annotations

import json
import logging
import string
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from propmgr.kernel.errors import BadInput
from propmgr.telemetry import logs
from propmgr.telemetry.logs import HIDDEN, LONGEST_TEXT, masked, masked_text

Lines = Callable[[], list[dict[str, object]]]

# What stands around a number: anything but further digits, which would make it another number.
around = st.text(st.characters(exclude_categories=["Nd", "Cs"]), max_size=12)
wide = str.maketrans(string.digits, "０１２３４５６７８９")

mobiles = st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True)
identities = st.from_regex(r"[1-9][0-9]{16}[0-9Xx]", fullmatch=True)
emails = st.from_regex(r"[a-z][a-z0-9._+-]{0,9}@[a-z0-9]{1,9}\.(com|cn|org)", fullmatch=True)
# fmt: off
TELLING = [
    "phone", "Phone", "phones", "user_phone", "mobilePhone", "email", "e_mail", "eMail", "recipient", "name",
    "names", "full_name", "userName", "code", "codes", "login_code", "password", "password_hash", "token",
    "link_token", "secret", "client_secret", "authorization", "Authorization", "cookie", "Set-Cookie",
    "X-Api-Token", "id_card_name", "tel", "otp",
]
# fmt: on
telling = st.sampled_from(TELLING)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """The lines written since the last call, at the level `info`."""
    before = logging.getLogger().handlers[:], logging.getLogger().level
    logs.configure("info")
    capsys.readouterr()
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    logging.getLogger().handlers[:], logging.getLogger().level = before


@given(around, mobiles, around)
def test_no_mobile_number_in_any_text(before: str, number: str, after: str) -> None:
    assert number not in masked_text(before + number + after)


@given(around, mobiles, st.sampled_from([" ", "-"]), st.sampled_from(["", "86", "+86 ", "0086-", "+86", "0"]))
def test_nor_one_written_in_groups_or_with_the_country(before: str, number: str, gap: str, country: str) -> None:
    grouped = f"{number[:3]}{gap}{number[3:7]}{gap}{number[7:]}"
    for written in (country + grouped, country + number):
        assert number[-4:] not in masked_text(before + written)


@given(around, mobiles, around)
def test_nor_one_in_wide_digits(before: str, number: str, after: str) -> None:
    assert number.translate(wide) not in masked_text(before + number.translate(wide) + after)


@given(around, identities, around)
def test_no_identity_number_in_any_text(before: str, number: str, after: str) -> None:
    assert number not in masked_text(before + number + after)


@given(around, emails, around)
def test_no_address_of_a_mailbox_in_any_text(before: str, address: str, after: str) -> None:
    assert address not in masked_text(before + address + after)


@given(telling, st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.integers() | st.lists(st.text()))
def test_values_under_telling_keys_are_hidden_at_any_depth(key: str, value: object) -> None:
    assert masked({"outer": [{key: value}]}) == {"outer": [{key: HIDDEN}]}


@given(
    st.recursive(
        st.text() | st.integers() | mobiles | emails, lambda inner: st.lists(inner) | st.dictionaries(mobiles, inner)
    )
)
def test_whatever_is_logged_becomes_json(value: object) -> None:
    text = json.dumps(masked({"event": value}), ensure_ascii=False)
    assert masked_text(text[:LONGEST_TEXT]) == text[:LONGEST_TEXT]


@pytest.mark.parametrize(
    "value",
    [
        "division 410105001003 loaded",
        "1099511627776",
        "2026-11-23T19:00:00Z",
        "edition 2023, 96054 entries",
        "20261123_1900",
        "¥1,234.56",
        "worker.leads",
    ],
)
def test_our_own_figures_stay(value: str) -> None:
    assert masked(value) == value


@pytest.mark.parametrize("key", ["request_id", "reference", "holder"])
def test_a_reference_that_looks_like_a_number_stays_whole(key: str) -> None:
    assert masked("a13800138000bcde", key) == "a13800138000bcde"
    assert masked("13800138000", key) == "[phone]"
    assert "13800138000" not in str(masked("a13800138000bcde", "upstream_id"))


def test_numbers_that_are_no_text_are_masked_too() -> None:
    assert masked(13800138000) == "[phone]"
    assert masked(b"13800138000") == "<bytes>"
    assert masked({"division_code": "410105", "count": 3, "ok": True, "part": None}) == {
        "division_code": "410105",
        "count": 3,
        "ok": True,
        "part": None,
    }


def test_an_unknown_object_is_only_named() -> None:
    class Person:
        def __repr__(self) -> str:
            return "李四"

    assert masked(Person()) == "<Person>"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("GET /bills?phone=1&name=x HTTP/1.1", "GET /bills?[query] HTTP/1.1"),
        ("postgresql://propmgr_app:s3cret@127.0.0.1:5432/db", "postgresql://[hidden]@127.0.0.1:5432/db"),
        ("duplicate key\nDETAIL:  Key (name)=(李四) already exists.", f"duplicate key\n{HIDDEN}"),
        ("failed [SQL: insert into x] [parameters: {'n': '李四'}] (Background)", f"failed {HIDDEN}"),
        (
            "(psycopg.errors.UniqueViolation) 重复键\n描述:  键值(name)=(李四)",
            f"(psycopg.errors.UniqueViolation) {HIDDEN}",
        ),
        ("x" * (LONGEST_TEXT + 1), "x" * LONGEST_TEXT + "…"),
    ],
)
def test_what_is_cut_out_of_texts(text: str, kept: str) -> None:
    assert masked_text(text) == kept


def test_a_line_has_time_level_and_event(lines: Lines) -> None:
    structlog.contextvars.bind_contextvars(request_id="0123456789abcdef", organisation=1)
    try:
        structlog.get_logger().info("bill.issued", count=3, note="电话 138-0013-8000")
    finally:
        structlog.contextvars.clear_contextvars()
    (line,) = lines()
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "info",
        "event": "bill.issued",
        "request_id": "0123456789abcdef",
        "organisation": 1,
        "count": 3,
        "note": "电话 [phone]",
    }


def test_an_exception_is_its_type_and_its_frames(lines: Lines) -> None:
    def inner() -> None:
        raise ValueError("李四 13800138000")

    def outer() -> None:
        try:
            inner()
        except ValueError as error:
            raise BadInput("No bill %(bill)s.", bill="王五") from error

    try:
        outer()
    except BadInput:
        structlog.get_logger().exception("bill.failed")
    (line,) = lines()
    assert not {"李四", "13800138000", "王五"} & set(json.dumps(line, ensure_ascii=False).replace('"', " ").split())
    exception = line["exception"]
    assert isinstance(exception, dict)
    assert exception["type"] == "propmgr.kernel.errors.BadInput"
    assert exception["message"] == "No bill %(bill)s."
    assert exception["cause"]["type"] == "ValueError"
    assert [frame.split(" ")[1] for frame in exception["cause"]["frames"]] == ["outer", "inner"]
    assert exception["frames"][0].startswith("tests/telemetry/test_logs.py:")


def test_an_error_of_the_database_tells_no_row(lines: Lines) -> None:
    try:
        raise IntegrityError("insert into person (name)", {"name": "李四"}, ValueError("Key (name)=(李四)"))
    except IntegrityError:
        structlog.get_logger().exception("person.failed")
        logging.getLogger("propmgr").error("Failed: %s", sys.exc_info()[1])
        logging.getLogger("propmgr").error("Failed: " + str(sys.exc_info()[1]))
        logging.getLogger("propmgr").exception(sys.exc_info()[1])
    written = lines()
    assert len(written) == 4
    assert "李四" not in json.dumps(written, ensure_ascii=False)
    assert written[1]["event"] == "Failed: <IntegrityError>"


def test_libraries_speak_through_the_same_lines(lines: Lines) -> None:
    for name in ("alembic.runtime.migration", "gunicorn.error", "flask_limiter", "propmgr"):
        logging.getLogger(name).warning("%s of %d", "one", 2)
    assert [(line["logger"], line["event"], line["level"]) for line in lines()] == [
        (name, "one of 2", "warning")
        for name in ("alembic.runtime.migration", "gunicorn.error", "flask_limiter", "propmgr")
    ]


def test_servers_do_not_tell_the_path(lines: Lines) -> None:
    logging.getLogger("werkzeug").info('127.0.0.1 - - "GET /pay/SECRETTOKEN HTTP/1.1" 200 -')
    logging.getLogger("gunicorn.access").info("GET /pay/SECRETTOKEN")
    logging.getLogger("gunicorn.error").error("Error handling request %s %s", "GET", "/pay/SECRETTOKEN")
    logging.getLogger("gunicorn.error").warning("Invalid request from ip=10.1.2.3: GET /pay/SECRETTOKEN")
    logging.getLogger("propmgr").error("Exception on /pay/SECRETTOKEN [GET]")
    logging.getLogger("gunicorn.error").info("Listening at: %s (%d)", "http://127.0.0.1:8000", 7)
    assert [line["event"] for line in lines()] == [
        "Error handling request GET [path]",
        "Invalid request",
        "Exception on [path] [GET]",
        "Listening at: http://127.0.0.1:8000 (7)",
    ]


def test_a_traceback_inside_a_message_keeps_only_its_frames(lines: Lines) -> None:
    trace = (
        'Traceback (most recent call last):\n  File "/srv/a/b.py", line 7, in pay\n    pay("李四")\nValueError: 李四\n'
    )
    logging.getLogger("werkzeug").error("Error on request:\n%s", trace)
    (line,) = lines()
    assert line["event"] == "Error on request:\ntraceback: a/b.py:7 pay ValueError"


def test_last_words_are_masked_as_well(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    logs.configure("info")

    def die() -> None:
        raise RuntimeError("李四")

    thread = threading.Thread(target=die)
    thread.start()
    thread.join()
    try:
        die()
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    written = lines()
    assert [line["event"] for line in written] == ["thread.died", "process.died"]
    assert "李四" not in json.dumps(written, ensure_ascii=False)


def test_configuring_again_does_not_say_things_twice(lines: Lines) -> None:
    logs.configure("info")
    structlog.get_logger().info("once")
    assert len(lines()) == 1
    logs.configure("warning")
    structlog.get_logger().info("not heard")
    assert lines() == []
