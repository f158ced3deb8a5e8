"""A browser and a served house. Decides which Chromium is used and that a machine without one says so.

Chromium is the system's, never a download; `PROPMGR_TEST_CHROMIUM` names another one.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.serving import make_server

from propmgr.app import create_app
from propmgr.config import Settings
from propmgr.database.base import db
from tests.browser.looking import Eyes, open_eyes
from tests.web.conftest import compile_catalogues

CHROMIUM = Path(os.environ.get("PROPMGR_TEST_CHROMIUM") or "/usr/bin/chromium")


@pytest.fixture(scope="session")
def eyes() -> Iterator[Eyes]:
    """One Chromium for the run."""
    if not CHROMIUM.exists():
        pytest.skip(os.environ.get("PROPMGR_TEST_NO_CHROMIUM") or f"{CHROMIUM} is not installed")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: run scripts/setup")
    with open_eyes(CHROMIUM) as eyes:
        yield eyes


@pytest.fixture
def house(settings: Settings) -> Iterator[Flask]:
    """The application on a fresh database; routes may be added until it is served."""
    compile_catalogues()
    made = create_app(settings)
    yield made
    with made.app_context():
        db.engine.dispose()


@pytest.fixture
def address(house: Flask) -> Iterator[str]:
    """Where the house is served for this test."""
    server = make_server("127.0.0.1", 0, house, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
