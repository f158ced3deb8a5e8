"""The application as a browser meets it. Unlike with the fixture `app`, no context is open between requests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from flask import Flask
from flask.testing import FlaskClient

from propmgr.app import create_app
from propmgr.config import DatabaseUrls, Settings
from propmgr.database.base import db
from propmgr.web.kit.languages import CATALOGUES
from tests.conftest import test_settings

Lines = Callable[[], list[dict[str, object]]]


@pytest.fixture(scope="session", autouse=True)
def _catalogues() -> None:
    compile_catalogues()


def compile_catalogues() -> None:
    """Set-up compiles the catalogues; where it has not, or they have changed since, the tests do."""
    for source in CATALOGUES.glob("*/LC_MESSAGES/messages.po"):
        compiled = source.with_suffix(".mo")
        if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
            fresh = compiled.with_suffix(f".{os.getpid()}")
            with source.open("rb") as words, fresh.open("wb") as file:
                write_mo(file, read_po(words))
            fresh.replace(compiled)


def away(tmp_path: Path) -> Settings:
    """Settings that name a database nobody answers for."""
    urls = DatabaseUrls(*(f"postgresql+psycopg://{role}:secret-word@127.0.0.1:1/none" for role in "abcd"))
    return replace(test_settings(urls, tmp_path / "instance"), databases=urls)


@pytest.fixture
def site(settings: Settings) -> Iterator[Flask]:
    """The application on a fresh database. Routes may be added until the first request."""
    made = create_app(settings)
    yield made
    with made.app_context():
        db.engine.dispose()


@pytest.fixture
def client(site: Flask) -> FlaskClient:
    """A browser without cookies."""
    return site.test_client()


@pytest.fixture
def bare(tmp_path: Path) -> Flask:
    """The application without its database: whatever works here needs none."""
    return create_app(away(tmp_path))


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """The log lines since the last call."""

    def read() -> list[dict[str, object]]:
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    return read
