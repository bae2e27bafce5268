"""Ports may be marked to have the default route of their server.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """A new database has the column already: the first migration makes the tables as they are now."""
    if "default_route" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("ports")}:
        column = sa.Column("default_route", sa.Boolean, nullable=False, server_default=sa.false())
        op.add_column("ports", column)
