"""The cloud's process is killed while guests run: nothing is started twice, nothing is lost, nothing is left over."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.guest.conftest import keep_what_was_said
from tests.guest.rig import Rig, Server
from tests.guest.test_nics import prove_order, prove_traffic

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def survivor(rig: Rig) -> Iterator[Server]:
    """A server for all stories: it has the NICs 1 and 2 on one network before each of them, and afterwards."""
    network = rig.client.network.create_network(name="net1")
    rig.client.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.77.0.0/24")
    server = rig.boot([{"uuid": network.id}] * 2)
    server.ready()
    yield server
    server.delete()
    rig.client.network.delete_network(network)


@pytest.fixture
def server(request: pytest.FixtureRequest, rig: Rig, survivor: Server) -> Iterator[Server]:
    yield survivor
    keep_what_was_said(request, rig, [survivor])


def test_a_killed_cloud_finds_its_guests_again(rig: Rig, server: Server) -> None:
    before = rig.cloud.guests()
    rig.kill_and_restart()
    assert rig.cloud.guests() == before
    assert server.guest.wait_ready(10).boot_id == server.boot_id, "it is the same guest, not a new one"
    prove_traffic(server, 1, 2)
    server.attach(net_id=server.ports()[0].network_id)
    prove_order(server, 1, 2, 3)
    prove_traffic(server, 3, 1)
    server.detach(server.ports()[2].id)


def test_what_was_asked_for_while_the_host_was_away_is_done_when_it_is_back(rig: Rig, server: Server) -> None:
    """A crash between commit and deed: the plan is read again and carried out."""
    server.attach(net_id=server.ports()[0].network_id)
    rig.client.compute.delete_server_interface(server.ports()[2].id, server=server.id)
    rig.cloud.stop(signal.SIGKILL)
    rig.cloud.start()
    rig.until(lambda: [nic.slot for nic in server.guest.nics()] == [1, 2], "the detach is carried out")
    prove_order(server, 1, 2)


def test_a_missing_bridge_port_is_repaired(rig: Rig, server: Server) -> None:
    """Somebody takes a tap off its bridge behind polyport's back; the next round puts it back."""
    subprocess.run(["ip", "-netns", rig.cloud.namespace, "link", "set", server.tap(2), "nomaster"], check=True)
    rig.kill_and_restart()
    prove_traffic(server, 1, 2)


def test_a_guest_that_ended_while_nobody_looked_is_shut_off_not_restarted(rig: Rig, server: Server) -> None:
    pids = rig.cloud.guests()
    rig.cloud.stop(signal.SIGKILL)
    server.guest.close()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    rig.cloud.start()
    rig.until(lambda: server.view().status == "SHUTOFF", "the server is SHUTOFF")
    assert rig.cloud.guests() == []
    server.start()
    prove_order(server, 1, 2)
