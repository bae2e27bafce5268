"""An empty database for those that need SQL: made once, copied for each."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyport.db import schema
from polyport.db.engine import Database


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a database with the schema of now and nothing in it."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    schema.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
async def database(tmp_path: Path, made_once: Path) -> AsyncIterator[Database]:
    shutil.copy(made_once, tmp_path / "test.db")
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    database.open()
    yield database
    database.close()
