"""Bringing a database to the schema of this code: migrations in order, at start."""

from pathlib import Path

import sqlalchemy as sa

from polyport.errors import Conflict

MIGRATIONS = Path(__file__).parent / "migrations"


class MadeByNewer(Conflict):
    """The database was last used by a newer polyport (its revision is {revision}, this one knows {newest}); take that
    one, or a backup from before."""


def upgrade(url: str) -> None:
    """Create or migrate the database at `url`. Raises `MadeByNewer`, and what the database raises."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            if not _is_current(connection):
                _migrate(connection)
    finally:
        engine.dispose()


def _is_current(connection: sa.Connection) -> bool:
    """Whether the newest migration has been run: the usual case, told without loading Alembic. Raises
    `MadeByNewer`."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return False
    newest = max(path.name for path in (MIGRATIONS / "versions").glob("*.py")).split("_")[0]
    revision = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision > newest:
        raise MadeByNewer(revision=revision, newest=newest)
    return revision == newest


def _migrate(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
