"""The metadata service as a real guest finds it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.guest.rig import Rig, Server

pytestmark = pytest.mark.guest


def told(server: Server, slot: int, path: str) -> bytes:
    """What the guest reads at a path, from the address of one NIC and so by way of it."""
    nics = server.guest.nics()
    address = next(each for nic in nics if nic.slot == slot for each in nic.addresses if "." in each).split("/")[0]
    # None of the guest's tools can say where to ask from. The main table can; by itself it leads astray, as it sends
    # all addresses out by one NIC.
    source = f"ip route replace 169.254.169.254/32 dev {nics[0].name} src {address}"
    server.guest.run(source, check=True)
    return read(server, path)


def read(server: Server, path: str) -> bytes:
    """What the guest reads at a path, however its system goes there."""
    ran = server.guest.run(f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc -w 5 169.254.169.254 80", timeout=20)
    head, _, content = ran.output.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), ran
    return bytes(content)


def test_every_nic_leads_to_the_servers_own_metadata(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    # Nobody answers for a NIC but itself.
    rig.client.network.put(f"/networks/{network.id}", json={"network": {"polyport:sibling_addresses": False}})
    first, second = boot({"uuid": network.id}, {"uuid": network.id}), boot({"uuid": network.id})
    for server, slots in ((first, (1, 2)), (second, (1,))):
        nics = server.nics(*slots)
        for slot in slots:
            data = json.loads(told(server, slot, "/openstack/latest/meta_data.json"))
            assert data["uuid"] == server.id
            assert [(each["mac"], each["address"], each["slot"]) for each in data["devices"]] == [
                (nic.mac, nic.pci, nic.slot) for nic in nics
            ]
            assert told(server, slot, "/latest/meta-data/instance-id").decode() == server.id


def test_a_guest_finds_it_by_what_its_drive_says_also_on_a_network_without_a_gateway(
    rig: Rig, network: Any, boot: Callable[..., Server]
) -> None:
    alone = rig.client.network.create_network(name="alone")
    rig.client.network.create_subnet(network_id=alone.id, ip_version=4, cidr="10.78.0.0/24", gateway_ip=None)
    server = boot({"uuid": alone.id}, {"uuid": network.id})
    try:
        server.nics(1, 2)
        assert read(server, "/latest/meta-data/instance-id").decode() == server.id
        for slot in (1, 2):
            assert told(server, slot, "/latest/meta-data/instance-id").decode() == server.id
    finally:
        server.delete()
        rig.client.network.delete_network(alone)


def test_it_tells_of_changes_at_once(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    server = boot({"uuid": network.id})
    server.nics(1)
    server.attach(net_id=network.id)
    server.compute.set_server_metadata(server.id, role="firewall")
    rig.until(
        lambda: json.loads(told(server, 1, "/openstack/latest/meta_data.json")).get("meta") == {"role": "firewall"},
        "the guest reads what was set",
    )
    assert len(json.loads(told(server, 1, "/openstack/latest/meta_data.json"))["devices"]) == 2
