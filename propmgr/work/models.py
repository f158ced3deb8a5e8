"""Table of runs. Decides what is kept of one: ids and counters, nothing with a person in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, Integer, Sequence, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from propmgr.database.base import GlobalTable
from propmgr.database.types import Instant, Words, one_of
from propmgr.work.rules import RunStatus


class JobRun(GlobalTable):
    """One run of one job for one organisation and slot."""

    __tablename__ = "job_run"
    __why_global__: ClassVar[str] = "the worker looks for work before it knows for whom; ids and counters only"

    #: Number of the run.
    id: Mapped[int] = mapped_column(BigInteger, Sequence("job_run_id_seq"), primary_key=True, autoincrement=False)
    #: For which organisation; house-wide work belongs to the platform.
    organisation_id: Mapped[int] = mapped_column(ForeignKey("tenant.id"))
    #: Name in the timetable, `slice.verb_noun`.
    job: Mapped[str] = mapped_column(Text)
    #: The scheduled instant (ISO, UTC) or the key of the request: a second request with it is the same run.
    slot: Mapped[str] = mapped_column(Text)
    #: Ids, codes and counts the job needs.
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    #: Where it stands.
    status: Mapped[RunStatus] = mapped_column(Words(RunStatus))
    #: Items finished.
    done: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    #: Items in all, once known.
    total: Mapped[int | None] = mapped_column(BigInteger)
    #: The job's own mark of the last finished item; a resumed run goes on behind it.
    cursor: Mapped[str | None] = mapped_column(Text)
    #: Starts since the last finished item.
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    #: Not to be claimed before this instant: the pause after trouble with the database or a provider.
    not_before: Mapped[datetime | None] = mapped_column(Instant)
    #: Token of the worker that may advance it; NULL unless running.
    holder: Mapped[str | None] = mapped_column(Text)
    #: Whether somebody asked it to stop; it stops between two items.
    cancel_requested: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    #: Kind of the error that failed it; the log has the rest under `error_reference`.
    error: Mapped[str | None] = mapped_column(Text)
    #: Joins to the log.
    error_reference: Mapped[str | None] = mapped_column(Text)
    #: When it was asked for or fell due.
    queued_at: Mapped[datetime] = mapped_column(Instant)
    #: First start.
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    #: End, of whatever kind.
    finished_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (
        one_of("status", RunStatus),
        CheckConstraint("done >= 0 and (total is null or done <= total)", name="progress"),
        CheckConstraint("(status = 'running') = (holder is not null)", name="holder"),
        CheckConstraint("(status in ('done', 'failed', 'cancelled')) = (finished_at is not null)", name="finished"),
        Index("uq_job_run_slot", "organisation_id", "job", "slot", unique=True),
        Index("ix_job_run_open", "id", postgresql_where=text("status in ('queued', 'running')")),
        Index("ix_job_run_latest", "organisation_id", "id"),
    )
