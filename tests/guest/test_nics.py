"""Many NICs of one real guest on one network: order, identity, traffic."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from polyport.hypervisor.qemu.slots import nic_address
from tests.guest.rig import Rig, Server

pytestmark = pytest.mark.guest


def prove_order(server: Server, *slots: int) -> None:
    """API, guest and PCI agree on the NICs and their order."""
    nics = server.nics(*slots)
    ports = server.ports()
    assert [nic.mac for nic in nics] == [port.mac_address for port in ports]
    assert [nic.pci for nic in nics] == sorted(nic.pci for nic in nics)
    assert [nic.pci for nic in nics] == [nic_address(slot) for slot in slots]
    assert [nic.name for nic in nics] == [f"eno{slot}" for slot in slots]
    for nic, port in zip(nics, ports, strict=True):
        assert port.fixed_ips[0]["ip_address"] in {address.split("/")[0] for address in nic.addresses}
        assert port.status == "ACTIVE"
    addresses = [entry["addr"] for entry in server.view().addresses["net1"]]
    assert addresses == [port.fixed_ips[0]["ip_address"] for port in ports]
    listed = [port.id for port in server.rig.client.network.ports(device_id=server.id)]
    assert listed == [port.id for port in ports]


def prove_traffic(server: Server, source: int, target: int) -> None:
    """Every ping leaves by the tap of one NIC and enters by the tap of the other, and so do the answers."""
    out, into = server.tap(source), server.tap(target)
    sent, passed = server.send(source, target)
    assert sent.crossed, sent
    assert passed[out][0] >= 5
    assert passed[out][1] >= 5
    assert passed[into][0] >= 5
    assert passed[into][1] >= 5


def test_three_nics_on_one_network_in_every_stage_of_life(server_any: Server) -> None:
    prove_order(server_any, 1, 2, 3)
    prove_traffic(server_any, 1, 2)
    prove_traffic(server_any, 2, 3)
    prove_traffic(server_any, 3, 1)


def test_networks_and_ports_mixed_keep_the_order_asked_for(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    ports = [rig.client.network.create_port(network_id=network.id, name=f"p{number}") for number in range(3)]
    entry = {"uuid": network.id}
    server = boot({"port": ports[2].id}, entry, {"port": ports[0].id}, entry, {"port": ports[1].id})
    prove_order(server, 1, 2, 3, 4, 5)
    assert [port.id for port in server.ports()][::2] == [ports[2].id, ports[0].id, ports[1].id]


def test_slot_ten_comes_after_slot_two_and_gaps_stay(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    server = boot(*[{"uuid": network.id}] * 10)
    prove_order(server, *range(1, 11))
    middle = server.ports()[4]
    server.detach(middle.id)
    prove_order(server, 1, 2, 3, 4, 6, 7, 8, 9, 10)
    server.attach(net_id=network.id)
    prove_order(server, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11)
    prove_traffic(server, 11, 2)
    server.reboot("HARD")
    prove_order(server, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11)
    prove_traffic(server, 10, 11)


def test_a_port_that_was_detached_goes_to_the_end_when_it_comes_back(
    rig: Rig, network: Any, boot: Callable[..., Server]
) -> None:
    port = rig.client.network.create_port(network_id=network.id)
    server = boot({"port": port.id}, {"uuid": network.id})
    server.detach(port.id)
    assert rig.client.network.get_port(port.id).device_id == ""
    server.attach(port_id=port.id)
    prove_order(server, 2, 3)
    assert server.ports()[-1].id == port.id
    prove_traffic(server, 2, 3)


def test_nics_are_attached_and_detached_on_a_stopped_server(
    rig: Rig, network: Any, boot: Callable[..., Server]
) -> None:
    server = boot({"uuid": network.id}, {"uuid": network.id})
    server.stop()
    first = server.ports()[0]
    server.compute.delete_server_interface(first.id, server=server.id)
    server.compute.create_server_interface(server.id, net_id=network.id)
    server.start()
    prove_order(server, 2, 3)
    prove_traffic(server, 2, 3)


def test_two_guests_reach_each_other_on_every_nic(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    first = boot({"uuid": network.id}, {"uuid": network.id})
    second = boot({"uuid": network.id})
    second.nics(1)
    for port in first.ports():
        address = port.fixed_ips[0]["ip_address"]
        ran = second.guest.run(f"ping -c 3 -i 0.2 -W 2 {address}", timeout=20)
        assert b"3 packets received" in ran.output, ran.text


def test_thirty_one_nics_on_one_network(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    server = boot(*[{"uuid": network.id}] * 31)
    prove_order(server, *range(1, 32))
    prove_traffic(server, 1, 31)
    server.attach(net_id=network.id)
    prove_order(server, *range(1, 33))


def test_soft_reboot_and_guest_power_off(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    server = boot({"uuid": network.id}, {"uuid": network.id})
    server.reboot("SOFT")
    prove_order(server, 1, 2)
    server.guest.run("(sleep 0.2; poweroff -f) >/dev/null 2>&1 &")
    rig.until(lambda: server.view().status == "SHUTOFF", "the server is SHUTOFF after its guest powered off")
    server.start()
    prove_order(server, 1, 2)


def test_ipv6_and_ipv4_on_every_nic(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    rig.client.network.create_subnet(
        network_id=network.id, ip_version=6, cidr="2001:db8:77::/64", ipv6_address_mode=None, ipv6_ra_mode=None
    )
    server = boot({"uuid": network.id}, {"uuid": network.id})
    nics = server.nics(1, 2)
    for nic, port in zip(nics, server.ports(), strict=True):
        held = {address.split("/")[0] for address in nic.addresses}
        assert {fixed["ip_address"] for fixed in port.fixed_ips} <= held
        assert len(port.fixed_ips) == 2
    sent = server.guest.send(1, 2, 5, family=6)
    assert sent.crossed


def test_a_nic_that_is_renamed_meanwhile_is_told_of(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    """As every new one is, half a second after it came."""
    server = boot({"uuid": network.id}, {"uuid": network.id})
    server.nics(1, 2)
    renames = "for n in 1 2 3 4 5 6 7 8 9 10; do ip link set eno2 name other; ip link set other name eno2; done"
    ran = server.guest.run(f"ip link set eno2 down; ({renames}) 2>/dev/null & while kill -0 $!; do nics; done")
    told = [[nic["slot"] for nic in json.loads(line)] for line in ran.text.splitlines()]
    assert len(told) > 1
    assert all(slots == [1, 2] for slots in told), told
