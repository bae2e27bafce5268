"""Each action of a server knows the plan that carries it out.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """A new database has it already: the first migration makes the tables as they are now."""
    if "revision" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("server_actions")}:
        op.add_column("server_actions", sa.Column("revision", sa.Integer, nullable=False, server_default="0"))
