"""A request from its first to its last moment. Decides its reference number, its log line and its figures.

The reference number is our own; a number that came with the request is only kept beside it. Bodies, query strings and
paths are never logged: the route's name says what was asked.
"""

from __future__ import annotations

import re
import time

import structlog
from flask import Flask, Response, request

from propmgr.kernel.act import new_request_id
from propmgr.telemetry.metrics import REQUEST_SECONDS, REQUESTS

log = structlog.get_logger()

_REFERENCE = "propmgr.request_id"
_STARTED = "propmgr.started"
_UPSTREAM = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: Asked for many times a minute by machines and browsers; told only at the level `debug`.
_QUIET = frozenset({"static", "api_health.alive", "api_health.ready"})


def watch(app: Flask) -> None:
    """Give every request its number, its log line and its figures. Mounted first: it sees all that follows."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)


def request_id() -> str:
    """The reference number of the request being answered: in the log, in audit rows, on error pages, in the answer."""
    number: str = request.environ.setdefault(_REFERENCE, new_request_id())
    return number


def _begin() -> None:
    request.environ[_STARTED] = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id(), organisation=None, endpoint=_endpoint())
    upstream = request.headers.get("X-Request-ID", "")
    if _UPSTREAM.fullmatch(upstream):
        structlog.contextvars.bind_contextvars(upstream_id=upstream)


def _end(response: Response) -> Response:
    seconds = time.perf_counter() - request.environ.get(_STARTED, time.perf_counter())
    endpoint, method = _endpoint(), request.method if request.method in _METHODS else "other"
    REQUESTS.labels(endpoint, method, str(response.status_code)).inc()
    REQUEST_SECONDS.labels(endpoint).observe(seconds)
    response.headers["X-Request-ID"] = request_id()
    line = {"method": method, "status": response.status_code, "milliseconds": round(seconds * 1000, 1)}
    if response.status_code >= 500:
        log.warning("request", **line)
    elif endpoint in _QUIET:
        log.debug("request", **line)
    else:
        log.info("request", **line)
    return response


def _forget(_error: BaseException | None) -> None:
    structlog.contextvars.clear_contextvars()


def _endpoint() -> str:
    """The route's name; an address without a route has none, so that probing makes no new labels."""
    return request.endpoint or "none"
