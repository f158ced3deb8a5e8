"""Typed errors: what can go wrong, in words a person can act on. Decides the HTTP status of each kind; never renders.

Every error carries an English msgid with `%(name)s` places and its parameters. The edge (web, cli) translates it;
`propmgr/translations` is tested to hold each msgid that is raised anywhere in the house.
"""

from __future__ import annotations

from typing import ClassVar


class PropmgrError(Exception):
    """Base of all errors this house raises on purpose. `status` is the HTTP status the web answers with."""

    status: ClassVar[int] = 500

    def __init__(self, message: str, **params: object) -> None:
        super().__init__(message % params if params else message)
        self.message = message
        self.params = params


class BadInput(PropmgrError):
    """What was typed or sent cannot be taken; `field` names the form field it stands beside."""

    status = 422

    def __init__(self, message: str, *, field: str | None = None, **params: object) -> None:
        super().__init__(message, **params)
        self.field = field


class NotFound(PropmgrError):
    """Absent, or somebody else's: the two are never told apart."""

    status = 404


class Forbidden(PropmgrError):
    """Known and visible, but this person may not do this act."""

    status = 403


class Conflict(PropmgrError):
    """Somebody else was faster, or the state no longer allows it; the page shows the present state."""

    status = 409


class NotReady(PropmgrError):
    """A part the act needs is down for now; nothing was written; the same act may be tried again."""

    status = 503


class ConfigError(PropmgrError):
    """Settings that cannot be started with. Lists every fault at once, one a line."""
