"""How everything is measured: the work, and a floor for the same rows, in the same run on the same machine.

Decides the form of a result: one line of JSON, last on the output, with name, seconds, floor_seconds, ratio, rows and
peak_mb (the process's largest resident size). Machines are noisy; a ratio to a floor of the same minute is not.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import flask_migrate
from flask import Flask

from propmgr import config
from propmgr.app import create_app
from propmgr.config import PROJECT, DatabaseUrls
from propmgr.database.base import db
from propmgr.database.embedded import Embedded, default_root


@contextmanager
def empty_house() -> Iterator[tuple[Flask, DatabaseUrls]]:
    """An application on a fresh, durable database at the newest migration; its context is pushed."""
    server = Embedded(default_root(PROJECT / "instance" / "benchmark"))
    server.start()
    name = "benchmark"
    server.drop_database(name)
    server.create_database(name)
    app_url = server.url("propmgr_app", name)
    urls = DatabaseUrls(app_url, server.url("propmgr_owner", name), server.url("propmgr_check", name), direct=app_url)
    with tempfile.TemporaryDirectory() as folder:
        environment = {"PROPMGR_SECRET_KEY": "k" * 64, "PROPMGR_INSTANCE": folder, "PROPMGR_LOG_LEVEL": "error"}
        settings = config.load(environment)
        app = create_app(replace(settings, databases=urls))
        with app.app_context():
            flask_migrate.upgrade()
            yield app, urls
            db.engine.dispose()
    server.drop_database(name)
    server.release()


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(name: str, *, spent: float, floor: float, rows: int) -> None:
    """Print the result line. `ratio` is spent / floor: 1.0 is as fast as bare SQL."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024 * 1024)
    line = {
        "name": name,
        "seconds": round(spent, 3),
        "floor_seconds": round(floor, 3),
        "ratio": round(spent / floor, 3),
        "rows": rows,
        "peak_mb": round(size, 1),
    }
    print(json.dumps(line))


def plain(url: str) -> str:
    """The address as psycopg takes it."""
    return url.replace("postgresql+psycopg", "postgresql")


