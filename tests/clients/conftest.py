"""A cloud on the fake host, served on loopback, for clients as they are released."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest

from demo.scratch import ScratchCloud


@pytest.fixture(scope="session")
def cloud() -> Iterator[ScratchCloud]:
    with ScratchCloud(hypervisor="fake", dataplane="fake") as cloud:
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(cloud.clouds)
        yield cloud


@pytest.fixture(scope="session")
def sdk(cloud: ScratchCloud) -> Iterator[Any]:
    client = openstack.connect(cloud="polyport")
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(sdk: Any) -> Any:
    return sdk.create_image("cirros", data=os.urandom(1 << 20), disk_format="raw", container_format="bare", wait=True)


@pytest.fixture(scope="session")
def net1(sdk: Any) -> Any:
    network = sdk.network.create_network(name="net1")
    sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.1.0.0/24")
    return network


@pytest.fixture
def cli(cloud: ScratchCloud) -> Callable[..., Any]:
    """`openstack` as a person calls it; the decoded output, or None where it prints nothing."""
    program = Path(sys.executable).parent / "openstack"

    def call(*words: str, text: bool = False) -> Any:
        shown = [] if text else ["-f", "json"]
        command = [str(program), "--os-cloud", "polyport", *words, *shown]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, f"{' '.join(words)}: {ran.stderr}"
        return ran.stdout if text else json.loads(ran.stdout or "null")

    return call
