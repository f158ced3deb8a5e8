"""Messages: what is sent to whom, how its delivery stands, and what is due."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from propmgr.database.migration import global_table, tenant_table

revision = "20261123_1930"
down_revision = "20261123_1900"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _message()
    _delivery()
    _due()
    # An office queues messages to its own staff; only the worker, as the app role, delivers, wipes and trims.
    op.execute("grant insert on message_due to propmgr_office")
    op.execute("revoke update, delete on message, message_delivery from propmgr_office")


def _message() -> None:
    op.create_table(
        "message",
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("queued_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_message"),
        sa.UniqueConstraint("tenant_id", "key", name="uq_message_tenant_id_key"),
        sa.CheckConstraint("kind in ('login_code', 'operator_alert')", name=op.f("ck_message_kind_word")),
        sa.CheckConstraint("channel in ('sms', 'email')", name=op.f("ck_message_channel_word")),
        sa.CheckConstraint("language in ('zh_CN', 'en')", name=op.f("ck_message_language_word")),
        sa.CheckConstraint("expires_at > queued_at", name=op.f("ck_message_expires")),
    )
    tenant_table("message", update=["parameters"], delete=True, office=True)
    op.execute(
        """
        create function message_only_wiped() returns trigger language plpgsql as $$
        begin
            if new.parameters = '{}' and to_jsonb(new) - 'parameters' = to_jsonb(old) - 'parameters' then
                return new;
            end if;
            raise exception 'messages are never changed, only wiped' using errcode = '42501';
        end $$
        """
    )
    op.execute(
        "create trigger message_only_wiped before update on message for each row execute function message_only_wiped()"
    )


def _delivery() -> None:
    op.create_table(
        "message_delivery",
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("tried_at", INSTANT),
        sa.Column("provider", sa.Text),
        sa.Column("provider_reference", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("ended_at", INSTANT),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_message_delivery"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "id"], ["message.tenant_id", "message.id"], name="fk_message_delivery_tenant_id_id"
        ),
        sa.CheckConstraint(
            "status in ('queued', 'sending', 'sent', 'failed', 'expired')", name=op.f("ck_message_delivery_status_word")
        ),
        sa.CheckConstraint("attempts between 0 and 5", name=op.f("ck_message_delivery_attempts")),
        sa.CheckConstraint(
            "(status in ('sent', 'failed', 'expired')) = (ended_at is not null)", name=op.f("ck_message_delivery_ended")
        ),
    )
    op.create_index(
        "ix_message_delivery_ended",
        "message_delivery",
        ["tenant_id", "ended_at"],
        postgresql_where=sa.text("ended_at is not null"),
    )
    tenant_table("message_delivery", delete=True, office=True, sequence=False)


def _due() -> None:
    op.create_table(
        "message_due",
        sa.Column("organisation_id", sa.BigInteger, nullable=False),
        sa.Column("message_id", sa.BigInteger, nullable=False),
        sa.Column("due_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "message_id", name="pk_message_due"),
        sa.ForeignKeyConstraint(["organisation_id"], ["tenant.id"], name="fk_message_due_organisation_id"),
    )
    op.create_index("ix_message_due_at", "message_due", ["due_at"])
    global_table("message_due", update=["due_at"], delete=True)


def downgrade() -> None:
    for table in ("message_due", "message_delivery", "message"):
        op.execute(f"drop table {table}")
    op.execute("drop function message_only_wiped()")
    op.execute("drop sequence message_id_seq")
