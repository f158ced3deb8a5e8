"""create_app: wiring only. Decides the order in which the parts are put together; nothing imports it but wsgi."""

from __future__ import annotations

import flask_migrate
from flask import Flask

from propmgr import cli, config, tables
from propmgr.config import PROJECT, DatabaseUrls, Settings
from propmgr.database.base import db
from propmgr.database.embedded import Embedded, default_root
from propmgr.database.engines import APP_ENGINE
from propmgr.telemetry import logs
from propmgr.web.mount import mount

assert tables.__all__, "the roll-call makes every table known before the first mapper is used"


def create_app(settings: Settings | None = None) -> Flask:
    """The application. Without DATABASE_URL the embedded server is started (or found running) first."""
    settings = settings or config.load()
    logs.configure(settings.log_level)
    app = Flask("propmgr", template_folder=str(PROJECT / "templates"), static_folder=str(PROJECT / "static"))
    urls, embedded = _databases(settings)
    app.extensions["propmgr.installation"] = cli.Installation(settings, urls, embedded)
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SQLALCHEMY_DATABASE_URI=urls.app,
        SQLALCHEMY_ENGINE_OPTIONS=APP_ENGINE,
        OWNER_DATABASE_URL=urls.owner,
    )
    db.init_app(app)
    flask_migrate.Migrate(app, db, directory=str(PROJECT / "migrations"))
    mount(app, settings)
    cli.register(app)
    return app


def _databases(settings: Settings) -> tuple[DatabaseUrls, Embedded | None]:
    if settings.databases is not None:
        return settings.databases, None
    embedded = Embedded(default_root(settings.instance))
    embedded.start()
    app_url = embedded.url("propmgr_app")
    urls = DatabaseUrls(app_url, embedded.url("propmgr_owner"), embedded.url("propmgr_check"), direct=app_url)
    return urls, embedded
