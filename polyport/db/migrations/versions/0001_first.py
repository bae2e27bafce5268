"""The first schema.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from polyport.db.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Until the first release the tables are made as they are now; from then on each change is a migration."""
    metadata.create_all(op.get_bind())
    op.execute(sa.text("INSERT INTO revisions (value) VALUES (0)"))
