"""Quotas: what a project may have, and counters of what it has (counting rows would cost more with each row)."""

import sqlalchemy as sa

from polyport.db.tables.metadata import metadata

limits = sa.Table(
    "quota_limits",
    metadata,
    sa.Column("project_id", sa.String(64), primary_key=True),
    sa.Column("resource", sa.String(32), primary_key=True),
    sa.Column("most", sa.BigInteger, nullable=False),
)

usages = sa.Table(
    "quota_usages",
    metadata,
    sa.Column("project_id", sa.String(64), primary_key=True),
    sa.Column("resource", sa.String(32), primary_key=True),
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.CheckConstraint("used >= 0", name="used"),
)
