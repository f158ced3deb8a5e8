"""Kinds of messages, their words, and what may happen next to one. Decides as pure functions; never stores or sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from propmgr.kernel.errors import BadInput


class Channel(StrEnum):
    """By which way a message goes."""

    SMS = "sms"
    EMAIL = "email"


class Language(StrEnum):
    """In which words. A text message goes in the words of the template the provider has approved."""

    ZH_CN = "zh_CN"
    EN = "en"


class MessageKind(StrEnum):
    """Why a message is sent. A new kind needs a line in FORMS and a migration that lets its word in."""

    LOGIN_CODE = "login_code"
    OPERATOR_ALERT = "operator_alert"


class DeliveryStatus(StrEnum):
    """`sending` has an attempt whose answer is not known yet; the last three are ends."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"


class Step(StrEnum):
    """What to do with a message that is due."""

    SEND = "send"
    EXPIRE = "expire"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Words:
    """Subject (of an e-mail) and text, with a `%(name)s` place for each parameter."""

    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Form:
    """What a kind is made of. `parameters` are names in the order of the provider's template, with their patterns.

    `secret`: whoever reads the parameters could act in somebody's name, so they are wiped when the delivery ends, and
    it must end at a fixed instant.
    """

    channel: Channel
    parameters: Mapping[str, str]
    words: Mapping[Language, Words]
    secret: bool = False


#: One line, no control characters: a line break in a subject would let a parameter add headers.
_LINE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,120}"

FORMS: Mapping[MessageKind, Form] = {
    MessageKind.LOGIN_CODE: Form(
        channel=Channel.SMS,
        # At most six digits: the provider takes nothing else in a template for codes.
        parameters={"code": "[0-9]{4,6}", "minutes": "[1-9][0-9]?"},
        words={
            Language.ZH_CN: Words("登录验证码", "验证码%(code)s，%(minutes)s分钟内有效，请勿告诉他人。"),
            Language.EN: Words(
                "Log-in code", "Your code is %(code)s, valid for %(minutes)s minutes. Tell it to nobody."
            ),
        },
        secret=True,
    ),
    MessageKind.OPERATOR_ALERT: Form(
        channel=Channel.EMAIL,
        parameters={"what": _LINE, "count": "[0-9]{1,9}", "reference": "[A-Za-z0-9_.:-]{1,64}"},
        words={
            Language.ZH_CN: Words("平台告警：%(what)s", "%(what)s：%(count)s 处。\n日志编号：%(reference)s\n"),
            Language.EN: Words("Alert: %(what)s", "%(what)s: %(count)s found.\nReference in the log: %(reference)s\n"),
        },
    ),
}

#: Attempts in all, and the pause after each one that failed for now. The last pause only follows a crash.
MOST_ATTEMPTS = 5
PAUSES = (
    timedelta(seconds=10),
    timedelta(seconds=60),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(minutes=30),
)

#: How long an attempt may take before it counts as lost. More than the time-outs of any gateway together: within it
#: nobody else tries the same message.
LEASE = timedelta(minutes=3)

#: Ended messages are kept this long: as long as the law asks of system logs, and no longer, for they name a recipient.
KEEP_MESSAGES = timedelta(days=183)

_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_MAILBOX = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")


def checked_recipient(channel: Channel, recipient: str) -> str:
    """The recipient, if it can be one: a mainland mobile number of 11 digits, or an e-mail address (RFC 5321 lengths).

    Raises BadInput without repeating what was typed: errors are logged, recipients are not.
    """
    if channel is Channel.SMS:
        if not _MOBILE.fullmatch(recipient):
            raise BadInput("A mobile number has 11 digits and begins with 13 to 19.", field="recipient")
        return recipient
    mailbox, _, domain = recipient.rpartition("@")
    fits = len(mailbox) <= 64 and len(recipient) <= 254
    if not (fits and _MAILBOX.fullmatch(mailbox) and _DOMAIN.fullmatch(domain)):
        raise BadInput("This is not an e-mail address.", field="recipient")
    return recipient


def checked_parameters(kind: MessageKind, parameters: Mapping[str, str | int]) -> dict[str, str]:
    """The parameters as text: exactly those the kind names, each in its form. Raises BadInput without their values."""
    form = FORMS[kind]
    if set(parameters) != set(form.parameters):
        raise BadInput(
            "A message %(kind)s needs exactly: %(names)s.", kind=kind.value, names=", ".join(form.parameters)
        )
    taken = {name: str(parameters[name]) for name in form.parameters}
    for name, pattern in form.parameters.items():
        if not re.fullmatch(pattern, taken[name]):
            raise BadInput("%(name)s of a message %(kind)s has another form.", name=name, kind=kind.value)
    return taken


def render(kind: MessageKind, parameters: Mapping[str, str], language: Language) -> Words:
    """The message in words. `parameters` have been checked."""
    words = FORMS[kind].words[language]
    return Words(words.subject % parameters, words.text % parameters)


def next_step(attempts: int, expires_at: datetime | None, at: datetime) -> Step:
    """What to do with a message that is due at `at` and has been tried `attempts` times."""
    if expires_at is not None and expires_at <= at:
        return Step.EXPIRE
    return Step.SEND if attempts < MOST_ATTEMPTS else Step.GIVE_UP


def lost_at(attempt: int, expires_at: datetime | None, at: datetime) -> datetime:
    """When attempt number `attempt` (from 1), begun at `at`, counts as lost if no answer was stored by then."""
    return _not_after(expires_at, at + max(LEASE, PAUSES[attempt - 1]))


def retry_at(attempt: int, expires_at: datetime | None, at: datetime) -> datetime:
    """When to look again after attempt number `attempt` failed for now at `at`."""
    return _not_after(expires_at, at + PAUSES[attempt - 1])


def _not_after(expires_at: datetime | None, instant: datetime) -> datetime:
    # Looked at again at its expiry at the latest: a secret is wiped then, not when the next attempt would be due.
    return instant if expires_at is None else min(instant, expires_at)
