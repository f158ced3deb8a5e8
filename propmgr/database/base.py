"""Base classes of all tables and the one `db` object. Decides names of constraints; holds no rule and no table.

A table is either a tenant's (`TenantTable`: row level security, key begins with tenant_id) or global (`GlobalTable`:
ids, counters and public facts only, nothing with a person in it).
"""

from __future__ import annotations

from typing import ClassVar

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import BigInteger, MetaData, Sequence
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Registry of all tables. Table names are always written out."""

    metadata = MetaData(naming_convention=NAMING)


class GlobalTable(Base):
    """Readable by every organisation. `__why_global__` says why no tenant owns its rows."""

    __abstract__ = True
    __why_global__: ClassVar[str]


class TenantTable(Base):
    """Rows of one organisation. The primary key is (tenant_id, id); ids come from one sequence a table."""

    __abstract__ = True
    #: False for rows that only keep the state of a delivery: they are facts about our own work, not acts of a person.
    __audited__: ClassVar[bool] = True

    #: The organisation whose row this is; it never changes.
    tenant_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, sort_order=-2)

    @declared_attr
    def id(cls) -> Mapped[int]:
        """Number within the whole house, from the table's own sequence."""
        return mapped_column(
            BigInteger,
            Sequence(f"{cls.__tablename__}_id_seq"),
            primary_key=True,
            autoincrement=False,
            sort_order=-1,
        )


db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})
