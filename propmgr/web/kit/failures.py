"""What is answered when a request fails. Decides status, words and form of the answer; never shows an error's own text.

The page carries the reference number under which the log has the rest. It needs no database; where even its template
fails, a plain page takes its place. Programs that prefer JSON get the same as JSON.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from flask import Flask, Response, current_app, jsonify, make_response, render_template, request
from flask_babel import gettext
from flask_wtf.csrf import CSRFError
from markupsafe import Markup
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException, SecurityError

from propmgr.kernel.errors import BadInput, NotReady, PropmgrError
from propmgr.web.kit.languages import html_language, msgid
from propmgr.web.kit.requests import request_id

log = structlog.get_logger()

RETRY_AFTER_S = 30

#: A server that may only be read for now reports it outside OperationalError.
_READ_ONLY = "25006"


@dataclass(frozen=True, slots=True)
class Words:
    """What a person is told: what happened, and what to do now. `tone` colours the page's one icon."""

    title: str
    advice: str
    icon: str
    tone: str


WORDS = {
    400: Words(
        msgid("This request could not be understood"),
        msgid("Go back, reload the page and try again."),
        "alert-triangle",
        "warn",
    ),
    403: Words(
        msgid("You may not open this page"),
        msgid("If you need it for your work, ask the administrator of your organisation."),
        "lock",
        "warn",
    ),
    404: Words(
        msgid("There is no such page"),
        msgid("Check the address, or go on from the start page."),
        "map-pin",
        "info",
    ),
    405: Words(
        msgid("This address does not take such a request"),
        msgid("Open the page from a link instead of sending a form to it."),
        "alert-triangle",
        "warn",
    ),
    409: Words(
        msgid("The state has changed in the meantime"),
        msgid("Open the page again, look at the present state, then decide."),
        "refresh",
        "warn",
    ),
    413: Words(
        msgid("What you sent is too large"),
        msgid("Send a smaller file, or fewer entries at a time."),
        "upload",
        "warn",
    ),
    422: Words(
        msgid("What was entered cannot be taken"),
        msgid("Go back, correct it and send it again."),
        "alert-triangle",
        "warn",
    ),
    429: Words(
        msgid("Too many requests in a short time"),
        msgid("Wait a minute, then try again."),
        "clock",
        "warn",
    ),
    500: Words(
        msgid("Something went wrong on our side"),
        msgid("It has been recorded. If it happens again, tell us the reference number below."),
        "alert-triangle",
        "bad",
    ),
    503: Words(
        msgid("The service is not available right now"),
        msgid("Try again in a minute. Before you send a payment or a form again, see whether it was already recorded."),
        "clock",
        "bad",
    ),
}
_EXPIRED = msgid("This form has expired. Go back, reload the page and send it again.")


def answer_failures(app: Flask) -> None:
    """Take every failure of the app's requests."""
    app.register_error_handler(CSRFError, _expired)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(PropmgrError, _said)
    app.register_error_handler(DBAPIError, _database)
    app.register_error_handler(PoolTimeoutError, _not_ready)
    app.register_error_handler(Exception, _failed)


def failure(status: int, detail: str | None = None, *, field: str | None = None) -> Response:
    """The answer for a status. `detail` is a translated sentence of ours that takes the place of the advice."""
    words = WORDS.get(status) or WORDS[400 if status < 500 else 500]
    title, advice = _translated(words.title), detail or _translated(words.advice)
    if _prefers_json():
        error = {"status": status, "title": title, "message": advice, "reference": request_id()}
        response = jsonify(error=error | ({"field": field} if field else {}))
    else:
        response = make_response(_page(status, words, title, advice))
    response.status_code = status
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _page(status: int, words: Words, title: str, advice: str) -> str:
    if isinstance(request.routing_exception, SecurityError):
        return _plain_page(title, advice)  # under a foreign host no address of ours can be built
    try:
        return render_template("kit/failure.html", status=status, words=words, title=title, advice=advice)
    except Exception:
        log.exception("failure.template")
        return _plain_page(title, advice)


def _plain_page(title: str, advice: str) -> str:
    """Without template, style sheet, session or address: what can still be said when nothing else works."""
    page = Markup(
        '<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title></head>'
        "<body><main><h1>{title}</h1><p>{advice}</p><p>{label} <code>{reference}</code></p></main></body></html>"
    )
    try:
        spoken = html_language()
    except Exception:
        spoken = "en"
    label = _translated(msgid("Reference number"))
    return page.format(language=spoken, title=title, advice=advice, label=label, reference=request_id())


def _translated(sentence: str, **params: object) -> str:
    """Our sentence in the language of the request; in English where translating itself fails."""
    try:
        return gettext(sentence, **params)
    except Exception:
        log.exception("failure.translation", msgid=sentence)
        return sentence % params if params else sentence


def _prefers_json() -> bool:
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/html"]


def _expired(_error: CSRFError) -> Response:
    return failure(400, _translated(_EXPIRED))


def _refused(error: HTTPException) -> Response:
    """What Flask and Werkzeug refuse, and `abort`. Their headers (Allow, Retry-After) are kept, their texts are not."""
    if error.response is not None:
        taken = current_app.make_response(error.response)  # an answer somebody made on purpose
        return taken
    status = error.code or 500
    response = failure(status)
    for name, value in error.get_headers(request.environ):
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _said(error: PropmgrError) -> Response:
    """An error of ours: its sentence is for people; but with status 500 it is a fault of the house and stays here."""
    if error.status == 500:
        return _failed(error)
    if isinstance(error, NotReady):
        log.warning("request.not_ready", exc_info=error)
    field = error.field if isinstance(error, BadInput) else None
    return failure(error.status, _translated(error.message, **error.params), field=field)


def _database(error: DBAPIError) -> Response:
    trouble = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    if trouble or getattr(error.orig, "sqlstate", None) == _READ_ONLY:
        return _not_ready(error)
    return _failed(error)


def _not_ready(error: Exception) -> Response:
    log.warning("request.not_ready", exc_info=error)
    return failure(503)


def _failed(error: Exception) -> Response:
    if current_app.debug:
        raise error
    log.error("request.failed", exc_info=error)
    return failure(500)
