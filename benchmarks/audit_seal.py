"""Sealing a long audit log, against hashing the same text once in bare SQL.

    python benchmarks/audit_seal.py [rows]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import create_engine, text

from benchmarks.measure import empty_house, report, seconds
from propmgr.audit.heads import HeadFiles
from propmgr.audit.jobs import seal_all
from propmgr.audit.queries import ROW_TEXT, broken_links
from propmgr.database.unit_of_work import session, unit_of_work
from propmgr.identity.rules import PLATFORM
from propmgr.kernel.act import operator_act

FILL = """insert into audit_record
    (tenant_id, id, at, actor_kind, actor_id, act, object_kind, object_id, request_id, details)
    select 1, n, now(), 'operator', 'cli', 'bench.write_row', 'row', n, md5(n::text), jsonb_build_object('amount', n)
    from generate_series(1, :rows) n"""
HASH = f"select sha256(convert_to(string_agg({ROW_TEXT}, E'\\n' order by id), 'UTF8')) from audit_record"


def main() -> None:
    """Fill, hash bare, seal, verify."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    with empty_house() as (_, urls), tempfile.TemporaryDirectory() as folder:
        with unit_of_work(operator_act(PLATFORM)):
            session().execute(text(FILL), {"rows": rows})
        engine = create_engine(urls.check)
        with engine.connect() as connection:
            floor = seconds(lambda: connection.execute(text(HASH)).all())
            spent = seconds(lambda: seal_all([PLATFORM], HeadFiles(Path(folder))))
            connection.rollback()
            assert broken_links(connection)[1] == []
        engine.dispose()
        report("audit_seal", spent=spent, floor=floor, rows=rows)


if __name__ == "__main__":
    main()
