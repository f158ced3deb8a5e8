"""The gateway for text messages against an API on this machine: what is asked, and what each answer means."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from propmgr.config import TencentSms
from propmgr.messages.gateways.port import Accepted, Refused, Sms, Unavailable
from propmgr.messages.gateways.tencent import TIMEOUT_S, TencentGateway
from propmgr.messages.rules import LEASE, MessageKind
from tests.messages.providers import HttpProvider, http_provider, says, slowly

SMS = Sms("13800138000", MessageKind.LOGIN_CODE, ("204816", "5"), "验证码204816", "7-42")
ACCOUNT = TencentSms("AKID", "key", "1400006666", "测试签名", {"login_code": "1234567"})


@pytest.fixture
def provider() -> Iterator[HttpProvider]:
    with http_provider() as running:
        yield running


def gateway(provider: HttpProvider, account: TencentSms = ACCOUNT) -> TencentGateway:
    return TencentGateway(account, endpoint=provider.address, protocol="http", timeout_s=0.5)


def status(code: str = "Ok", serial: str = "2028:f825e6d16e23f73f4123") -> dict[str, Any]:
    one = {"SerialNo": serial, "PhoneNumber": "+8613800138000", "Fee": 1, "SessionContext": "7-42", "IsoCode": "CN"}
    return {"Response": {"SendStatusSet": [{**one, "Code": code, "Message": "13800138000"}], "RequestId": "r-1"}}


def error(code: str) -> dict[str, Any]:
    return {"Response": {"Error": {"Code": code, "Message": "13800138000 is wrong"}, "RequestId": "r-1"}}


def outcome(provider: HttpProvider, body: object, **how: Any) -> Accepted | Refused | Unavailable:
    provider.answer = lambda handler: says(handler, body, **how)
    try:
        return gateway(provider).send_sms(SMS)
    except (Refused, Unavailable) as failure:
        return failure


def test_what_is_asked(provider: HttpProvider) -> None:
    assert outcome(provider, status()) == Accepted("tencent", "2028:f825e6d16e23f73f4123")
    assert provider.requests == [
        {
            "PhoneNumberSet": ["+8613800138000"],
            "SmsSdkAppId": "1400006666",
            "TemplateId": "1234567",
            "SignName": "测试签名",
            "TemplateParamSet": ["204816", "5"],
            "SessionContext": "7-42",
        }
    ]
    headers = {name.lower(): value for name, value in provider.headers[0].items()}
    assert (headers["x-tc-action"], headers["x-tc-version"]) == ("SendSms", "2021-01-11")
    assert headers["x-tc-region"] == "ap-guangzhou"
    assert headers["authorization"].startswith("TC3-HMAC-SHA256 Credential=AKID/")


@pytest.mark.parametrize("answer", [status, error], ids=["of the number", "of the request"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("FailedOperation.PhoneNumberInBlacklist", Refused),
        ("FailedOperation.ContainSensitiveWord", Refused),
        ("InvalidParameterValue.IncorrectPhoneNumber", Refused),
        ("LimitExceeded.PhoneNumberDailyLimit", Refused),
        ("UnsupportedOperation", Refused),
        ("LimitExceeded.PhoneNumberThirtySecondLimit", Unavailable),
        ("LimitExceeded.AppDailyLimit", Unavailable),
        ("FailedOperation.InsufficientBalanceInSmsPackage", Unavailable),
        ("InvalidParameterValue.SdkAppIdNotExist", Unavailable),
        ("UnauthorizedOperation.ServiceSuspendDueToArrears", Unavailable),
        ("AuthFailure.SignatureFailure", Unavailable),
        ("InternalError.Timeout", Unavailable),
        ("RequestLimitExceeded", Unavailable),
        ("SomethingNew.OfNextYear", Unavailable),
    ],
)
def test_codes(provider: HttpProvider, answer: Any, code: str, kind: type) -> None:
    failure = outcome(provider, answer(code))
    assert type(failure) is kind
    assert failure.code == code
    assert "138" not in repr(failure), "the provider's text repeats the number; we keep the code alone"


@pytest.mark.parametrize(
    ("body", "how"),
    [
        (b"<html>bad gateway 13800138000</html>", {"status": 502, "kind": "text/html"}),
        ({}, {"status": 500}),
        (status(), {"status": 500}),
        (b"", {}),
        (b"<html>welcome to the hotel</html>", {"kind": "text/html"}),
        (b"\x00\xff\xfe", {}),
        (b"null", {}),
        (b"[]", {}),
        (b'"Ok"', {}),
        ({}, {}),
        ({"Response": None}, {}),
        ({"Response": {"RequestId": "r-1"}}, {}),
        ({"Response": {"SendStatusSet": [], "RequestId": "r-1"}}, {}),
        ({"Response": {"SendStatusSet": "Ok", "RequestId": "r-1"}}, {}),
        ({"Response": {"SendStatusSet": [{"Code": None}], "RequestId": "r-1"}}, {}),
        ({"Response": {"SendStatusSet": [{"Code": {"Ok": 1}}], "RequestId": "r-1"}}, {}),
        ({"Response": {"Error": {"Code": ["x"], "Message": "m"}, "RequestId": "r-1"}}, {}),
        ({"Response": {"Error": "13800138000"}}, {}),
    ],
)
def test_garbage_is_tried_again(provider: HttpProvider, body: object, how: dict[str, Any]) -> None:
    failure = outcome(provider, body, **how)
    assert type(failure) is Unavailable
    assert "138" not in failure.code
    assert len(provider.requests) == 1, "the SDK never repeats a call by itself"


def test_two_statuses_are_not_an_answer_to_one_number(provider: HttpProvider) -> None:
    doubled = status()
    doubled["Response"]["SendStatusSet"] *= 2
    assert type(outcome(provider, doubled)) is Unavailable


def test_a_code_is_a_word(provider: HttpProvider) -> None:
    failure = outcome(provider, error("x\r\ny " + "z" * 500))
    assert isinstance(failure, Unavailable)
    assert failure.code == "xy" + "z" * 78


def test_too_late(provider: HttpProvider) -> None:
    provider.answer = slowly(1.0)
    with pytest.raises(Unavailable, match="ClientNetworkError"):
        gateway(provider).send_sms(SMS)
    assert LEASE.total_seconds() > TIMEOUT_S * 2, "an attempt ends before it counts as lost"


def test_nobody_there() -> None:
    with http_provider() as gone:
        pass
    with pytest.raises(Unavailable, match="ClientNetworkError"):
        gateway(gone).send_sms(SMS)


def test_a_kind_without_template_is_for_a_person_to_mend(provider: HttpProvider) -> None:
    with pytest.raises(Unavailable, match="NoTemplate"):
        gateway(provider, TencentSms("AKID", "key", "1", "x", {})).send_sms(SMS)
    assert provider.requests == []


def test_the_sdk_logs_no_request(provider: HttpProvider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    outcome(provider, status())
    outcome(provider, error("InternalError"))
    assert json.dumps(provider.requests[0]["TemplateParamSet"]) == '["204816", "5"]'
    assert "204816" not in caplog.text
    assert "13800138000" not in caplog.text


def test_a_letter_does_not_show_itself() -> None:
    assert "13800138000" not in repr(SMS)
    assert "204816" not in repr(SMS)
