"""Files that a server's owner put into the guest.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """A new database has it already: the first migration makes the tables as they are now."""
    if "personality" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("servers")}:
        op.add_column("servers", sa.Column("personality", sa.JSON, nullable=True))
