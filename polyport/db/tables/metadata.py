"""What all tables share."""

import datetime

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

revisions = sa.Table("revisions", metadata, sa.Column("value", sa.BigInteger, nullable=False))
"""One row: the number of the last transaction that changed what hosts should do (`Tx.revision`)."""


def now() -> str:
    """The present time as it is stored and compared: UTC, to the microsecond, `2026-11-22T18:00:00.000000`."""
    return stored_time(datetime.datetime.now(datetime.UTC))


def stored_time(moment: datetime.datetime) -> str:
    """A moment, given in UTC, in that form."""
    return moment.isoformat(timespec="microseconds")[:26]
