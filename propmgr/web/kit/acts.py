"""Acts of the house itself during a request. Decides that their audit rows and log lines carry the request's number."""

from __future__ import annotations

from dataclasses import replace

import structlog

from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import Act, system_act
from propmgr.web.kit.requests import request_id


def house_act(name: str) -> Act:
    """An act in the platform's name, for a page that belongs to nobody's organisation; `name` is the page's."""
    structlog.contextvars.bind_contextvars(organisation=PLATFORM)
    return replace(system_act(PLATFORM, name=name), request_id=request_id())
