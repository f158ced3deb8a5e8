"""Heads of the hash chains, kept in files outside the database. Decides how they are kept; never computes one.

One JSON file a day holds the newest head of every chain; the file of today is replaced, past days stay. Put the
folder (PROPMGR_HEADS) on another disk or a write-once share: whoever cuts the tail of a chain must then cut both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

from propmgr.audit.queries import Head


class HeadFiles:
    """The folder of kept heads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, day: date, heads: Iterable[Head]) -> None:
        """Store today's newest heads; an organisation that is not among `heads` keeps what it had."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{day.isoformat()}.json"
        known = _read(path) if path.exists() else {}
        known.update({str(head.tenant_id): {"number": head.number, "head": head.head} for head in heads})
        fresh = path.with_suffix(f".{os.getpid()}.tmp")
        with fresh.open("w") as file:
            json.dump(known, file, indent=0, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def has(self, day: date) -> bool:
        """Whether heads were kept on that day."""
        return (self.folder / f"{day.isoformat()}.json").exists()

    def all(self) -> Iterator[tuple[str, Head]]:
        """Every kept head with the day it was kept, oldest first."""
        for path in sorted(self.folder.glob("????-??-??.json")):
            for tenant, kept in _read(path).items():
                yield path.stem, Head(int(tenant), kept["number"], kept["head"])

    def set_aside(self, name: str) -> Path | None:
        """After a restore from a backup: keep the newer heads as evidence, and start over. None if there were none."""
        if not self.folder.exists():
            return None
        aside = self.folder.with_name(f"{self.folder.name}.{name}")
        self.folder.rename(aside)
        return aside


def _read(path: Path) -> dict[str, dict]:
    return json.loads(path.read_text())
