"""Many NICs of one real guest on one network: order, identity, traffic."""

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


def prove_three(server: Server) -> None:
    prove_order(server, 1, 2, 3)
    prove_traffic(server, 1, 2)
    prove_traffic(server, 2, 3)
    prove_traffic(server, 3, 1)


def test_three_nics_on_one_network_in_every_stage_of_life(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    entry = {"uuid": network.id}
    server = boot(entry, entry, entry)
    prove_three(server)
    server.stop()
    server.start()
    prove_three(server)
    server.reboot("HARD")
    prove_three(server)
    rig.kill_and_restart()
    prove_three(server)


def test_nics_that_came_one_by_one_are_no_others(network: Any, boot: Callable[..., Server]) -> None:
    server = boot({"uuid": network.id})
    server.attach(net_id=network.id)
    server.attach(net_id=network.id)
    prove_three(server)


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


def test_thirty_one_nics_on_one_network(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    server = boot(*[{"uuid": network.id}] * 31)
    prove_order(server, *range(1, 32))
    prove_traffic(server, 1, 31)
    server.attach(net_id=network.id)
    prove_order(server, *range(1, 33))


def test_a_guest_reboots_powers_off_and_gets_other_nics_meanwhile(
    rig: Rig, network: Any, boot: Callable[..., Server]
) -> None:
    server = boot({"uuid": network.id}, {"uuid": network.id})
    server.reboot("SOFT")
    prove_order(server, 1, 2)
    server.guest.run("(sleep 0.2; poweroff -f) >/dev/null 2>&1 &")
    rig.until(lambda: server.view().status == "SHUTOFF", "the server is SHUTOFF after its guest powered off")
    server.compute.delete_server_interface(server.ports()[0].id, server=server.id)
    server.compute.create_server_interface(server.id, net_id=network.id)
    server.start()
    prove_order(server, 2, 3)
    prove_traffic(server, 2, 3)


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
