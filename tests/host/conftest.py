"""Dataplanes in network namespaces of the test's own, and what is left of them afterwards: nothing."""

import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from polyport.config import DataplaneConfig
from polyport.dataplane import Dataplane, VifPlan
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.bridge.namespace import NAMESPACES
from tests.host.plans import OPEN
from tests.host.wire import Nic

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("host"):
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture
def namespace() -> Iterator[str]:
    """The name of a namespace that does not exist yet, and does not exist any more after the test."""
    name = f"pp-dataplane-{os.getpid()}-{next(_numbers)}"
    yield name
    if (NAMESPACES / name).exists():
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture
def config(namespace: str) -> DataplaneConfig:
    return DataplaneConfig(namespace=namespace)


@pytest.fixture
async def dataplane(config: DataplaneConfig) -> AsyncIterator[BridgeDataplane]:
    """A bridge dataplane that was just opened in an empty namespace."""
    driver = BridgeDataplane(config)
    await driver.open()
    await driver.ensure_groups([OPEN])
    yield driver
    await driver.close()


Cable = Callable[[VifPlan], Awaitable[Nic]]


@pytest.fixture
async def cable(dataplane: BridgeDataplane) -> AsyncIterator[Cable]:
    """Plugs a vif and gives the guest's end of it; all are let go after the test."""
    nics: list[Nic] = []
    driver: Dataplane = dataplane

    async def plugged(vif: VifPlan) -> Nic:
        nic = Nic(await driver.plug(vif), vif)
        nics.append(nic)
        return nic

    yield plugged
    for nic in nics:
        nic.close()
