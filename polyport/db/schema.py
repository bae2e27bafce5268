"""Bringing a database to the schema of this code: migrations in order, at start."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config


def upgrade(url: str) -> None:
    """Create or migrate the database at `url`. Raises what the database raises; nothing is half done (SQLite's DDL
    is part of the transaction)."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
