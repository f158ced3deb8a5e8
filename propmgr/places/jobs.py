"""Loading the shipped edition of division codes, province by province. Decides the items of the run."""

from __future__ import annotations

from propmgr.places import commands
from propmgr.places.edition import PROVINCES
from propmgr.work.run import Run


def load_divisions(run: Run) -> None:
    """One province an item; a resumed run goes on behind the last one finished."""
    run.expect(len(PROVINCES))
    for province in PROVINCES:
        if run.cursor is None or province > run.cursor:
            with run.item(cursor=province) as act:
                commands.load_province(act, province)
