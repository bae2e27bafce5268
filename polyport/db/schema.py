"""Bringing a database to the schema of this code: migrations in order, at start."""

from pathlib import Path

import sqlalchemy as sa

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(url: str) -> None:
    """Create or migrate the database at `url`. Raises what the database raises, and leaves it as it was then."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            if not _is_current(connection):
                _migrate(connection)
    finally:
        engine.dispose()


def _is_current(connection: sa.Connection) -> bool:
    """Whether the newest migration has been run: the usual case, told without loading Alembic."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return False
    newest = max(path.name for path in (MIGRATIONS / "versions").glob("*.py")).split("_")[0]
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == [newest]


def _migrate(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
