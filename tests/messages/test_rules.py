"""Kinds, recipients, parameters, words and pauses: the pure part of messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from propmgr.kernel.errors import BadInput
from propmgr.messages.rules import (
    FORMS,
    LEASE,
    MOST_ATTEMPTS,
    PAUSES,
    Channel,
    Language,
    MessageKind,
    Step,
    checked_parameters,
    checked_recipient,
    lost_at,
    next_step,
    render,
    retry_at,
)

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
CODE = {"code": "204816", "minutes": "5"}
ALERT = {"what": "审计链断开", "count": "3", "reference": "0a1b2c3d"}


@pytest.mark.parametrize("number", ["13800138000", "19999999999", "14700000000"])
def test_a_mobile_number(number: str) -> None:
    assert checked_recipient(Channel.SMS, number) == number


NOT_NUMBERS = [
    *("", "12800138000", "1380013800", "138001380000", "+8613800138000", "13800138000\n", " 13800138000"),
    *("1380013800x", "１３８００１３８０００", "138٠٠١٣٨٠٠٠", "ops@example.cn"),
]


@pytest.mark.parametrize("number", NOT_NUMBERS)
def test_not_a_mobile_number(number: str) -> None:
    with pytest.raises(BadInput) as caught:
        checked_recipient(Channel.SMS, number)
    assert not number or number not in str(caught.value), "an error is logged, a recipient is not"


@pytest.mark.parametrize(
    "address", ["ops@example.cn", "a.b+c@mail.example.com.cn", "root@localhost", "x@" + "d" * 63 + ".cn"]
)
def test_an_address(address: str) -> None:
    assert checked_recipient(Channel.EMAIL, address) == address


NOT_ADDRESSES = [
    *("", "ops", "@example.cn", "ops@", "a@b@example.cn", "a b@example.cn", ".a@example.cn", "a..b@example.cn"),
    *("ops@example.cn\r\nBcc: x@example.cn", "ops@example.cn\n", "ops@-example.cn", "ops@example..cn"),
    *("ops@exa_mple.cn", "王@example.cn", "ops@例子.cn", "ops,x@example.cn", '"a"@example.cn', "<ops@example.cn>"),
    *("ops@[127.0.0.1]", "a" * 65 + "@example.cn", "a@" + ".".join(["d" * 60] * 5)),
]


@pytest.mark.parametrize("address", NOT_ADDRESSES)
def test_not_an_address(address: str) -> None:
    with pytest.raises(BadInput) as caught:
        checked_recipient(Channel.EMAIL, address)
    assert not address or address not in str(caught.value)


def test_parameters_become_text_in_the_order_of_the_template() -> None:
    assert checked_parameters(MessageKind.LOGIN_CODE, {"minutes": 5, "code": "204816"}) == CODE
    assert list(checked_parameters(MessageKind.LOGIN_CODE, {"minutes": 5, "code": "204816"})) == ["code", "minutes"]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"code": "204816"},
        {**CODE, "name": "x"},
        {**CODE, "code": "12345678"},
        {**CODE, "code": "２０４８１６"},
        {**CODE, "code": "20481\n"},
        {**CODE, "minutes": "0"},
        {**CODE, "minutes": 5.0},
    ],
)
def test_other_parameters_are_refused_without_repeating_them(parameters: dict[str, str]) -> None:
    with pytest.raises(BadInput) as caught:
        checked_parameters(MessageKind.LOGIN_CODE, parameters)
    assert "2048" not in str(caught.value)
    assert "1234" not in str(caught.value)


@pytest.mark.parametrize("what", ["", "a\r\nBcc: x@example.cn", "a\nb", "a\u2028b", "a\x00b", "a\ud800b", "x" * 121])
def test_an_alert_is_one_line(what: str) -> None:
    with pytest.raises(BadInput):
        checked_parameters(MessageKind.OPERATOR_ALERT, {**ALERT, "what": what})


@pytest.mark.parametrize("kind", list(MessageKind))
@pytest.mark.parametrize("language", list(Language))
def test_every_kind_is_written_in_every_language_with_every_parameter(kind: MessageKind, language: Language) -> None:
    words = render(kind, {name: f"<{name}>" for name in FORMS[kind].parameters}, language)
    assert all(f"<{name}>" in words.text for name in FORMS[kind].parameters)
    assert "%" not in words.subject + words.text
    assert words.subject, "an e-mail has a subject"


def test_words() -> None:
    assert render(MessageKind.LOGIN_CODE, CODE, Language.ZH_CN).text == "验证码204816，5分钟内有效，请勿告诉他人。"
    alert = render(MessageKind.OPERATOR_ALERT, {**ALERT, "what": "100% full %(count)s"}, Language.EN)
    assert alert.subject == "Alert: 100% full %(count)s", "a parameter is never a template"


def test_steps() -> None:
    assert next_step(0, None, NOW) is Step.SEND
    assert next_step(MOST_ATTEMPTS - 1, NOW + timedelta(seconds=1), NOW) is Step.SEND
    assert next_step(MOST_ATTEMPTS, None, NOW) is Step.GIVE_UP
    assert next_step(0, NOW, NOW) is Step.EXPIRE
    assert next_step(MOST_ATTEMPTS, NOW, NOW) is Step.EXPIRE


def test_pauses() -> None:
    assert len(PAUSES) == MOST_ATTEMPTS
    seconds = [int((retry_at(attempt, None, NOW) - NOW).total_seconds()) for attempt in range(1, MOST_ATTEMPTS)]
    assert seconds == [10, 60, 300, 1800]
    assert retry_at(4, NOW + timedelta(minutes=2), NOW) == NOW + timedelta(minutes=2), "at its expiry at the latest"
    assert all(lost_at(attempt, None, NOW) >= NOW + LEASE for attempt in range(1, MOST_ATTEMPTS + 1))
    assert lost_at(1, NOW + timedelta(minutes=2), NOW) == NOW + timedelta(minutes=2)
