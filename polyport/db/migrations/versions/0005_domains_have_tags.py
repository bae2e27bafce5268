"""Domains have tags, as projects do.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """A new database has them already: the first migration makes the tables as they are now."""
    if "tags" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("domains")}:
        op.add_column("domains", sa.Column("tags", sa.JSON, nullable=False, server_default="[]"))
