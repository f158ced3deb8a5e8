"""What is refused before any page sees it. Decides hosts, sizes of bodies, flags of cookies, and that forms are ours.

A page that takes a larger body (an import) says so itself with `request.max_content_length`.
"""

from __future__ import annotations

from flask import Flask, request
from flask_wtf.csrf import CSRFProtect

from propmgr.config import Settings

#: A body: a form with a photograph or two.
MOST_BYTES = 8 * 1024 * 1024
#: All fields of a form that are no files, however the form is encoded.
MOST_FORM_BYTES = 512 * 1024
#: Fields and files together.
MOST_FORM_PARTS = 1000

#: Every request that is not a reading one must carry the token of its session.
csrf = CSRFProtect()


def limit(app: Flask, settings: Settings) -> None:
    """Set the limits in the app's configuration and ask every form for its token."""
    https = is_https(settings)
    app.config.update(
        TRUSTED_HOSTS=list(settings.trusted_hosts),
        MAX_CONTENT_LENGTH=MOST_BYTES,
        MAX_FORM_MEMORY_SIZE=MOST_FORM_BYTES,
        MAX_FORM_PARTS=MOST_FORM_PARTS,
        # The prefix makes the browser insist on Secure, on the whole path, and on this very host.
        SESSION_COOKIE_NAME="__Host-propmgr" if https else "propmgr",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=https,
        SESSION_COOKIE_PATH="/",
        PREFERRED_URL_SCHEME="https" if https else "http",
        # A token lives as long as its session: a form that was filled in slowly is not lost.
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.before_request(_limit_form)  # before the token is looked for in the form
    csrf.init_app(app)


def _limit_form() -> None:
    """A form without files is parsed in one piece, which MAX_FORM_MEMORY_SIZE does not reach."""
    if request.mimetype == "application/x-www-form-urlencoded":
        request.max_content_length = MOST_FORM_BYTES


def is_https(settings: Settings) -> bool:
    """Whether people reach the house by https, whoever ends it."""
    return settings.public_url.startswith("https://")
