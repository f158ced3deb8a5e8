"""Which language a page speaks. Decides between Chinese (the default) and English; never changes what is said.

The choice of the person wins (a cookie), then the browser's wish, then Chinese. msgids are English, so that English
is complete by itself; the Chinese catalogue is tested to be complete.
"""

from __future__ import annotations

from functools import cache

from babel.support import NullTranslations, Translations
from flask import Blueprint, Flask, current_app, has_request_context, redirect, request
from flask_babel import Babel, Domain, get_locale
from werkzeug.wrappers import Response

from propmgr.config import PROJECT
from propmgr.kernel.errors import BadInput
from propmgr.web.kit.redirects import own_path

CATALOGUES = PROJECT / "propmgr" / "translations"
DEFAULT = "zh_CN"
#: Languages by the name each gives itself.
LANGUAGES = {"zh_CN": "中文", "en": "English"}
COOKIE = "language"
_YEAR_S = 365 * 24 * 3600

blueprint = Blueprint("language", __name__)


class _HouseDomain(Domain):
    """Finds catalogues under the common name zh_CN; Babel itself would look for zh_Hans_CN."""

    def get_translations(self) -> NullTranslations:
        return _catalogue(language())


class _HouseBabel(Babel):
    """Translates by the house's domain, everywhere in the app."""

    @property
    def domain_instance(self) -> Domain:
        """The catalogues every translation of the app comes from."""
        return _DOMAIN


_DOMAIN = _HouseDomain(str(CATALOGUES))


def speak(app: Flask) -> None:
    """Let templates and errors speak the language of the request."""
    app.config.update(BABEL_DEFAULT_LOCALE=DEFAULT, BABEL_DEFAULT_TIMEZONE="Asia/Shanghai")
    _HouseBabel(app, locale_selector=_wish)
    app.register_blueprint(blueprint)


def language() -> str:
    """`zh_CN` or `en`; a piece of work without a request speaks the default unless it was told otherwise."""
    locale = get_locale()
    return "en" if locale is not None and locale.language == "en" else DEFAULT


def msgid(sentence: str) -> str:
    """Mark a sentence for the catalogues where it is written; it is translated where it is shown."""
    return sentence


def html_language() -> str:
    """The language as HTML writes it."""
    return language().replace("_", "-")


@blueprint.post("/language")
def choose() -> Response:
    """Remember the chosen language and go back to the page the choice was made on."""
    chosen = request.form.get("language", "")
    if chosen not in LANGUAGES:
        raise BadInput("This language is not spoken here.", field="language")
    answer = redirect(own_path(request.form.get("next")), 303)
    secure = current_app.config["SESSION_COOKIE_SECURE"]
    answer.set_cookie(COOKIE, chosen, max_age=_YEAR_S, httponly=True, samesite="Lax", secure=secure)
    return answer


def _wish() -> str:
    if not has_request_context():
        return DEFAULT
    chosen = request.cookies.get(COOKIE)
    if chosen in LANGUAGES:
        return chosen
    for wished, quality in request.accept_languages:
        for spoken in LANGUAGES:
            if quality > 0 and wished.lower().replace("_", "-").partition("-")[0] == spoken.partition("_")[0]:
                return spoken
    return DEFAULT


@cache
def _catalogue(spoken: str) -> NullTranslations:
    return Translations.load(str(CATALOGUES), [spoken])
