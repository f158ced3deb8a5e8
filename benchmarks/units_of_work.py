"""What a unit of work costs: scope, session, ORM row, audit rule, commit; against the same INSERT and commit bare.

    python benchmarks/units_of_work.py [units]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from benchmarks.measure import empty_house, plain, report, seconds
from propmgr.audit.commands import record
from propmgr.config import DatabaseUrls
from propmgr.database.unit_of_work import unit_of_work
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import operator_act

INSERT = """insert into audit_record
    (tenant_id, id, at, actor_kind, actor_id, act, object_kind, object_id, request_id, details)
    values (1, nextval('audit_record_id_seq'), now(), 'operator', 'cli', 'bench.write_row', 'row', %s, 'r', '{}')"""


def ours(units: int) -> None:
    """One audit row a unit."""
    for number in range(units):
        with unit_of_work(operator_act(PLATFORM)) as act:
            record(act, "bench.write_row", "row", number)


def bare(urls: DatabaseUrls, units: int) -> None:
    """The same row and the same scope in a bare transaction."""
    with psycopg.connect(plain(urls.app), prepare_threshold=None) as connection:
        for number in range(units):
            connection.execute("set local app.tenant_id = '1'; set local app.read_tenants = '1'")
            connection.execute(INSERT, (number,))
            connection.commit()


def main() -> None:
    """Warm up, then measure both."""
    units = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with empty_house() as (_, urls):
        ours(50)
        bare(urls, 50)
        floor = seconds(lambda: bare(urls, units))
        spent = seconds(lambda: ours(units))
        report("units_of_work", spent=spent, floor=floor, rows=units)


if __name__ == "__main__":
    main()
