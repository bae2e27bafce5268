"""Fixtures of the API tests: the real application and the real SQL, in process; the host half is the fake one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.client import Client, TestCloud


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[TestCloud]:
    async with TestCloud(tmp_path) as running:
        yield running


@pytest.fixture
async def client(cloud: TestCloud) -> Client:
    """A member of the project `demo`."""
    return await cloud.client("demo", "member")


@pytest.fixture
async def other(cloud: TestCloud) -> Client:
    """A member of another project."""
    return await cloud.client("other", "member")


@pytest.fixture
async def admin(cloud: TestCloud) -> Client:
    return await cloud.client("admin", "admin")
