"""What a server has not is NULL, no longer JSON's own null.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name in ("image", "key", "trusted_certificates", "fault"):
        servers = sa.table("servers", sa.column(name, sa.JSON))
        text = sa.cast(servers.c[name], sa.Text)
        op.execute(sa.update(servers).where(text == "null").values({name: sa.null()}))
