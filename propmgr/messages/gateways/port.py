"""What the house asks of a provider, in our words. Decides the two kinds of failure; knows no provider.

`Refused`: this message will never be taken (its number, its content). `Unavailable`: everything else, the account and
our own settings included, because a person can mend those while the message waits. Both carry a code and no text: a
provider's text may repeat the recipient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from propmgr.messages.rules import MessageKind


@dataclass(frozen=True, slots=True)
class Sms:
    """A text message. `parameters` are in the order of the provider's template; `text` is the same in our words.

    `reference` is ours, the same in every attempt.
    """

    number: str = field(repr=False)
    kind: MessageKind
    parameters: tuple[str, ...] = field(repr=False)
    text: str = field(repr=False)
    reference: str


@dataclass(frozen=True, slots=True)
class Mail:
    """An e-mail in plain text. `reference` is ours, the same in every attempt."""

    address: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    reference: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has taken the message. `reference` is the provider's number of it."""

    provider: str
    reference: str | None


class _Failure(Exception):
    def __init__(self, code: str) -> None:
        # A code is a word; whatever a broken provider sends in its place is cut down to one.
        self.code = re.sub(r"[^A-Za-z0-9._-]", "", code)[:80] or "NoCode"
        super().__init__(self.code)


class Refused(_Failure):
    """Never to be taken: trying again cannot help."""


class Unavailable(_Failure):
    """Not taken now, or nobody knows: to be tried again."""


class SmsPort(Protocol):
    """A provider of text messages."""

    def send_sms(self, sms: Sms) -> Accepted:
        """Hand it over. Raises Refused or Unavailable."""


class MailPort(Protocol):
    """A mail server."""

    def send_mail(self, mail: Mail) -> Accepted:
        """Hand it over. Raises Refused or Unavailable."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ways out of this installation."""

    sms: SmsPort
    mail: MailPort
