"""Text messages by Tencent Cloud (SMS API 2021-01-11). Decides what its codes mean for us; never what is sent to whom.

Why this provider's SDK: one package a product, generated from the published API and released every few weeks, with
`requests` as its only dependency (five packages in all); the other large provider's needs some twenty (an asynchronous
HTTP client and cryptography among them) for the same call. Both send approved templates only: the words are theirs,
we give a template id and its parameters in order.

The API has no idempotency key: an attempt whose answer was lost is sent again (a log-in code arrives twice, the same).
The SDK's own retries are off; ours are counted in the database.
"""

from __future__ import annotations

import logging

from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.common.retry import NoopRetryer
from tencentcloud.sms.v20210111.models import SendSmsRequest
from tencentcloud.sms.v20210111.sms_client import SmsClient

from propmgr.config import TencentSms
from propmgr.messages.gateways.port import Accepted, Refused, Sms, Unavailable

#: To connect, and again for the answer.
TIMEOUT_S = 10

#: Said of this number or this content: trying again within our hour cannot help. A name without a dot covers its
#: whole family. Source: the API's list of codes (sms/v20210111/errorcodes.py of the SDK).
_REFUSED = (
    "FailedOperation.ContainSensitiveWord",
    "FailedOperation.PhoneNumberInBlacklist",
    "FailedOperation.PhoneNumberParseFail",
    "FailedOperation.TemplateParamSetNotMatchApprovedTemplate",
    "InvalidParameter",
    "InvalidParameterValue",
    "LimitExceeded.PhoneNumberDailyLimit",
    "LimitExceeded.PhoneNumberOneHourLimit",
    "LimitExceeded.PhoneNumberSameContentDailyLimit",
    "MissingParameter",
    "UnsupportedOperation",
)

#: Of those families, what is wrong with the account and can be put right while the message waits.
_ACCOUNT = ("InvalidParameter.AppidAndBizId", "InvalidParameterValue.SdkAppIdNotExist")


class TencentGateway:
    """One account. `endpoint` and `protocol` are for tests; the SDK checks the certificate of the real address."""

    def __init__(
        self, account: TencentSms, *, endpoint: str | None = None, protocol: str = "https", timeout_s: float = TIMEOUT_S
    ) -> None:
        # At level debug the SDK logs whole requests: the number and the code.
        logging.getLogger("tencentcloud_sdk_common").setLevel(logging.WARNING)
        self._account = account
        http = HttpProfile(protocol=protocol, endpoint=endpoint, reqTimeout=timeout_s)
        profile = ClientProfile(httpProfile=http, language="en-US", retryer=NoopRetryer())
        self._client = SmsClient(Credential(account.secret_id, account.secret_key), account.region, profile)

    def send_sms(self, sms: Sms) -> Accepted:
        template = self._account.templates.get(sms.kind.value)
        if template is None:
            raise Unavailable("NoTemplate")
        request = SendSmsRequest()
        request.SmsSdkAppId = self._account.sdk_app_id
        request.SignName = self._account.sign_name
        request.TemplateId = template
        request.TemplateParamSet = list(sms.parameters)
        request.PhoneNumberSet = [f"+86{sms.number}"]
        request.SessionContext = sms.reference
        try:
            answer = self._client.SendSms(request)
        except TencentCloudSDKException as error:
            raise _failure(error.code) from None
        # One number was asked for; the answer says of each number how it fared, whatever the HTTP status.
        statuses = answer.SendStatusSet or []
        if len(statuses) != 1 or not isinstance(statuses[0].Code, str):
            raise Unavailable("NoStatus")
        if statuses[0].Code != "Ok":
            raise _failure(statuses[0].Code)
        return Accepted("tencent", str(statuses[0].SerialNo or "")[:200] or None)


def _failure(code: object) -> Refused | Unavailable:
    text = str(code)
    family = text.partition(".")[0]
    if (text in _REFUSED or family in _REFUSED) and text not in _ACCOUNT:
        return Refused(text)
    return Unavailable(text)
