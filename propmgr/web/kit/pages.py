"""What templates may call. Decides how numbers and instants are written; never what a page shows."""

from __future__ import annotations

from datetime import datetime

from flask import Flask
from jinja2 import StrictUndefined

from propmgr.kernel.act import SHANGHAI
from propmgr.web.kit.assets import asset_url, has_asset
from propmgr.web.kit.headers import nonce
from propmgr.web.kit.languages import LANGUAGES, html_language, language
from propmgr.web.kit.redirects import this_path
from propmgr.web.kit.requests import request_id


def furnish(app: Flask) -> None:
    """Give templates their functions. A name that a page forgot to pass is an error, not an empty place."""
    # Set before the environment is first used: `jinja_options` are read once.
    app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.globals.update(
        asset_url=asset_url,
        has_asset=has_asset,
        html_language=html_language,
        language=language,
        languages=LANGUAGES,
        nonce=nonce,
        request_id=request_id,
        this_path=this_path,
    )
    app.jinja_env.filters.update(count=count, instant=instant)


def count(number: int | None) -> str:
    """1,234; an unknown number is a dash, never 0; minus is the sign, not the hyphen."""
    return "—" if number is None else f"{number:,}".replace("-", "\u2212")


def instant(moment: datetime) -> str:
    """2026-09-29 18:00, in the house's zone."""
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")
