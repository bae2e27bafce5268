"""What hosts are told of networks and ports: who is woken by which change, and what a plan says."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import sqlalchemy as sa
from msgspec import structs

from polyport.context import Context
from polyport.db.engine import Database, Tx
from polyport.db.tables.metadata import revisions
from polyport.ids import HostName, NetworkId, PortId, ProjectId, SubnetId, UserId
from polyport.network import networks, new_ports, plans, ports, security_group_rules, subnets
from polyport.network.networks import NetworkChange, NewNetwork
from polyport.network.port_changes import PortChange, update_port
from polyport.network.ports import NewPort, Port
from polyport.network.security_group_rules import NewSecurityGroupRule
from polyport.network.subnets import NewSubnet, SubnetChange
from polyport.plan import SubnetPlan

T = TypeVar("T")

MEMBER = Context(user_id=UserId("u"), user_name="u", project_id=ProjectId("p"), roles=frozenset(("member",)))
ADMIN = structs.replace(MEMBER, roles=frozenset(("admin",)))
HERE, THERE = HostName("here"), HostName("there")


class Cloud:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.woken: set[str] = set()

    async def do(self, work: Callable[[Tx], T]) -> T:
        """Run a change, and note whom it wakes."""

        def noted(tx: Tx) -> tuple[T, set[str]]:
            return work(tx), tx.woken

        result, self.woken = await self.database.write(noted)
        return result

    async def revision(self) -> int:
        return await self.database.read(lambda tx: int(tx.value(sa.select(revisions.c.value))))

    async def network(self, cidr: str = "10.0.0.0/24") -> tuple[NetworkId, SubnetId]:
        def make(tx: Tx) -> tuple[NetworkId, SubnetId]:
            network = networks.create_networks(tx, MEMBER, [NewNetwork(name="net")])[0].id
            new = NewSubnet(network_id=network, cidr=cidr, ip_version=4)
            return network, subnets.create_subnets(tx, MEMBER, [new])[0].id

        return await self.do(make)

    async def port(self, network: NetworkId, host: str = "", slot: int | None = None) -> Port:
        device = f"server-on-{host}" if host else ""
        new = NewPort(
            network_id=network, host=host, device_id=device, device_owner="compute:nova" if host else "", position=slot
        )
        return (await self.do(lambda tx: ports.create_ports(tx, MEMBER, [new])))[0]


@pytest.fixture
def cloud(database: Database) -> Cloud:
    return Cloud(database)


async def test_a_plan_has_networks_with_their_subnets_in_order(cloud: Cloud) -> None:
    network, subnet = await cloud.network()
    second = NewSubnet(
        network_id=network, cidr="2001:db8::/64", ip_version=6, ipv6_address_mode="slaac", ipv6_ra_mode="slaac"
    )
    other = (await cloud.do(lambda tx: subnets.create_subnets(tx, MEMBER, [second])))[0].id
    kept = plans.NetworkVersions()
    found = await cloud.database.read(lambda tx: plans.read_network_plans(tx, [network, NetworkId("gone")], kept))
    assert list(found) == [network]
    assert found[network].name == "net"
    assert found[network].subnets[0] == SubnetPlan(id=subnet, cidr="10.0.0.0/24", ip_version=4, gateway_ip="10.0.0.1")
    assert found[network].subnets[1].id == other
    assert found[network].subnets[1].ipv6_ra_mode == "slaac"


async def test_a_change_of_a_network_is_for_the_hosts_with_ports_on_it(cloud: Cloud) -> None:
    network, subnet = await cloud.network()
    elsewhere, _ = await cloud.network("10.1.0.0/24")
    await cloud.port(network, HERE, 1)
    await cloud.port(network)
    await cloud.port(elsewhere, THERE, 1)
    before = await cloud.revision()

    async def changed(host: HostName) -> set[NetworkId]:
        return await cloud.database.read(lambda tx: plans.changed_networks(tx, before, host))

    assert await changed(HERE) == set()
    await cloud.do(lambda tx: networks.update_network(tx, MEMBER, network, NetworkChange(mtu=1400)))
    assert cloud.woken == {HERE}
    assert await changed(HERE) == {network}
    assert await changed(THERE) == set()
    await cloud.do(lambda tx: subnets.update_subnet(tx, MEMBER, subnet, SubnetChange(dns_nameservers=("192.0.2.1",))))
    assert cloud.woken == {HERE}
    await cloud.do(
        lambda tx: subnets.create_subnets(
            tx, MEMBER, [NewSubnet(network_id=elsewhere, cidr="10.2.0.0/24", ip_version=4)]
        )
    )
    assert cloud.woken == {THERE}
    assert await changed(THERE) == {elsewhere}


async def test_a_change_of_a_port_is_for_its_own_host(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    used = await cloud.port(network, HERE, 1)
    free = await cloud.port(network)
    before = await cloud.revision()

    async def change(port: Port, what: PortChange) -> set[str]:
        await cloud.do(lambda tx: update_port(tx, MEMBER, port.id, what))
        return await cloud.database.read(lambda tx: plans.changed_devices(tx, before, HERE))

    assert await change(used, PortChange(name="wan")) == set()
    assert cloud.woken == set()
    assert await change(free, PortChange(admin_state_up=False)) == set()
    assert cloud.woken == set()
    assert await change(used, PortChange(port_security_enabled=False, security_groups=())) == {"server-on-here"}
    assert cloud.woken == {HERE}
    assert await cloud.database.read(lambda tx: plans.changed_devices(tx, before, THERE)) == set()


async def test_a_rule_is_for_the_hosts_of_the_groups_ports(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    port = await cloud.port(network, HERE, 1)
    rule = NewSecurityGroupRule(security_group_id=port.security_groups[0], direction="ingress", protocol="tcp")
    await cloud.do(lambda tx: security_group_rules.create_rules(tx, MEMBER, [rule]))
    assert cloud.woken == {HERE}


async def test_automatic_addresses_reach_the_hosts_of_the_ports_that_get_them(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    await cloud.port(network, HERE, 1)
    before = await cloud.revision()
    new = NewSubnet(network_id=network, cidr="2001:db8::/64", ip_version=6, ipv6_ra_mode="slaac")
    subnet = (await cloud.do(lambda tx: subnets.create_subnets(tx, MEMBER, [new])))[0].id
    assert await cloud.database.read(lambda tx: plans.changed_devices(tx, before, HERE)) == {"server-on-here"}
    before = await cloud.revision()
    await cloud.do(lambda tx: subnets.delete_subnet(tx, MEMBER, subnet))
    assert cloud.woken == {HERE}
    assert await cloud.database.read(lambda tx: plans.changed_devices(tx, before, HERE)) == {"server-on-here"}


async def test_a_ports_life_with_servers(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    first, second = await cloud.port(network), await cloud.port(network)
    ids = [second.id, first.id]

    async def seen() -> list[Port]:
        found = await cloud.database.read(lambda tx: ports.read_ports(tx, ids))
        return [found[port_id] for port_id in ids]

    def bind(tx: Tx) -> None:
        ports.bind_ports(tx, {second.id: 1, first.id: 2}, device_id="s", device_owner="compute:nova", host=HERE)

    await cloud.do(bind)
    assert [(port.status, port.position, port.host, port.device_id) for port in await seen()] == [
        ("DOWN", 1, HERE, "s"),
        ("DOWN", 2, HERE, "s"),
    ]
    with pytest.raises(ports.PortInUse) as refusal:
        await cloud.do(bind)
    assert refusal.value.facts["index"] == 0
    await cloud.do(lambda tx: ports.record_ports_active(tx, ids))
    assert {port.status for port in await seen()} == {"ACTIVE"}
    await cloud.do(lambda tx: ports.move_ports(tx, {second.id: 2, first.id: 1}))
    assert [port.position for port in await seen()] == [2, 1]
    await cloud.do(lambda tx: ports.unbind_ports(tx, [first.id]))
    await cloud.do(lambda tx: ports.record_ports_active(tx, ids))
    assert [(port.status, port.position, port.host, port.device_id, port.device_owner) for port in await seen()] == [
        ("ACTIVE", 2, HERE, "s", "compute:nova"),
        ("DOWN", None, "", "", ""),
    ]
    await cloud.do(lambda tx: ports.record_ports_down(tx, ids))
    assert {port.status for port in await seen()} == {"DOWN"}
    with pytest.raises(ports.PortNotFound) as missing:
        await cloud.do(
            lambda tx: ports.bind_ports(
                tx, {first.id: 1, PortId("gone"): 2}, device_id="s", device_owner="compute:nova", host=HERE
            )
        )
    assert missing.value.facts["index"] == 1


async def test_a_nics_plan_is_what_its_port_says(cloud: Cloud) -> None:
    network, subnet = await cloud.network()
    port = await cloud.port(network, HERE, 3)
    plan = plans.nic_plan(port, slot=3, tag="wan")
    assert (plan.port_id, plan.slot, plan.tag, plan.network_id) == (port.id, 3, "wan", network)
    assert plan.mac_address == port.mac_address
    assert [(ip.subnet_id, ip.ip_address) for ip in plan.fixed_ips] == [(subnet, "10.0.0.2")]
    assert plan.security_groups == port.security_groups


@pytest.mark.parametrize("automatic", [False, True])
async def test_a_mac_that_is_drawn_and_taken_is_drawn_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, automatic: bool
) -> None:
    network, _ = await cloud.network()
    mode = "slaac" if automatic else "dhcpv6-stateful"
    new = NewSubnet(network_id=network, cidr="2001:db8::/64", ip_version=6, ipv6_address_mode=mode)
    await cloud.do(lambda tx: subnets.create_subnets(tx, MEMBER, [new]))
    dice: Iterator[list[str]] = iter([[f"fa:16:3e:00:00:0{n}" for n in drawn] for drawn in ([1], [2, 1], [4, 5])])
    monkeypatch.setattr(new_ports, "random_macs", lambda count: next(dice))
    await cloud.port(network)
    two = [NewPort(network_id=network)] * 2
    made = await cloud.do(lambda tx: ports.create_ports(tx, MEMBER, two))
    # One of the first two is on the network already.
    assert [port.mac_address[-1] for port in made] == ["4", "5"]
    stored = await cloud.database.read(lambda tx: ports.read_ports(tx, [port.id for port in made]))
    assert [stored[port.id] for port in made] == made
    if automatic:
        assert [port.fixed_ips[1].ip_address.rsplit(":", 1)[1] for port in made] == ["4", "5"]


async def test_deleting_a_port_under_a_server_tells_before_it_goes(cloud: Cloud) -> None:
    network, _ = await cloud.network()
    port = await cloud.port(network, HERE, 1)
    told: list[PortId] = []

    def gone(tx: Tx, port_id: PortId) -> None:
        assert port_id in ports.read_ports(tx, [port_id])
        told.append(port_id)

    await cloud.do(lambda tx: ports.delete_port(tx, ADMIN, port.id, gone))
    assert told == [port.id]
    assert cloud.woken == {HERE}
    free = await cloud.port(network)
    await cloud.do(lambda tx: ports.delete_port(tx, MEMBER, free.id, gone))
    assert told == [port.id]
