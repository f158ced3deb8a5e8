"""The gateway for e-mail against a mail server on this machine: what is written, and what each reply means."""

from __future__ import annotations

import email
import email.policy
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from propmgr.messages.gateways.port import Accepted, Mail, Refused, Unavailable
from propmgr.messages.gateways.smtp import TIMEOUT_S, Encryption, SmtpMail
from propmgr.messages.rules import LEASE
from tests.messages.providers import MailServer, mail_server

MAIL = Mail("ops@example.cn", "平台告警：审计链断开", "审计链断开：3 处。\n.\n日志编号：0a1b\n", "7-42")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that no authority knows, with its key."""
    folder = tmp_path_factory.mktemp("certificate")
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name]
    subprocess.run([*made, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    return folder


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


def gateway(server: MailServer, encryption: Encryption = Encryption.NONE, **options: Any) -> SmtpMail:
    return SmtpMail("127.0.0.1", server.port, "物业平台 <noreply@wy.example.cn>", encryption, timeout_s=0.5, **options)


def test_what_is_written() -> None:
    with mail_server() as server:
        assert gateway(server).send_mail(MAIL) == Accepted("smtp", "<7-42@wy.example.cn>")
    assert server.commands[0] == "ehlo wy.example.cn"
    assert any(command.startswith("mail FROM:<noreply@wy.example.cn>") for command in server.commands)
    assert "rcpt TO:<ops@example.cn>" in server.commands
    message = email.message_from_bytes(server.mails[0], policy=email.policy.default)
    assert (message["To"], message["Subject"]) == (MAIL.address, MAIL.subject)
    assert (message["Message-ID"], message["Auto-Submitted"]) == ("<7-42@wy.example.cn>", "auto-generated")
    assert message["Date"].datetime.tzinfo is not None
    assert message.get_content().replace("\r\n", "\n") == MAIL.text
    assert len(server.mails) == 1


@pytest.mark.parametrize("encryption", [Encryption.TLS, Encryption.STARTTLS])
def test_encrypted(certificate: Path, encryption: Encryption) -> None:
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    with mail_server(tls=server_side(certificate), tls_at_once=encryption is Encryption.TLS) as server:
        gateway(server, encryption, user="u", password="p", context=trusting).send_mail(MAIL)
    assert any(command.startswith("AUTH PLAIN") for command in server.commands)
    assert len(server.mails) == 1


@pytest.mark.parametrize("encryption", [Encryption.TLS, Encryption.STARTTLS])
def test_an_unknown_certificate_gets_neither_password_nor_mail(certificate: Path, encryption: Encryption) -> None:
    with (
        mail_server(tls=server_side(certificate), tls_at_once=encryption is Encryption.TLS) as server,
        pytest.raises(Unavailable, match="SSLCertVerificationError"),
    ):
        gateway(server, encryption, user="u", password="p").send_mail(MAIL)
    assert not any(command.startswith(("AUTH", "mail")) for command in server.commands)


def test_a_server_that_takes_the_encryption_away_gets_nothing() -> None:
    with mail_server(replies={"EHLO": "250-local\r\n250 AUTH PLAIN"}) as server, pytest.raises(Unavailable):
        gateway(server, Encryption.STARTTLS, user="u", password="p").send_mail(MAIL)
    assert not any(command.startswith(("AUTH", "mail")) for command in server.commands)


@pytest.mark.parametrize(
    ("replies", "kind", "code"),
    [
        ({"RCPT": "550 ops@example.cn is unknown"}, Refused, "smtp-550"),
        ({"RCPT": "450 greylisted, ops@example.cn"}, Unavailable, "smtp-450"),
        ({"body": "554 looks like spam"}, Refused, "smtp-554"),
        ({"body": "452 disk full"}, Unavailable, "smtp-452"),
        ({"DATA": "554 no"}, Refused, "smtp-554"),
        ({"MAIL": "553 not your address"}, Unavailable, "smtp-553"),
        ({"AUTH": "535 wrong password"}, Unavailable, "smtp-535"),
        ({"connect": "554 go away"}, Unavailable, "smtp-554"),
        ({"connect": "HTTP/1.1 400 Bad Request"}, Unavailable, None),
        ({"connect": "x" * 9000}, Unavailable, None),
        ({"RCPT": "garbage"}, Unavailable, None),
        ({"body": "\x00\x00"}, Unavailable, None),
    ],
)
def test_replies(replies: dict[str, str], kind: type, code: str | None) -> None:
    with mail_server(replies=replies) as server, pytest.raises((Refused, Unavailable)) as caught:
        gateway(server, user="u", password="p").send_mail(MAIL)
    assert type(caught.value) is kind
    assert code in (None, caught.value.code)
    assert "ops" not in str(caught.value)


@pytest.mark.parametrize("silent_at", ["connect", "EHLO", "MAIL", "body"])
@pytest.mark.parametrize("encryption", [Encryption.NONE, Encryption.TLS])
def test_too_late(certificate: Path, silent_at: str, encryption: Encryption) -> None:
    tls = server_side(certificate) if encryption is Encryption.TLS else None
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    with mail_server(silent_at=silent_at, tls=tls, tls_at_once=True) as server:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            gateway(server, encryption, context=trusting).send_mail(MAIL)
        assert time.monotonic() - began < 3, "the server would be silent for five seconds"
    assert LEASE.total_seconds() > TIMEOUT_S * 13, "an attempt ends before it counts as lost"


def test_nobody_there() -> None:
    with mail_server() as gone:
        pass
    with pytest.raises(Unavailable, match="ConnectionRefusedError"):
        gateway(gone).send_mail(MAIL)


@pytest.mark.parametrize("farewell", [{"replies": {"QUIT": "500 what"}}, {"silent_at": "QUIT"}])
def test_a_failed_farewell_does_not_send_it_again(farewell: dict[str, Any]) -> None:
    with mail_server(**farewell) as server:
        assert gateway(server).send_mail(MAIL).provider == "smtp"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("smtps://u%40x:p%2Fw@mail.example.cn", ("mail.example.cn", 465, Encryption.TLS, "u@x", "p/w")),
        ("smtp://u:p@mail.example.cn:2525", ("mail.example.cn", 2525, Encryption.STARTTLS, "u", "p")),
        ("smtp://mail.example.cn", ("mail.example.cn", 587, Encryption.STARTTLS, None, None)),
        ("smtp://127.0.0.1", ("127.0.0.1", 25, Encryption.NONE, None, None)),
    ],
)
def test_urls(url: str, seen: tuple[Any, ...]) -> None:
    made = SmtpMail.from_url(url, "noreply@wy.example.cn")
    assert (made.host, made.port, made.encryption, made.user, made.password) == seen
    assert made.context.verify_mode is ssl.CERT_REQUIRED
    assert made.context.check_hostname
    assert "p/w" not in repr(made)
