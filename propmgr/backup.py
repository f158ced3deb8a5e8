"""Backup and restore of the whole house. Decides what proves that a backup holds everything; never changes live rows.

A backup is a folder: `database.dump` (pg_dump's custom format) and `manifest.json` (counts per table and organisation,
heads of the audit chains, schema revision, digest of the dump). A dump under row level security is silently empty where
a policy is missing, so the dump itself is read back and its rows are counted per organisation before it counts as made.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, make_url, text

from propmgr.audit.commands import record
from propmgr.audit.heads import HeadFiles
from propmgr.audit.queries import Head, heads
from propmgr.checks import hidden_from_backup, run_checks, tenant_tables
from propmgr.config import DatabaseUrls
from propmgr.database.engines import check_engine
from propmgr.kernel.act import SHANGHAI, Act
from propmgr.kernel.errors import BadInput, NotReady, PropmgrError

#: Backups kept in the folder; older ones are removed after a new one has been proven.
KEPT = 14

#: Rows per table and organisation; organisation "" for global tables.
Counts = dict[str, dict[str, int]]


class BackupError(PropmgrError):
    """The backup or restore is not whole; the message says what differs."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the dump must contain."""

    made_at: str
    revision: str
    dump_sha256: str
    counts: Counts
    heads: dict[str, dict[str, int | str]]

    @property
    def rows(self) -> int:
        """Rows in all tables."""
        return sum(sum(by_tenant.values()) for by_tenant in self.counts.values())


def make(urls: DatabaseUrls, folder: Path, bin_dir: Path | None, at: datetime) -> Path:
    """Dump, read the dump back, compare, and only then give the folder its name. Returns it.

    `bin_dir` holds pg_dump and pg_restore; None takes them from PATH. Raises BackupError or NotReady.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
    final = folder / at.astimezone(SHANGHAI).strftime("%Y%m%d-%H%M%S")
    partial = final.with_suffix(".partial")
    _remove_leftovers(folder, at)
    partial.mkdir(mode=0o700)
    try:
        _fill(partial, urls, bin_dir, at)
    except BaseException:
        shutil.rmtree(partial)
        raise
    partial.rename(final)
    for old in sorted(path.parent for path in folder.glob("*/manifest.json"))[:-KEPT]:
        shutil.rmtree(old)
    return final


def _fill(partial: Path, urls: DatabaseUrls, bin_dir: Path | None, at: datetime) -> None:
    """Dump and counts from one snapshot, the dump read back, the manifest."""
    dump = partial / "database.dump"
    engine = check_engine(urls.check)
    try:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
            # The dump and the counts below are read by the same role: what a policy hides from it, both would miss.
            if hidden := hidden_from_backup(connection)[1]:
                raise BackupError("A table is hidden from the backup: %(first)s", first=hidden[0])
            revision = connection.execute(text("select version_num from alembic_version")).scalar_one()
            snapshot = connection.execute(text("select pg_export_snapshot()")).scalar_one()
            _dump(urls.check, dump, snapshot, bin_dir)
            manifest = Manifest(
                made_at=at.isoformat(),
                revision=revision,
                dump_sha256=_digest(dump),
                counts=count_rows(connection),
                heads={str(h.tenant_id): {"number": h.number, "head": h.head} for h in heads(connection)},
            )
    finally:
        engine.dispose()
    _compare(manifest.counts, rows_in_dump(dump, bin_dir), "The dump")
    (partial / "manifest.json").write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True))


def _remove_leftovers(folder: Path, at: datetime) -> None:
    """Backups that were broken off more than a day ago; a younger one may still be under way."""
    for path in folder.glob("*.partial"):
        if at.timestamp() - path.stat().st_mtime > timedelta(days=1).total_seconds():
            shutil.rmtree(path)


def restore(urls: DatabaseUrls, folder: Path, bin_dir: Path | None, kept_heads: HeadFiles, at: datetime) -> Manifest:
    """Fill an empty database from a backup, all or nothing, and compare every count. Migrate, then `prove` it.

    Heads kept outside since the backup are set aside as evidence; the backup's own heads take their place. Raises
    BadInput (no such backup, database not empty), BackupError (it differs), NotReady.
    """
    manifest = read_manifest(folder)
    dump = folder / "database.dump"
    if _digest(dump) != manifest.dump_sha256:
        raise BackupError("The dump in %(folder)s was changed after the backup was made.", folder=folder)
    _assert_empty(urls.owner)
    _run(
        bin_dir,
        urls.owner,
        ["pg_restore", "--single-transaction", "--exit-on-error", "--schema=public", "--dbname"],
        dump,
    )
    _compare(manifest.counts, _counts(urls.check), "The restored database")
    aside = kept_heads.set_aside(at.strftime("before-restore-%Y%m%d-%H%M%S"))
    restored = [Head(int(t), int(kept["number"]), str(kept["head"])) for t, kept in manifest.heads.items()]
    if restored or aside:
        kept_heads.keep(at.astimezone(SHANGHAI).date(), restored)
    return manifest


def prove(urls: DatabaseUrls, kept_heads: HeadFiles) -> None:
    """The invariants hold, the chains reach the heads of the backup. Raises BackupError with the first violation."""
    violated = [violation for result in run_checks(urls.check, kept_heads) for violation in result.violations]
    if violated:
        raise BackupError("The restored database violates an invariant: %(first)s", first=violated[0])


def note_restore(act: Act, manifest: Manifest) -> None:
    """The restore's own audit row, in the platform's log."""
    record(act, "house.restore_backup", "backup", None, made_at=manifest.made_at, rows=manifest.rows)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup folder. Raises BadInput where there is none."""
    try:
        return Manifest(**json.loads((folder / "manifest.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput("%(folder)s is not a finished backup.", folder=folder) from error


def count_rows(connection: Connection) -> Counts:
    """Rows per table and organisation, as the role sees them; the organisation is "" in global tables."""
    tenants = set(tenant_tables(connection))
    counts: Counts = {}
    for table in _all_tables(connection):
        key = "tenant_id::text" if table in tenants else "''"
        rows = connection.execute(text(f"select {key}, count(*) from {table} group by 1"))  # noqa: S608 - catalogue
        counts[table] = {tenant: count for tenant, count in rows}  # noqa: C416 - rows, not pairs
    return counts


def rows_in_dump(dump: Path, bin_dir: Path | None) -> Counts:
    """Rows per table and organisation that the dump really holds, read from its own COPY text."""
    command = [str(_program(bin_dir, "pg_restore")), "--data-only", "--file=-", str(dump)]
    counts: Counts = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        assert reader.stdout is not None and reader.stderr is not None
        for table, tenant in _copied(iter(reader.stdout)):
            by_tenant = counts.setdefault(table, Counter())
            if tenant is not None:
                by_tenant[tenant] += 1
        complaint = reader.stderr.read().decode(errors="replace")
    if reader.returncode != 0:
        raise BackupError("The dump cannot be read back: %(complaint)s", complaint=complaint.strip()[-500:])
    return {table: dict(by_tenant) for table, by_tenant in counts.items()}


def _copied(lines: Iterator[bytes]) -> Iterator[tuple[str, str | None]]:
    """(table, organisation) for each row of a dump's COPY sections; (table, None) once for each section."""
    for line in lines:
        if not line.startswith(b"COPY public."):
            continue
        table, _, columns = line.decode().removeprefix("COPY public.").partition(" (")
        names = columns.partition(")")[0].split(", ")
        place = names.index("tenant_id") if "tenant_id" in names else None
        yield table, None
        for row in lines:
            if row == b"\\.\n":
                break
            yield table, "" if place is None else row.split(b"\t")[place].strip().decode()


def _compare(expected: Counts, found: Counts, what: str) -> None:
    for table in sorted({*expected, *found}):
        wanted, present = expected.get(table, {}), found.get(table, {})
        for tenant in sorted({*wanted, *present}):
            if wanted.get(tenant, 0) != present.get(tenant, 0):
                raise BackupError(
                    "%(what)s is not whole: %(table)s of organisation %(tenant)s has %(found)s rows, not %(wanted)s.",
                    what=what,
                    table=table,
                    tenant=tenant or "-",
                    found=present.get(tenant, 0),
                    wanted=wanted.get(tenant, 0),
                )


def _counts(url: str) -> Counts:
    engine = check_engine(url)
    try:
        with engine.connect() as connection:
            return count_rows(connection)
    finally:
        engine.dispose()


def _all_tables(connection: Connection) -> list[str]:
    query = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1"
    return list(connection.execute(text(query)).scalars())


def _assert_empty(owner_url: str) -> None:
    engine = create_engine(owner_url)
    try:
        with engine.connect() as connection:
            if _all_tables(connection):
                raise BadInput("The database is not empty: a backup is restored into an empty one.")
    finally:
        engine.dispose()


def _dump(url: str, dump: Path, snapshot: str, bin_dir: Path | None) -> None:
    options = ["--enable-row-security", "--schema=public", "--format=custom", f"--snapshot={snapshot}", "--file"]
    _run(bin_dir, url, ["pg_dump", *options, str(dump), "--dbname"], None)


def _run(bin_dir: Path | None, url: str, command: list[str], last: Path | None) -> None:
    """Run a client program against `url`; the password travels in the environment, never on the command line."""
    address = make_url(url).difference_update_query(["require_auth"])  # client programs before 16 do not know it
    plain = URL.create(
        "postgresql", address.username, None, address.host, address.port, address.database, address.query
    ).render_as_string()
    program, *options = command
    arguments = [str(_program(bin_dir, program)), *options, plain, *([str(last)] if last else [])]
    environment = {**os.environ, "PGPASSWORD": str(address.password or "")}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupError("%(program)s failed: %(complaint)s", program=program, complaint=done.stderr.strip()[-800:])


def _program(bin_dir: Path | None, name: str) -> Path:
    found = shutil.which(name, path=str(bin_dir) if bin_dir else None)
    if found is None:
        raise NotReady("%(program)s is not installed: install PostgreSQL's client programs.", program=name)
    return Path(found)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
