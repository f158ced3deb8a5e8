"""Log lines: one JSON object a line on standard error. Decides what may stand in one; never lets a person into it.

Every line of the house and of the libraries it stands on passes `mask`: values under telling keys are hidden, and
whatever looks like a mobile number, an identity number or an e-mail address is hidden wherever it stands. An exception
is logged as its type and its frames; its words may carry a row's values and are left out. A request is known by its
route's name, never by its path, because a path may hold a token.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from copy import copy
from datetime import date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO
from uuid import UUID

import structlog

from propmgr.kernel.errors import PropmgrError

HIDDEN = "[hidden]"
#: A log line is a sentence and some figures; a text longer than this is cut.
LONGEST_TEXT = 2000

_PROJECT = Path(__file__).resolve().parents[2]
#: Keys whose value is hidden wherever one of these stands in them.
_TELLING = re.compile(
    r"phone|mobile|e_?mail|recipient|passw|token|secret|authori[sz]ation|cookie|credential|address"
    r"|(^|_)(tel|pwd|otp|totp|pin|dsn|url)s?(_|$)|(name|code)s?$|^(name|code)_"
)
#: They end like a telling key and name no person.
_HARMLESS = frozenset({"division_code", "status_code", "exit_code", "filename"})
#: Keys under which our own random sixteen characters stand: they may look like a number and must stay whole.
_REFERENCES = frozenset({"request_id", "reference", "error_reference", "holder"})
_REFERENCE = re.compile(r"[0-9a-f]{16}")

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # The user and the password of an address; before e-mail, which it resembles.
    (re.compile(r"(?<=://)[^\s/@]*@"), "[hidden]@"),
    (re.compile(r"[\w.+%'&*/=?^`{|}~!#$-]+[@＠]\w[\w.-]*"), "[e-mail]"),
    # Identity cards have eighteen places, the last may be an X; old ones have fifteen, bank cards up to nineteen.
    (re.compile(r"(?<!\d)\d{15,19}(?!\d)[xXｘＸ]?"), "[number]"),
    (re.compile(r"(?<!\d)(?:(?:00|\+|＋)?86[ -]?|0)?[1１][3-9３-９]\d[ -]?\d{4}[ -]?\d{4}(?!\d)"), "[phone]"),
    (re.compile(r"\?[^\s\"']*=[^\s\"']*"), "?[query]"),
    # An error of the database as text, in whatever language the server speaks; and what is added to one: row values.
    (re.compile(r"(\((?:psycopg|builtins|sqlalchemy)\.[\w.]+\)) .*", re.DOTALL), r"\1 " + HIDDEN),
    (re.compile(r"\[(?:SQL|parameters): .*|\b(?:DETAIL|CONTEXT): .*", re.DOTALL), HIDDEN),
)
_TRACEBACK = "Traceback (most recent call last)"
#: A path that stands by itself; not the rest of an address or of a file's short name.
_PATH = re.compile(r"(?<![\w:/.\]])/[^\s'\"]*")
_FRAME = re.compile(r'File "([^"\n]+)", line (\d+), in (\S+)')

#: Libraries that speak on their own, and from which level on they are heard. The request line is ours: werkzeug's and
#: gunicorn's carry the raw path.
_VOICES = {
    "werkzeug": logging.WARNING,
    "gunicorn.error": logging.INFO,
    "gunicorn.access": logging.CRITICAL,
    "apscheduler": logging.WARNING,
    "alembic": logging.INFO,
    "alembic.runtime.plugins": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "flask_limiter": logging.WARNING,
    "flask_wtf": logging.WARNING,
}


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to whatever standard error is at that moment, as the library's own handler of last resort does."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, a library's message cleaned first; other handlers still see the record as it was."""
        if not isinstance(record.msg, dict):  # a library's own record; structlog hands over its dictionary
            record = copy(record)
            record.msg, record.args = _message_of_library(record), None
        return super().format(record)


def configure(level: str) -> None:
    """Route structlog and the standard library's logging into one masked JSON stream. May be called again."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _exception_as_frames,
        mask,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_name_of_library, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False, default=_kind),
            ],
            keep_exc_info=False,
            keep_stack_info=False,
        )
    )
    root = logging.getLogger()
    # Handlers that write elsewhere (a test's recorder) stay; a second one on the same stream would say all twice.
    root.handlers = [kept for kept in root.handlers if type(kept) not in (logging.StreamHandler, _StandardError)]
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, quietest in _VOICES.items():
        voice = logging.getLogger(name)
        voice.handlers, voice.propagate, voice.disabled = [], True, False
        voice.setLevel(max(quietest, root.level))
    logging.captureWarnings(True)
    # Somebody else's hook (a test runner's) was set on purpose and stays.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _last_words
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _last_words_of_thread


def mask(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: the same event without anything personal in it. Figures, words of ours and references stay."""
    return {key: value if key.startswith("_") else masked(value, key) for key, value in event.items()}


def masked(value: Any, key: str = "") -> Any:
    """`value` as it may be logged under `key`; containers are walked, unknown objects become the name of their type."""
    if _tells(key) and value is not None and not isinstance(value, bool):
        return HIDDEN
    if isinstance(value, str):
        if key in _REFERENCES and _REFERENCE.fullmatch(value):
            return value
        return masked_text(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        text = masked_text(str(value))
        return value if text == str(value) else text
    if isinstance(value, Mapping):
        return {masked_text(str(name)): masked(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(inner, key) for inner in value]
    if isinstance(value, date | datetime | timedelta | UUID):
        return str(value)
    return _kind(value)


def masked_text(text: str) -> str:
    """The text without numbers and addresses of people, query strings, row values and words of exceptions."""
    if _TRACEBACK in text:
        text = _frames_of_text(text)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"


def frames(error: BaseException) -> dict[str, Any]:
    """What may be logged of an exception: type, frames, cause; the database's own code, table and constraint.

    Our own errors add their msgid, which is a sentence of the source and holds no value.
    """
    kind = type(error)
    seen: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")}
    if isinstance(error, PropmgrError):
        seen["message"] = error.message
    seen |= _database_facts(error)
    seen["frames"] = [
        f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        seen["cause"] = frames(cause)
    return seen


def _tells(key: str) -> bool:
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).replace("-", "_").lower()
    return plain not in _HARMLESS and _TELLING.search(plain) is not None


def _exception_as_frames(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: `exc_info` in any of its three forms becomes `exception`, without the words of the error."""
    given = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = frames(error)
    return event


def _message_of_library(record: logging.LogRecord) -> str:
    """A library's message without what it tells of a request: its path, its line, the words of an exception."""
    message = _kind(record.msg) if isinstance(record.msg, BaseException) else _assembled(record)
    if record.name == "py.warnings":
        return message
    if record.name.startswith("gunicorn") and message.startswith("Invalid request from"):
        return "Invalid request"  # goes on with the caller's address and the raw request line
    return _PATH.sub("[path]", _frames_of_text(message) if _TRACEBACK in message else message)


def _name_of_library(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: which library speaks."""
    event["logger"] = event["_record"].name
    return event


def _assembled(record: logging.LogRecord) -> str:
    if not record.args:
        return str(record.msg)
    if isinstance(record.args, Mapping):
        arguments: Any = {name: _argument(value) for name, value in record.args.items()}
    else:
        arguments = tuple(_argument(value) for value in record.args)
    try:
        return str(record.msg) % arguments
    except (TypeError, ValueError):
        return str(record.msg)


def _argument(value: Any) -> Any:
    return _kind(value) if isinstance(value, BaseException) else value


def _database_facts(error: BaseException) -> dict[str, str]:
    """SQLSTATE, table and constraint: names of the schema. The statement and its parameters stay out."""
    source = getattr(error, "orig", None) or error
    diagnosis = getattr(source, "diag", None)
    facts = {
        "sqlstate": getattr(source, "sqlstate", None),
        "table": getattr(diagnosis, "table_name", None),
        "constraint": getattr(diagnosis, "constraint_name", None),
    }
    return {name: fact for name, fact in facts.items() if isinstance(fact, str)}


def _frames_of_text(text: str) -> str:
    """A traceback that a library wrote into its message, cut down to its frames and the type it ends with."""
    before, _, trace = text.partition(_TRACEBACK)
    places = [f"{_short(name)}:{line} {function}" for name, line, function in _FRAME.findall(trace)]
    last = re.findall(r"^([A-Za-z_][\w.]*)(?::|$)", trace, re.MULTILINE)
    return f"{before}traceback: {' < '.join(reversed(places))} {last[-1] if last else ''}".strip()


def _short(filename: str) -> str:
    path = Path(filename)
    if path.is_relative_to(_PROJECT) and "site-packages" not in path.parts:
        return path.relative_to(_PROJECT).as_posix()
    return "/".join(path.parts[-2:])


def _kind(value: object) -> str:
    return f"<{type(value).__name__}>"


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In place of Python's own report of an uncaught exception, which prints the exception's words."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger().critical("process.died", exc_info=error)


def _last_words_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        structlog.get_logger().critical("thread.died", exc_info=args.exc_value)
