"""Many NICs on one subnet that may not use each other's addresses: each carries its own traffic, one has the default
route."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.guest.rig import Rig, Server
from tests.guest.test_metadata import read
from tests.host.test_policy_routing import lies

pytestmark = pytest.mark.guest

PINGS = 10


def address_of(port: Any) -> str:
    return str(port.fixed_ips[0]["ip_address"])


def forbid_siblings(rig: Rig, network: Any) -> None:
    rig.client.network.put(f"/networks/{network.id}", json={"network": {"polyport:sibling_addresses": False}})


def answered(peer: Server, address: str) -> int:
    """How many of the pings another guest sends are answered."""
    ran = peer.guest.run(f"ping -c {PINGS} -i 0.1 -W 1 {address}", timeout=40)
    return int(ran.text.partition(" packets received")[0].split()[-1])


def default_routes(server: Server) -> list[str]:
    lines = server.guest.run("ip route", check=True).text.splitlines()
    return [line.strip() for line in lines if line.startswith("default")]


def test_each_nic_answers_for_its_own_address_and_tells_no_lie(
    rig: Rig, network: Any, boot: Callable[..., Server]
) -> None:
    forbid_siblings(rig, network)
    entry = {"uuid": network.id}
    server, peer = boot(entry, entry, entry), boot(entry)
    server.attach(net_id=network.id)
    server.nics(1, 2, 3, 4)
    peer.nics(1)
    told_before = lies(rig.cloud.namespace)
    ports = server.ports()
    taps = [server.tap(slot) for slot in (1, 2, 3, 4)]
    for port, tap in zip(ports, taps, strict=True):
        before = rig.cloud.devices()
        assert answered(peer, address_of(port)) == PINGS
        after = rig.cloud.devices()
        for each in taps:
            sent, received = (new - old for new, old in zip(after[each], before[each], strict=True))
            assert (sent >= PINGS) == (each == tap), (each, tap, sent)
            assert (received >= PINGS) == (each == tap), (each, tap, received)
    assert lies(rig.cloud.namespace) == told_before
    # And it is the guest's own routing that did it: without the rule of an address, the first NIC answers for it.
    server.guest.run(f"ip rule delete from {address_of(ports[1])} pref 302", check=True)
    assert answered(peer, address_of(ports[1])) == 0
    assert lies(rig.cloud.namespace) != told_before


def test_the_marked_nic_has_the_default_route(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    def port(mark: bool) -> Any:
        body = {"port": {"network_id": network.id, "polyport:default_route": mark}}
        return rig.client.network.post("/ports", json=body).json()["port"]

    def mark(port_id: str, value: bool) -> None:
        rig.client.network.put(f"/ports/{port_id}", json={"port": {"polyport:default_route": value}})

    first, second = port(False), port(True)
    server = boot({"port": first["id"]}, {"port": second["id"]})
    server.nics(1, 2)
    assert default_routes(server) == ["default via 10.77.0.1 dev eno2"]

    show = "printf '#!/bin/sh\\necho \"$1 $router\"\\n' >/tmp/show; chmod 755 /tmp/show"
    server.guest.run(show, check=True)

    def routers() -> list[str]:
        """The router that DHCP tells each NIC of, if any."""
        told = []
        for nic in ("eno1", "eno2"):
            lines = server.guest.run(f"udhcpc -i {nic} -n -q -s /tmp/show 2>/dev/null", timeout=20).text.splitlines()
            told += [line.removeprefix("bound").strip() for line in lines if line.startswith("bound")]
        return told

    assert routers() == ["", "10.77.0.1"]
    mark(second["id"], False)
    rig.until(lambda: routers() == ["10.77.0.1", ""], "DHCP tells of the change")
    networks = json.loads(read(server, "/openstack/latest/network_data.json"))["networks"]
    defaults = [any(route["network"] == "0.0.0.0" for route in each["routes"]) for each in networks]
    assert defaults == [True, False]
    mark(second["id"], True)
    server.reboot("HARD")
    server.nics(1, 2)
    assert default_routes(server) == ["default via 10.77.0.1 dev eno2"]
