"""Where an answer may send the browser. Decides which given addresses are paths of this house; never follows one."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

from flask import request

#: A path that was encoded more often than this is nobody's honest link.
_MOST_LAYERS = 4


def own_path(target: str | None, otherwise: str = "/") -> str:
    """`target` if it is a path of this house, else `otherwise`.

    Browsers read `//host`, `/\\host` and, after dropping tabs and line ends, `/<tab>/host` as another host; proxies
    may decode before they pass on. So no layer of the path's encoding may hold any of these.
    """
    if not target or len(target) > 2000 or not _is_plain(target) or not _is_path(target):
        return otherwise
    path = target.partition("?")[0].partition("#")[0]
    for _ in range(_MOST_LAYERS):
        inner = unquote(path)
        if not _is_plain(inner) or not _is_path(inner):
            return otherwise
        if inner == path:
            return target
        path = inner
    return otherwise


def this_path() -> str:
    """The path of the page that is being answered, with its query; "/" where a form was sent."""
    if request.method != "GET":
        return "/"
    query = request.query_string.decode("latin-1")
    return own_path(quote(request.path) + (f"?{query}" if query else ""))


def _is_plain(text: str) -> bool:
    """Without control characters, blanks, backslashes, and halves of characters."""
    return all(" " < letter != "\x7f" and not "\ud800" <= letter <= "\udfff" for letter in text) and "\\" not in text


def _is_path(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return text.startswith("/") and not text.startswith("//") and not parts.scheme and not parts.netloc
