"""The application as a browser meets it. Decides nothing; unlike `app`, no context is open between requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from propmgr.app import create_app
from propmgr.config import Settings
from propmgr.database.base import db


@pytest.fixture
def site(settings: Settings) -> Iterator[Flask]:
    """The application on a fresh database."""
    made = create_app(settings)
    yield made
    with made.app_context():
        db.engine.dispose()


@pytest.fixture
def client(site: Flask) -> FlaskClient:
    """A browser without cookies."""
    return site.test_client()
