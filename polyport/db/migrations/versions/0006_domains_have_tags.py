"""Domains have tags, as projects do.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """A new database has them already: the first migration makes the tables as they are now."""
    if "tags" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("domains")}:
        op.add_column("domains", sa.Column("tags", sa.JSON, nullable=False, server_default="[]"))
