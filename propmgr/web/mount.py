"""Puts everything of the web into the app. Decides the order; holds nothing else."""

from __future__ import annotations

from flask import Flask

from propmgr.config import Settings
from propmgr.web.api import health
from propmgr.web.kit import failures, headers, languages, limits, pages, requests
from propmgr.web.platform import status


def mount(app: Flask, settings: Settings) -> None:
    """Hooks, limits, languages, error pages and blueprints. Needs app.config["SECRET_KEY"]; called once, before use."""
    requests.watch(app)  # first: whatever follows is counted, logged and has its number
    headers.protect(app, https=limits.is_https(settings))
    pages.furnish(app)  # before anything asks for the template environment
    limits.limit(app, settings)
    languages.speak(app)
    failures.answer_failures(app)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(status.blueprint)
