"""A cloud on the fake host, served on loopback, for clients as they are released."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import openstack
import pytest

from demo.scratch import ROOT, ScratchCloud


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


@pytest.fixture(scope="session")
def cli(cloud: ScratchCloud) -> Iterator[Callable[..., Any]]:
    """`openstack` as a person calls it; the decoded output, or None where it prints nothing."""
    command = [sys.executable, "-m", "tests.clients.many_calls"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as calls:
        assert calls.stdin is not None
        assert calls.stdout is not None

        def call(*words: str, text: bool = False) -> Any:
            shown = [] if text else ["-f", "json"]
            print(json.dumps(["--os-cloud", "polyport", *words, *shown]), file=calls.stdin, flush=True)
            status, said, complained = json.loads(calls.stdout.readline())
            assert status == 0, f"{' '.join(words)}: {complained}"
            return said if text else json.loads(said or "null")

        yield call
        calls.stdin.close()
    assert calls.returncode == 0


def until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Call `holds` until it is true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
