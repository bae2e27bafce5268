"""Each action of a server knows the plan that carries it out.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """A new database has it already: the first migration makes the tables as they are now."""
    if "revision" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("server_actions")}:
        op.add_column("server_actions", sa.Column("revision", sa.Integer, nullable=False, server_default="0"))
