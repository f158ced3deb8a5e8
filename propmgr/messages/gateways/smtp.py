"""E-mail by SMTP. Decides how a message is written and handed over; never who gets it.

Always encrypted, with the server's certificate checked, except towards a relay on this very machine. Each attempt
carries the same Message-ID, so that a mailbox can tell a repeated attempt from a second message.
"""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from propmgr.messages.gateways.port import Accepted, Mail, Refused, Unavailable

#: For each exchange with the server. A session has about a dozen: all of them stay below the lease of an attempt.
TIMEOUT_S = 10.0

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


class Encryption(StrEnum):
    """`tls` from the first byte; `starttls` before anything is said; `none` only within this machine."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SmtpMail:
    """One mail server. `context` decides whose certificates count: by default the system's authorities."""

    host: str
    port: int
    sender: str
    encryption: Encryption
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    timeout_s: float = TIMEOUT_S

    @classmethod
    def from_url(cls, url: str, sender: str) -> SmtpMail:
        """`smtps://user:password@host:465` or `smtp://user:password@host:587`; user and password percent-encoded."""
        parts = urlsplit(url)
        host = parts.hostname or "localhost"
        if parts.scheme == "smtps":
            encryption, port = Encryption.TLS, 465
        elif host in _THIS_MACHINE:
            encryption, port = Encryption.NONE, 25
        else:
            encryption, port = Encryption.STARTTLS, 587
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        return cls(host, parts.port or port, sender, encryption, user, password)

    def send_mail(self, mail: Mail) -> Accepted:
        message = self._written(mail)
        try:
            with self._session() as server:
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            raise _failure(error.recipients[mail.address][0], this_message=True) from None
        except smtplib.SMTPDataError as error:
            raise _failure(error.smtp_code, this_message=True) from None
        except smtplib.SMTPResponseException as error:
            raise _failure(error.smtp_code, this_message=False) from None
        except (smtplib.SMTPException, OSError) as error:
            raise Unavailable(type(error).__name__) from None
        return Accepted("smtp", message["Message-ID"])

    def _written(self, mail: Mail) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = self.sender
        message["To"] = mail.address
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = f"<{mail.reference}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail.text)
        return message

    @property
    def _domain(self) -> str:
        return parseaddr(self.sender)[1].rpartition("@")[2] or "localhost"

    @contextlib.contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        # Our name is given, else smtplib asks the resolver for it, without any time-out.
        server: smtplib.SMTP
        if self.encryption is Encryption.TLS:
            server = smtplib.SMTP_SSL(self.host, self.port, self._domain, timeout=self.timeout_s, context=self.context)
        else:
            server = smtplib.SMTP(self.host, self.port, self._domain, timeout=self.timeout_s)
        try:
            if self.encryption is Encryption.STARTTLS:
                server.starttls(context=self.context)
            if self.user is not None:
                server.login(self.user, self.password or "")
            yield server
            # The message is taken by now; a farewell that fails must not have it sent again.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()
        finally:
            server.close()


def _failure(code: int, *, this_message: bool) -> Refused | Unavailable:
    """5xx is for good where it is said of this recipient or text; of the sender or the log-in, a person can mend it."""
    kind = Refused if this_message and 500 <= code < 600 else Unavailable
    return kind(f"smtp-{code}")
