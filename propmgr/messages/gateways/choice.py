"""Which gateways an installation uses. Decides by the settings alone; connects to nothing."""

from __future__ import annotations

from pathlib import Path

from propmgr.config import Settings
from propmgr.messages.gateways.demo import DemoOutbox
from propmgr.messages.gateways.port import Ports
from propmgr.messages.gateways.smtp import SmtpMail
from propmgr.messages.gateways.tencent import TencentGateway


def outbox_folder(settings: Settings) -> Path:
    """Where messages go for which no provider is named."""
    return settings.instance / "outbox"


def ports_from(settings: Settings) -> Ports:
    """The providers the settings name; the demo outbox in place of each that they do not."""
    outbox = DemoOutbox(outbox_folder(settings))
    return Ports(
        sms=TencentGateway(settings.sms) if settings.sms is not None else outbox,
        mail=SmtpMail.from_url(settings.mail_url, settings.mail_from) if settings.mail_url else outbox,
    )
