"""The demo outbox: messages as lines of a file, where no provider is named. Decides the file's form; sends nothing.

One file a day, readable by its owner alone, because the lines hold recipients and log-in codes. Files older than a
week are removed when a new one is begun.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from propmgr.kernel.act import SHANGHAI
from propmgr.messages.gateways.port import Accepted, Mail, Sms, Unavailable

KEPT = timedelta(days=7)

_FILES = "????-??-??.jsonl"


@dataclass(frozen=True, slots=True)
class DemoMessage:
    """One line of the outbox."""

    at: str
    channel: str
    recipient: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    reference: str


def newest(folder: Path, count: int) -> list[DemoMessage]:
    """The newest `count` messages of an outbox, newest first; lines that were cut short are left out."""
    found: list[DemoMessage] = []
    for path in sorted(folder.glob(_FILES), reverse=True):
        for line in reversed(path.read_text(encoding="utf-8", errors="replace").splitlines()):
            if len(found) >= count:
                return found
            try:
                found.append(DemoMessage(**json.loads(line)))
            except (ValueError, TypeError):
                continue
    return found


class DemoOutbox:
    """Both ports at once."""

    def __init__(self, folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(SHANGHAI)) -> None:
        self.folder = folder
        self._clock = clock

    def send_sms(self, sms: Sms) -> Accepted:
        return self._append("sms", sms.number, "", sms.text, sms.reference)

    def send_mail(self, mail: Mail) -> Accepted:
        return self._append("email", mail.address, mail.subject, mail.text, mail.reference)

    def _append(self, channel: str, recipient: str, subject: str, text: str, reference: str) -> Accepted:
        now = self._clock()
        message = DemoMessage(now.isoformat(timespec="seconds"), channel, recipient, subject, text, reference)
        line = json.dumps(asdict(message), ensure_ascii=False).encode() + b"\n"
        path = self.folder / f"{now.date().isoformat()}.jsonl"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                self._forget(now.date() - KEPT)
            # One write of a whole line to a file opened for appending: two processes never mix their lines.
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                written = os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unavailable(type(error).__name__) from None
        if written != len(line):
            raise Unavailable("DiskFull")
        return Accepted("demo", reference)

    def _forget(self, before: date) -> None:
        for path in self.folder.glob(_FILES):
            if path.stem < before.isoformat():
                path.unlink(missing_ok=True)
