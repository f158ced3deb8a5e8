"""Loading an edition of the division codes as a job, against the same rows put bare into a table of the same form.

    python benchmarks/load_divisions.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from benchmarks.measure import empty_house, plain, report, seconds
from propmgr.config import DatabaseUrls
from propmgr.database.unit_of_work import unit_of_work
from propmgr.identity.queries import organisations
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import operator_act
from propmgr.places.edition import EDITION, PROVINCES, read_divisions
from propmgr.places.jobs import load_divisions
from propmgr.places.queries import divisions_count
from propmgr.places.rules import parent_code
from propmgr.work.commands import request_run
from propmgr.work.engine import Worker
from propmgr.work.planning import Timetable


def bare(urls: DatabaseUrls) -> None:
    """One transaction a province, rows from the same files, into a table with the same keys and index."""
    with psycopg.connect(plain(urls.owner)) as connection:
        connection.execute("create table bare (like division including all)")
        connection.execute("alter table bare add foreign key (parent_code) references bare (code)")
        connection.commit()
        for province in PROVINCES:
            rows = [(code, name, parent_code(code), EDITION) for code, name in read_divisions(province)]
            connection.execute(
                "insert into bare select * from unnest(%s::text[], %s::text[], %s::text[], %s::smallint[])",
                [list(column) for column in zip(*rows, strict=True)],
            )
            connection.commit()


def main() -> None:
    """Measure the floor, then the job."""
    with empty_house() as (app, urls):
        floor = seconds(lambda: bare(urls))
        with unit_of_work(operator_act(PLATFORM)) as act:
            request_run(act, "places.load_divisions", "benchmark")
        jobs = Timetable({"places.load_divisions": load_divisions}, (), ())
        worker = Worker(jobs, lambda: [(o.id, o.opened_at) for o in organisations()], app.app_context, PLATFORM)
        spent = seconds(worker.work_off)
        with unit_of_work(operator_act(PLATFORM)):
            rows = divisions_count()
        report("load_divisions", spent=spent, floor=floor, rows=rows)


if __name__ == "__main__":
    main()
