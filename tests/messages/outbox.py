"""What the tests of the outbox share: a provider in memory, words for queueing and looking. No test in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, text

from propmgr.database.base import db
from propmgr.database.unit_of_work import is_open, session, unit_of_work
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import system_act
from propmgr.messages.commands import queue_message
from propmgr.messages.gateways.port import Accepted, Mail, Ports, Sms
from propmgr.messages.jobs import deliver_due
from propmgr.messages.models import Message, MessageDelivery, MessageDue
from propmgr.messages.rules import Channel, MessageKind

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
NUMBER = "13800138000"
CODE = "204816"


@dataclass
class Provider:
    """Both ports. `answers` are used up first, then every message is accepted; an exception is raised."""

    answers: list[Exception | Callable[[Any], None]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def ports(self) -> Ports:
        return Ports(self, self)

    def send_sms(self, sms: Sms) -> Accepted:
        return self._answer(sms)

    def send_mail(self, mail: Mail) -> Accepted:
        return self._answer(mail)

    def _answer(self, letter: Sms | Mail) -> Accepted:
        assert not is_open()
        assert db.engine.pool.checkedout() == 0, "no connection is held while the provider is called"  # type: ignore[attr-defined]
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            answer(letter)
        self.taken.append(letter.reference)
        self.texts.append(letter.text)
        return Accepted("memory", f"n-{len(self.taken)}")

    def deliver(self, at: datetime = NOW) -> int:
        return deliver_due(self.ports, PLATFORM, at=at)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def queue_code(
    tenant_id: int, key: str = "code 1", *, at: datetime = NOW, minutes: int = 5, number: str = NUMBER
) -> int:
    """Queue a log-in code in a unit of its own."""
    with unit_of_work(system_act(tenant_id, at=at)) as act:
        expires = at + timedelta(minutes=minutes)
        words = {"code": CODE, "minutes": minutes}
        return queue_message(act, MessageKind.LOGIN_CODE, Channel.SMS, number, words, key, expires)


def queue_alert(tenant_id: int, key: str = "alert 1", *, at: datetime = NOW) -> int:
    """Queue an alert, which never grows stale, in a unit of its own."""
    with unit_of_work(system_act(tenant_id, at=at)) as act:
        words = {"what": "审计链断开", "count": 3, "reference": "0a1b"}
        return queue_message(act, MessageKind.OPERATOR_ALERT, Channel.EMAIL, "ops@example.cn", words, key)


@dataclass(frozen=True)
class Seen:
    """How a message stands, as the organisation's own rows say."""

    status: str
    attempts: int
    error: str | None
    parameters: dict[str, str]
    due_at: datetime | None
    provider_reference: str | None


def look(tenant_id: int, message_id: int) -> Seen:
    with unit_of_work(system_act(tenant_id)):
        row = {"tenant_id": tenant_id, "id": message_id}
        message, delivery = session().get_one(Message, row), session().get_one(MessageDelivery, row)
        due = select(MessageDue.due_at).filter_by(organisation_id=tenant_id, message_id=message_id)
        return Seen(
            delivery.status.value,
            delivery.attempts,
            delivery.error_code,
            message.parameters,
            session().scalar(due),
            delivery.provider_reference,
        )


def count(tenant_id: int, query: str) -> int:
    """One figure, as that organisation sees it."""
    with unit_of_work(system_act(tenant_id)):
        return session().execute(text(query)).scalar_one()
