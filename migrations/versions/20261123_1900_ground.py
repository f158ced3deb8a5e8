"""Ground: organisations, divisions, the audit log with its chain, runs of jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from propmgr.database.migration import append_only, create_sequence, global_table, tenant_table

revision = "20261123_1900"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    create_sequence("bulk_block", "propmgr_app", "propmgr_office", start=1 << 20)
    op.execute(
        """
        create function append_only() returns trigger language plpgsql as $$
        begin
            raise exception 'rows of % are never changed or removed', tg_table_name using errcode = '42501';
        end $$
        """
    )
    # The readiness page compares the revision; the backup keeps it.
    op.execute("grant select on alembic_version to propmgr_app, propmgr_check")
    _places()
    _organisations()
    _audit()
    _work()


def _places() -> None:
    op.create_table(
        "division",
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("parent_code", sa.Text),
        sa.Column("since_edition", sa.SmallInteger, nullable=False),
        sa.Column("gone_edition", sa.SmallInteger),
        sa.PrimaryKeyConstraint("code", name="pk_division"),
        sa.ForeignKeyConstraint(["parent_code"], ["division.code"], name="fk_division_parent_code"),
        sa.CheckConstraint(
            "code ~ '^([0-9]{2}|[0-9]{4}|[0-9]{6}|[0-9]{9}|[0-9]{12})$'", name=op.f("ck_division_code_digits")
        ),
    )
    op.create_index("ix_division_parent", "division", ["parent_code", "code"])
    global_table("division")


def _organisations() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("division_code", sa.Text),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenant"),
        sa.UniqueConstraint("name", name="uq_tenant_name"),
        sa.ForeignKeyConstraint(["division_code"], ["division.code"], name="fk_tenant_division_code"),
        sa.CheckConstraint("kind in ('company', 'office', 'platform')", name=op.f("ck_tenant_kind_word")),
        sa.CheckConstraint("status in ('open', 'suspended', 'closed')", name=op.f("ck_tenant_status_word")),
    )
    create_sequence("tenant_id_seq", start=2)
    op.execute("insert into tenant (id, kind, name, status, opened_at) values (1, 'platform', '平台', 'open', now())")
    global_table("tenant")
    # Everybody reads the names; only an act scoped to an organisation writes its row.
    own = "id = nullif(current_setting('app.tenant_id', true), '')::bigint"
    op.execute("alter table tenant enable row level security, force row level security")
    op.execute("create policy tenant_r on tenant for select to propmgr_app, propmgr_office, propmgr_check using (true)")
    op.execute(f"create policy tenant_i on tenant for insert to propmgr_app with check ({own})")
    op.execute(f"create policy tenant_u on tenant for update to propmgr_app using ({own}) with check ({own})")


def _audit() -> None:
    op.create_table(
        "audit_record",
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor_kind", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("object_kind", sa.Text, nullable=False),
        sa.Column("object_id", sa.BigInteger),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("details", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("seal_no", sa.BigInteger),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_audit_record"),
        sa.CheckConstraint(
            "actor_kind in ('staff', 'resident', 'office', 'platform', 'link', 'operator', 'system')",
            name=op.f("ck_audit_record_actor_kind_word"),
        ),
    )
    op.create_index(
        "ix_audit_record_unsealed", "audit_record", ["tenant_id", "id"], postgresql_where=sa.text("seal_no is null")
    )
    op.create_index("ix_audit_record_seal", "audit_record", ["tenant_id", "seal_no"])
    op.create_index("ix_audit_record_object", "audit_record", ["tenant_id", "object_kind", "object_id"])
    op.create_index("ix_audit_record_at", "audit_record", ["tenant_id", "at"])
    op.create_table(
        "audit_seal",
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("sealed_at", INSTANT, nullable=False),
        sa.Column("previous", sa.LargeBinary, nullable=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_audit_seal"),
        sa.CheckConstraint("records > 0", name=op.f("ck_audit_seal_records")),
        sa.CheckConstraint(
            "octet_length(previous) = 32 and octet_length(head) = 32", name=op.f("ck_audit_seal_sha256")
        ),
    )
    tenant_table("audit_record", update=["seal_no"], office=True, never_insert=["seal_no"])
    tenant_table("audit_seal", update=False, sequence=False)
    append_only("audit_seal")
    op.execute(
        """
        create function audit_record_sealed_once() returns trigger language plpgsql as $$
        declare sealed audit_record := old;
        begin
            sealed.seal_no := new.seal_no;
            if tg_op = 'UPDATE' and old.seal_no is null and sealed is not distinct from new then
                return new;
            end if;
            raise exception 'audit records are never changed or removed' using errcode = '42501';
        end $$
        """
    )
    op.execute(
        "create trigger audit_record_sealed_once before update or delete on audit_record"
        " for each row execute function audit_record_sealed_once()"
    )
    op.execute(
        "create trigger audit_record_truncate before truncate on audit_record"
        " for each statement execute function append_only()"
    )


def _work() -> None:
    op.create_table(
        "job_run",
        sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("organisation_id", sa.BigInteger, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("slot", sa.Text, nullable=False),
        sa.Column("parameters", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("total", sa.BigInteger),
        sa.Column("cursor", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("not_before", INSTANT),
        sa.Column("holder", sa.Text),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("error", sa.Text),
        sa.Column("error_reference", sa.Text),
        sa.Column("queued_at", INSTANT, nullable=False),
        sa.Column("started_at", INSTANT),
        sa.Column("finished_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_job_run"),
        sa.ForeignKeyConstraint(["organisation_id"], ["tenant.id"], name="fk_job_run_organisation_id"),
        sa.CheckConstraint(
            "status in ('queued', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_job_run_status_word")
        ),
        sa.CheckConstraint("done >= 0 and (total is null or done <= total)", name=op.f("ck_job_run_progress")),
        sa.CheckConstraint("(status = 'running') = (holder is not null)", name=op.f("ck_job_run_holder")),
        sa.CheckConstraint(
            "(status in ('done', 'failed', 'cancelled')) = (finished_at is not null)", name=op.f("ck_job_run_finished")
        ),
    )
    op.create_index("uq_job_run_slot", "job_run", ["organisation_id", "job", "slot"], unique=True)
    op.create_index("ix_job_run_open", "job_run", ["id"], postgresql_where=sa.text("status in ('queued', 'running')"))
    op.create_index("ix_job_run_latest", "job_run", ["organisation_id", "id"])
    create_sequence("job_run_id_seq", "propmgr_app", "propmgr_office")
    global_table("job_run", delete=True)


def downgrade() -> None:
    for table in ("job_run", "audit_seal", "audit_record", "tenant", "division"):
        op.execute(f"drop table {table}")
    for sequence in ("job_run_id_seq", "audit_record_id_seq", "tenant_id_seq", "bulk_block"):
        op.execute(f"drop sequence {sequence}")
    op.execute("drop function audit_record_sealed_once()")
    op.execute("drop function append_only()")
