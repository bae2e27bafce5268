"""What a network function is there for: frames of others go through a guest, from one network to another."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.guest.rig import Rig, Server
from tests.guest.test_routes import address_of

pytestmark = pytest.mark.guest

PINGS = 3


@pytest.fixture
def far(rig: Rig) -> Iterator[Any]:
    """A second network, without a subnet yet."""
    network = rig.client.network.create_network(name="far")
    yield network
    for port in rig.client.network.ports(network_id=network.id):
        rig.client.network.delete_port(port)
    rig.client.network.delete_network(network)


def through(rig: Rig, network: Any, address: str | None = None) -> dict[str, str]:
    """A NIC of the function: a port that carries what others say, so one without port security."""
    fixed = {} if address is None else {"fixed_ips": [{"ip_address": address}]}
    port = rig.client.network.create_port(network_id=network.id, port_security_enabled=False, **fixed)
    return {"port": port.id}


def answered(server: Server, address: str) -> int:
    ran = server.guest.run(f"ping -c {PINGS} -W 2 {address}", timeout=40)
    return int(ran.text.partition(" packets received")[0].split()[-1])


def test_a_router_whose_ports_have_the_gateways_addresses(
    rig: Rig, network: Any, far: Any, boot: Callable[..., Server]
) -> None:
    rig.client.network.create_subnet(network_id=far.id, ip_version=4, cidr="10.78.0.0/24")
    router = boot(through(rig, network, "10.77.0.1"), through(rig, far, "10.78.0.1"))
    here, there = boot({"uuid": network.id}), boot({"uuid": far.id})
    for server, slots in ((router, (1, 2)), (here, (1,)), (there, (1,))):
        server.nics(*slots)
    target = address_of(there.ports()[0])
    assert answered(here, target) == 0
    router.guest.run("echo 1 >/proc/sys/net/ipv4/ip_forward", check=True)
    # What lets them in is the group they share: its members are known by their addresses, on whichever network.
    assert answered(here, target) == PINGS
    assert answered(there, address_of(here.ports()[0])) == PINGS


def test_a_bridge_between_two_networks_joins_them_and_is_no_loop(
    rig: Rig, network: Any, far: Any, boot: Callable[..., Server]
) -> None:
    pool = {"start": "10.77.0.200", "end": "10.77.0.250"}
    rig.client.network.create_subnet(
        network_id=far.id, ip_version=4, cidr="10.77.0.0/24", gateway_ip=None, allocation_pools=[pool]
    )
    bridge = boot(through(rig, network), through(rig, far))
    here, there = boot({"uuid": network.id}), boot({"uuid": far.id})
    for server, slots in ((bridge, (1, 2)), (here, (1,)), (there, (1,))):
        server.nics(*slots)
    target = address_of(there.ports()[0])
    assert answered(here, target) == 0
    bridge.guest.bridge(1, 2)
    rig.until(lambda: answered(here, target) == PINGS, "the bridge carries what others say")
    assert answered(there, address_of(here.ports()[0])) == PINGS
    assert [port["polyport:quarantined"] for port in bridge.ports()] == [False, False]
    actions = [action.action for action in rig.client.compute.server_actions(bridge.id)]
    assert actions == ["create"]
