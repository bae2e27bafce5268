"""Real guests in a cloud of their own process, driven by openstacksdk: one cloud for all stories."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest

from demo.scratch import ScratchCloud
from guest.build import KERNEL_ARGUMENTS, build
from tests.guest.rig import Rig, Server

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="session")
def cloud() -> Iterator[ScratchCloud]:
    if os.geteuid() != 0:
        pytest.skip("guests need root")
    with ScratchCloud() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def rig(cloud: ScratchCloud) -> Iterator[Rig]:
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(cloud.clouds)
    client: Any = openstack.connect(cloud="polyport")
    files = build(say=lambda text: None)
    kernel = client.create_image(
        "kernel", data=(files / "vmlinuz").read_bytes(), disk_format="aki", container_format="aki", wait=True
    )
    ramdisk = client.create_image(
        "ramdisk", data=(files / "initrd").read_bytes(), disk_format="ari", container_format="ari", wait=True
    )
    image = client.create_image(
        "guest",
        data=(files / "disk.qcow2").read_bytes(),
        disk_format="qcow2",
        container_format="bare",
        wait=True,
        kernel_id=kernel.id,
        ramdisk_id=ramdisk.id,
        os_command_line=KERNEL_ARGUMENTS,
    )
    flavor = client.compute.create_flavor(name="guest", ram=160, vcpus=1, disk=0)
    yield Rig(cloud, client, image, flavor)
    client.close()


@pytest.fixture
def network(rig: Rig) -> Iterator[Any]:
    """One network with an IPv4 subnet; everything on it is gone afterwards."""
    network = rig.client.network.create_network(name="net1")
    rig.client.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.77.0.0/24")
    yield network
    for port in rig.client.network.ports(network_id=network.id):
        rig.client.network.delete_port(port)
    rig.client.network.delete_network(network)


@pytest.fixture
def boot(request: pytest.FixtureRequest, rig: Rig, network: Any) -> Iterator[Callable[..., Server]]:
    """Boots servers; deletes them afterwards, and keeps what they said where the test failed."""
    servers: list[Server] = []

    def make(*networks: Any, **more: Any) -> Server:
        server = rig.boot(list(networks), **more)
        servers.append(server)
        server.ready()
        return server

    yield make
    keep_what_was_said(request, rig, servers)
    consoles = [server.guest.console(200_000) for server in servers]
    for server in servers:
        server.delete()
    # The guest's own scripts may not call what its busybox does not have.
    assert not [line for console in consoles for line in console.splitlines() if line.endswith(": not found")]


def keep_what_was_said(request: pytest.FixtureRequest, rig: Rig, servers: Iterable[Server]) -> None:
    """The log and the consoles of a test that failed."""
    if request.node.stash.get(FAILED, False):
        folder = RESULTS / re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "polyport.log").write_text(rig.cloud.log.read_text()[-200_000:])
        for server in servers:
            (folder / f"{server.id}.console").write_text(server.guest.console(200_000))


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call" and report.failed:
        item.stash[FAILED] = True
    return report
