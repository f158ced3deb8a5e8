"""Addresses of static files. Decides a file's version, so that browsers may keep it for a year; never serves one.

Third-party files are copied into static/vendor at set-up. Where one is missing, pages leave it out and still work.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from flask import current_app, url_for
from werkzeug.security import safe_join


def asset_url(name: str) -> str:
    """The address of a file below static/, with its version."""
    return url_for("static", filename=name, v=version(name))


def has_asset(name: str) -> bool:
    """Whether the file is there: files of others may not have been set up."""
    return version(name) is not None


def version(name: str) -> str | None:
    """Ten characters that change whenever the file does; None where there is no such file."""
    path = safe_join(current_app.static_folder or "", name)
    if path is None:
        return None
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return _digest(path, found.st_mtime_ns, found.st_size) if Path(path).is_file() else None


@lru_cache(maxsize=512)
def _digest(path: str, _changed_ns: int, _size: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:10]
