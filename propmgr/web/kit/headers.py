"""What a browser may do with an answer. Decides the security headers and how long an answer is kept.

Pages are never kept: the next person at the same computer must not see them. Static files are kept for a year under
an address that carries their version.
"""

from __future__ import annotations

import secrets

from flask import Flask, Response, request

from propmgr.web.kit.assets import version

_NONCE = "propmgr.nonce"
_YEAR_S = 365 * 24 * 3600
_HOUR_S = 3600

FIXED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def protect(app: Flask, *, https: bool) -> None:
    """Set the headers on every answer, error pages and static files included."""

    @app.after_request
    def _set(response: Response) -> Response:
        response.headers.update(FIXED)
        response.headers["Content-Security-Policy"] = policy(nonce())
        response.headers["Cache-Control"] = _kept_for(response)
        if https:
            response.headers["Strict-Transport-Security"] = f"max-age={_YEAR_S}"
        return response


def nonce() -> str:
    """The word that lets this answer's own script elements run; another one for every answer."""
    word: str = request.environ.setdefault(_NONCE, secrets.token_urlsafe(18))
    return word


def policy(word: str) -> str:
    """The content security policy: everything from this house, no inline style, inline script only with the word."""
    return (
        f"default-src 'self'; script-src 'self' 'nonce-{word}'; style-src 'self'; style-src-attr 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    )


def _kept_for(response: Response) -> str:
    read = request.method in ("GET", "HEAD") and response.status_code in (200, 206, 304)
    if request.endpoint != "static" or not read:
        return "no-store"
    asked = request.args.get("v")
    if asked and asked == version((request.view_args or {})["filename"]):
        return f"public, max-age={_YEAR_S}, immutable"
    return f"public, max-age={_HOUR_S}"
