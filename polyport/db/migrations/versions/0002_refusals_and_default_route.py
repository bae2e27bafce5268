"""Security groups that a host refused; ports that are marked to have the default route of their server.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from polyport.db.tables import metadata

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """A new database has both already: the first migration makes the tables as they are now."""
    metadata.create_all(op.get_bind(), [metadata.tables["security_group_refusals"]])
    if "default_route" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("ports")}:
        op.add_column("ports", sa.Column("default_route", sa.Boolean, nullable=False, server_default=sa.false()))
