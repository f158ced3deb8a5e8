"""The demo outbox, and which gateways an installation uses."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from propmgr import config
from propmgr.config import TencentSms
from propmgr.kernel.act import SHANGHAI
from propmgr.messages.gateways.choice import outbox_folder, ports_from
from propmgr.messages.gateways.demo import KEPT, DemoOutbox, newest
from propmgr.messages.gateways.port import Accepted, Mail, Sms, Unavailable
from propmgr.messages.gateways.smtp import SmtpMail
from propmgr.messages.gateways.tencent import TencentGateway
from propmgr.messages.rules import MessageKind

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=SHANGHAI)


def sms(number: int) -> Sms:
    return Sms("13800138000", MessageKind.LOGIN_CODE, ("204816", "5"), f"验证码{number}", f"7-{number}")


def test_one_line_a_message_for_the_owner_alone(tmp_path: Path) -> None:
    outbox = DemoOutbox(tmp_path / "outbox", lambda: NOON)
    assert outbox.send_sms(sms(1)) == Accepted("demo", "7-1")
    outbox.send_mail(Mail("ops@example.cn", "主题", "两\n行", "7-2"))
    path = tmp_path / "outbox" / "2026-11-23.jsonl"
    assert len(path.read_text().splitlines()) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    found = newest(tmp_path / "outbox", 10)
    assert [(message.channel, message.text) for message in found] == [("email", "两\n行"), ("sms", "验证码1")]
    assert (found[0].subject, found[0].recipient, found[1].at) == ("主题", "ops@example.cn", NOON.isoformat())
    assert "13800138000" not in repr(found[1])


def test_the_newest_over_several_days(tmp_path: Path) -> None:
    for day in range(3):
        outbox = DemoOutbox(tmp_path, lambda day=day: NOON + timedelta(days=day))
        for number in range(3):
            outbox.send_sms(sms(10 * day + number))
    assert [message.reference for message in newest(tmp_path, 4)] == ["7-22", "7-21", "7-20", "7-12"]
    assert newest(tmp_path / "absent", 4) == []


def test_a_line_cut_short_hides_no_other(tmp_path: Path) -> None:
    DemoOutbox(tmp_path, lambda: NOON).send_sms(sms(1))
    path = tmp_path / "2026-11-23.jsonl"
    path.write_bytes(path.read_bytes() + b'{"at": "2026\n[1]\n\xff\xfe\n')
    DemoOutbox(tmp_path, lambda: NOON).send_sms(sms(2))
    assert [message.reference for message in newest(tmp_path, 10)] == ["7-2", "7-1"]


def test_a_new_day_forgets_the_old_ones(tmp_path: Path) -> None:
    for days in (0, 1, KEPT.days + 1):
        DemoOutbox(tmp_path, lambda days=days: NOON + timedelta(days=days)).send_sms(sms(days))
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["2026-11-24", "2026-12-01"]


def test_several_writers_never_mix_their_lines(tmp_path: Path) -> None:
    outbox = DemoOutbox(tmp_path, lambda: NOON)
    threads = [
        threading.Thread(target=lambda n=n: [outbox.send_sms(sms(100 * n + i)) for i in range(50)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({message.reference for message in newest(tmp_path, 1000)}) == 200


def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file in the way")
    with pytest.raises(Unavailable):
        DemoOutbox(tmp_path / "outbox", lambda: NOON).send_sms(sms(1))


def test_which_gateways(tmp_path: Path) -> None:
    settings = config.load({"PROPMGR_SECRET_KEY": "k" * 64, "PROPMGR_INSTANCE": str(tmp_path)})
    ports = ports_from(settings)
    assert isinstance(ports.sms, DemoOutbox)
    assert isinstance(ports.mail, DemoOutbox)
    assert ports.sms.folder == outbox_folder(settings) == tmp_path / "outbox"
    account = TencentSms("AKID", "key", "1400006666", "签名", {"login_code": "1"})
    ports = ports_from(replace(settings, sms=account, mail_url="smtps://u:p@mail.example.cn"))
    assert isinstance(ports.sms, TencentGateway)
    assert isinstance(ports.mail, SmtpMail)
    assert not (tmp_path / "outbox").exists(), "choosing connects to nothing and writes nothing"
