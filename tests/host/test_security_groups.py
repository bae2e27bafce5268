"""What security groups let pass, told with frames: both ends must agree, answers need no rule, and no means no.

Each story is told twice: with the connections the kernel tracks on bridges, where it does, and with those it tracks by
way of br_netfilter.
"""

import subprocess
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from polyport.config import DataplaneConfig
from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.bridge.states import StateUnknown
from polyport.ids import PortId, SecurityGroupId, new_id
from polyport.plan import NetworkPlan, RulePlan, SecurityGroupPlan
from tests.host.conftest import Cable
from tests.host.flows import ACK, SYN_ACK, connected, echo, fragments, icmp, passes, protocol, tcp, udp
from tests.host.plans import network, subnet, vif
from tests.host.wire import EVERYBODY, Nic, arp, neighbor
from tests.host.wire import udp as datagram

pytestmark = pytest.mark.host


@pytest.fixture(params=["bridge", "inet"])
async def dataplane(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[BridgeDataplane]:
    driver = BridgeDataplane(DataplaneConfig(namespace=namespace, connection_tracking=request.param))
    try:
        await driver.open()
    except StateUnknown:
        pytest.skip(f"this kernel tracks no connections in the family {request.param}")
    yield driver
    await driver.close()


def group(*rules: RulePlan, group_id: SecurityGroupId | None = None) -> SecurityGroupPlan:
    return SecurityGroupPlan(id=group_id or SecurityGroupId(new_id()), rules=rules)


def allow(direction: str = "ingress", ethertype: str = "IPv4", **facts: Any) -> RulePlan:
    low, high = facts.pop("ports", (None, None))
    return RulePlan(
        id=new_id(),
        direction=direction,  # type: ignore[arg-type]
        ethertype=ethertype,  # type: ignore[arg-type]
        port_range_min=low,
        port_range_max=high,
        **facts,
    )


OUT = (allow("egress"), allow("egress", "IPv6"))


def default_group() -> SecurityGroupPlan:
    """As a project's own default group is."""
    group_id = SecurityGroupId(new_id())
    inward = (allow(remote_group_id=group_id), allow(ethertype="IPv6", remote_group_id=group_id))
    return group(*OUT, *inward, group_id=group_id)


def dual_network() -> NetworkPlan:
    return network(subnet("10.0.0.0/24"), subnet("2001:db8::/64"))


def member(net: NetworkPlan, number: int, *groups: SecurityGroupPlan, **facts: Any) -> VifPlan:
    addresses = [f"10.0.0.{number}", *([f"2001:db8::{number}"] if len(net.subnets) > 1 else [])]
    return vif(net, *addresses, security_groups=tuple(each.id for each in groups), **facts)


async def test_members_of_the_default_group_reach_each_other_and_outsiders_do_not(
    dataplane: BridgeDataplane, cable: Cable
) -> None:
    default, elsewhere = default_group(), default_group()
    await dataplane.ensure_groups([default, elsewhere])
    net = dual_network()
    one, two = await cable(member(net, 5, default)), await cable(member(net, 6, default))
    outsider = await cable(member(net, 7, elsewhere))
    for version in (4, 6):
        assert passes(one, two, echo(one, two, version=version))
        assert passes(two, one, echo(two, one, version=version, answer=True))
        assert not passes(outsider, one, echo(outsider, one, version=version))
        assert not passes(one, outsider, echo(one, outsider, version=version))
        assert connected(one, two, (40000, 80), version=version)
        assert not connected(outsider, two, (40000, 80), version=version)
        assert passes(two, one, udp(two, one, (5, 6), version=version))


async def test_a_port_without_groups_says_and_hears_only_what_all_must(
    dataplane: BridgeDataplane, cable: Cable
) -> None:
    net, everything = dual_network(), group(*OUT, allow(), allow(ethertype="IPv6"))
    await dataplane.ensure_groups([everything])
    mute, other = await cable(member(net, 5)), await cable(member(net, 6, everything))
    for version in (4, 6):
        assert not passes(mute, other, udp(mute, other, (7, 7), version=version))
        assert not passes(other, mute, udp(other, mute, (7, 7), version=version))
    assert passes(mute, other, arp(mute.mac, sender=mute.address, target=other.address))
    assert passes(other, mute, arp(other.mac, sender=other.address, target=mute.address))
    assert passes(mute, other, neighbor(mute.mac, mute.addresses[1], mute.addresses[1]))
    assert passes(other, mute, neighbor(other.mac, other.addresses[1], mute.addresses[1], kind=135))
    assert passes(mute, other, datagram(mute.mac, EVERYBODY, "0.0.0.0", "255.255.255.255", ports=(68, 67)))


async def test_ports_and_replies(dataplane: BridgeDataplane, cable: Cable) -> None:
    web = group(*OUT, allow(protocol=6, ports=(80, 90)), allow(protocol=17, ports=(53, 53)))
    client_group = group(*OUT)
    await dataplane.ensure_groups([web, client_group])
    net = network()
    client, server = await cable(member(net, 5, client_group)), await cable(member(net, 6, web))
    for port in (80, 85, 90):
        assert connected(client, server, (40000, port))
    for port in (79, 91, 53):
        assert not connected(client, server, (40000, port))
    assert not connected(server, client, (40000, 80)), "a new flow the other way"
    assert not passes(server, client, udp(server, client, (53, 40001))), "an answer to nothing"
    assert passes(client, server, udp(client, server, (40001, 53)))
    assert passes(server, client, udp(server, client, (53, 40001)))
    assert not passes(server, client, udp(server, client, (53, 40002)))
    assert not passes(client, server, udp(client, server, (40001, 80)))
    assert not passes(client, server, echo(client, server))


async def test_a_rule_for_the_way_out(dataplane: BridgeDataplane, cable: Cable) -> None:
    everything = group(*OUT, allow())
    careful = group(allow("egress", protocol=6, ports=(443, 443), remote_ip_prefix="10.0.0.6/32"), allow())
    await dataplane.ensure_groups([everything, careful])
    net = network()
    me = await cable(member(net, 5, careful))
    you, third = await cable(member(net, 6, everything)), await cable(member(net, 7, everything))
    assert connected(me, you, (40000, 443))
    assert not connected(me, you, (40000, 80))
    assert not connected(me, third, (40000, 443))
    assert connected(you, me, (40000, 22)), "answers of the careful one need no rule"


async def test_types_of_icmp_and_errors_that_belong_to_a_connection(dataplane: BridgeDataplane, cable: Cable) -> None:
    pinged = group(
        *OUT,
        allow(protocol=1, ports=(8, None)),
        allow(ethertype="IPv6", protocol=58, ports=(128, 0)),
        allow(protocol=17, ports=(9, 9)),
    )
    await dataplane.ensure_groups([pinged, asking := group(*OUT)])
    net = dual_network()
    me, you = await cable(member(net, 5, asking)), await cable(member(net, 6, pinged))
    for version in (4, 6):
        assert passes(me, you, echo(me, you, version=version))
        assert passes(you, me, echo(you, me, version=version, answer=True))
        assert not passes(you, me, echo(you, me, version=version, number=9))
    assert not passes(me, you, icmp(me, you, 13, 0, bytes(16))), "a time-stamp request"
    sent = udp(me, you, (40000, 9))
    unreachable = icmp(you, me, 3, 3, bytes(4) + sent[14 : 14 + 28])
    assert not passes(you, me, unreachable), "about nothing"
    assert passes(me, you, sent)
    assert passes(you, me, unreachable)


async def test_protocols_and_prefixes(dataplane: BridgeDataplane, cable: Cable) -> None:
    some = group(
        *OUT,
        allow(protocol=112, remote_ip_prefix="10.0.0.4/31"),
        allow(protocol=112, remote_ip_prefix="10.0.0.0/30"),
        allow(ethertype="IPv6", remote_ip_prefix="2001:db8::5/128"),
    )
    await dataplane.ensure_groups([some])
    net = dual_network()
    five, seven = await cable(member(net, 5, some)), await cable(member(net, 7, some))
    you = await cable(member(net, 6, some))
    assert passes(five, you, protocol(five, you, 112))
    assert not passes(five, you, protocol(five, you, 89))
    assert not passes(seven, you, protocol(seven, you, 112))
    assert passes(five, you, udp(five, you, (1, 1), version=6))
    assert not passes(seven, you, udp(seven, you, (1, 1), version=6))


async def test_fragments_are_judged_as_the_packet_they_were(dataplane: BridgeDataplane, cable: Cable) -> None:
    some, plain = group(*OUT, allow(protocol=17, ports=(9, 9))), group(*OUT)
    await dataplane.ensure_groups([some, plain])
    net = network()
    me, you = await cable(member(net, 5, plain)), await cable(member(net, 6, some))
    for port, arrives in ((9, True), (10, False)):
        whole = udp(me, you, (40000, port), data=bytes(1200))
        me.send(*fragments(whole, 800))
        arrived = you.received()
        assert [frame[38 if place == 0 else 34 :] for place, frame in enumerate(arrived)] == (
            [whole[38:834], whole[834:]] if arrives else []
        )


async def test_a_remote_group_follows_its_ports(dataplane: BridgeDataplane, cable: Cable) -> None:
    clients = group(*OUT)
    servers = group(*OUT, allow(protocol=6, ports=(80, 80), remote_group_id=clients.id))
    await dataplane.ensure_groups([clients, servers])
    net = network()
    server = await cable(member(net, 6, servers))
    plain = group(*OUT)
    await dataplane.ensure_groups([plain])
    stranger = await cable(member(net, 7, plain))
    assert not connected(stranger, server, (40000, 80))
    client = await cable(member(net, 5, clients))
    assert connected(client, server, (40000, 80))
    joined = replace(stranger.vif.nic, security_groups=(plain.id, clients.id))
    await dataplane.ensure([replace(stranger.vif, nic=joined)])
    assert connected(stranger, server, (40001, 80))
    await dataplane.ensure([stranger.vif])
    assert not connected(stranger, server, (40002, 80)), "no member any more"
    assert not passes(stranger, server, tcp(stranger, server, (40001, 80), ACK, numbers=(2, 2))), "cut"
    assert passes(client, server, tcp(client, server, (40000, 80), ACK, numbers=(2, 2))), "not cut"
    await dataplane.unplug(client.vif.nic.port_id)
    heir = await cable(replace(member(net, 5, plain), server_id=client.vif.server_id))
    assert not passes(heir, server, tcp(heir, server, (40000, 80), ACK, numbers=(2, 2))), "another with its address"


async def test_a_remote_group_knows_the_pairs_of_its_ports(dataplane: BridgeDataplane, cable: Cable) -> None:
    routers = group(*OUT)
    inside = group(*OUT, allow(remote_group_id=routers.id))
    await dataplane.ensure_groups([routers, inside])
    net = network()
    pairs = ((None, "10.0.0.100"), (None, "10.9.0.0/16"), (None, "10.9.3.0/24"))
    router, behind = await cable(member(net, 5, routers, pairs=pairs)), await cable(member(net, 6, inside))
    for sender, arrives in (("10.0.0.100", True), ("10.9.200.1", True), ("10.9.3.1", True), ("10.0.0.5", True)):
        frame = datagram(router.mac, behind.mac, sender, behind.address)
        assert passes(router, behind, frame) == arrives, sender
    await dataplane.ensure([replace(router.vif, nic=replace(router.vif.nic, allowed_address_pairs=()))])
    other = await cable(vif(net, "10.0.0.100", security_groups=(inside.id,)))
    assert not passes(other, behind, udp(other, behind, (1, 1)))


async def test_several_groups_add_up(dataplane: BridgeDataplane, cable: Cable) -> None:
    ssh, web, out = group(allow(protocol=6, ports=(22, 22))), group(allow(protocol=6, ports=(80, 80))), group(*OUT)
    await dataplane.ensure_groups([ssh, web, out])
    net = network()
    client = await cable(member(net, 5, out))
    both, one = await cable(member(net, 6, web, ssh)), await cable(member(net, 7, ssh))
    assert [connected(client, both, (40000, port)) for port in (22, 80, 443)] == [True, True, False]
    assert [connected(client, one, (40000, port)) for port in (22, 80, 443)] == [True, False, False]
    assert not connected(both, client, (40000, 22)), "none of its groups lets it out"


async def test_a_rule_that_goes_cuts_what_it_let_pass(dataplane: BridgeDataplane, cable: Cable) -> None:
    ssh, http = allow(protocol=6, ports=(22, 22)), allow(protocol=6, ports=(80, 80))
    both, plain = group(*OUT, ssh, http), group(*OUT)
    await dataplane.ensure_groups([both, plain])
    net = network()
    client, server = await cable(member(net, 5, plain)), await cable(member(net, 6, both))
    assert connected(client, server, (40000, 22))
    assert connected(client, server, (40001, 80))
    await dataplane.ensure_groups([group(*OUT, http, group_id=both.id)])
    more = {
        port: tcp(client, server, (source, port), ACK, numbers=(2, 2)) for source, port in ((40000, 22), (40001, 80))
    }
    assert not passes(client, server, more[22])
    assert not passes(server, client, tcp(server, client, (22, 40000), ACK, numbers=(2, 2)))
    assert passes(client, server, more[80])
    assert passes(server, client, tcp(server, client, (80, 40001), ACK, numbers=(2, 2)))
    assert not connected(client, server, (40002, 22))
    await dataplane.ensure_groups([both])
    assert connected(client, server, (40003, 22)), "and back again"


async def test_port_security_off_is_no_groups(dataplane: BridgeDataplane, cable: Cable) -> None:
    await dataplane.ensure_groups([plain := group(*OUT)])
    net = network()
    me, you = await cable(member(net, 5, plain)), await cable(member(net, 6, plain))
    assert not connected(me, you, (40000, 80))
    nic = replace(you.vif.nic, port_security_enabled=False, security_groups=())
    await dataplane.ensure([replace(you.vif, nic=nic)])
    assert connected(me, you, (40000, 80))
    await dataplane.ensure([you.vif])
    assert not passes(me, you, tcp(me, you, (40000, 80), ACK, numbers=(2, 2))), "guarded again"


async def test_networks_with_the_same_addresses_never_mix(dataplane: BridgeDataplane, cable: Cable) -> None:
    web, plain = group(*OUT, allow(protocol=6, ports=(80, 80))), group(*OUT)
    await dataplane.ensure_groups([web, plain])
    here, there = network(), network()
    client, server = await cable(member(here, 5, plain)), await cable(member(here, 6, web))
    twin, closed = await cable(member(there, 5, plain)), await cable(member(there, 6, plain))
    assert connected(client, server, (40000, 80))
    for frame in (
        tcp(twin, closed, (40000, 80), ACK, numbers=(2, 2)),
        tcp(twin, closed, (40000, 80)),
    ):
        assert not passes(twin, closed, frame)
    assert not passes(closed, twin, tcp(closed, twin, (80, 40000), SYN_ACK, numbers=(1, 2)))
    await dataplane.ensure_groups([group(*OUT, group_id=web.id)])
    assert not passes(client, server, tcp(client, server, (40000, 80), ACK, numbers=(2, 2)))


async def test_a_bad_group_leaves_the_rules_as_they_were(dataplane: BridgeDataplane, cable: Cable) -> None:
    web, plain = group(*OUT, allow(protocol=6, ports=(80, 80))), group(*OUT)
    await dataplane.ensure_groups([web, plain])
    net = network()
    client, server = await cable(member(net, 5, plain)), await cable(member(net, 6, web))
    bad = [
        allow(protocol=6, ports=(90, 80)),
        allow(protocol=300),
        allow(remote_ip_prefix="10.0.0.0/8 } ; flush ruleset"),
        allow(remote_ip_prefix="2001:db8::/32"),
        allow(protocol=1, ports=(999, None)),
        allow(remote_group_id=SecurityGroupId("drop } ; flush ruleset")),
    ]
    other = group(*OUT, allow(protocol=6, ports=(22, 22)), group_id=plain.id)
    for rule in bad:
        refused = await dataplane.ensure_groups([group(rule, group_id=web.id), other])
        assert refused.keys() == {web.id}
        assert refused[web.id].startswith("The plan of security group ")
    assert connected(client, server, (40000, 80))
    assert not connected(client, server, (40000, 81))
    assert connected(server, client, (40000, 22)), "the good one of the two is in force"


async def test_rules_the_kernel_refuses_change_nothing_and_are_told(
    dataplane: BridgeDataplane, cable: Cable, namespace: str
) -> None:
    web, plain, named = group(*OUT, allow(protocol=6, ports=(80, 80))), group(*OUT), group()
    await dataplane.ensure_groups([web, plain])
    net = network()
    client, server = await cable(member(net, 5, plain)), await cable(member(net, 6, web))
    # Where the addresses of a group should go there is something else.
    other = f"bridge polyport_groups_1 ip4_{named.id.replace('-', '')}"
    inside = ["ip", "netns", "exec", namespace, "nft"]
    subprocess.run([*inside, f"add set {other} {{ type ether_addr; }}"], check=True)
    changed = group(*OUT, allow(protocol=6, ports=(81, 81)), allow(remote_group_id=named.id), group_id=web.id)
    good = group(*OUT, allow(protocol=6, ports=(22, 22)), group_id=plain.id)
    refused = await dataplane.ensure_groups([changed, good])
    assert refused.keys() == {web.id}
    assert "polyport_groups" not in refused[web.id], "what the kernel says is for the log"
    assert connected(client, server, (40000, 80))
    assert not connected(client, server, (40000, 81))
    assert connected(server, client, (40000, 22))
    subprocess.run([*inside, f"delete set {other}"], check=True)
    assert await dataplane.ensure_groups([changed, good]) == {}
    assert connected(client, server, (40001, 81))
    assert not connected(client, server, (40001, 80))


async def test_groups_outlive_the_agent(dataplane: BridgeDataplane, cable: Cable, namespace: str) -> None:
    web, plain = group(*OUT, allow(protocol=6, ports=(80, 80))), group(*OUT)
    await dataplane.ensure_groups([web, plain])
    net = network()
    client, server = await cable(member(net, 5, plain)), await cable(member(net, 6, web))
    assert connected(client, server, (40000, 80))
    second = BridgeDataplane(DataplaneConfig(namespace=namespace))
    await second.open()
    assert passes(client, server, tcp(client, server, (40000, 80), ACK, numbers=(2, 2)))
    assert not connected(client, server, (40001, 81))
    await second.ensure_groups([group(*OUT, allow(protocol=6, ports=(81, 81)), group_id=web.id), plain])
    assert connected(client, server, (40002, 80)), "of the port nobody has spoken"
    await second.ensure([server.vif])
    assert connected(client, server, (40001, 81))
    assert not connected(client, server, (40003, 80))
    await second.ensure([client.vif])
    await second.sweep({each.vif.nic.port_id: net.id for each in (client, server)})
    tables = rules(namespace, "list", "tables").split()
    assert len([each for each in tables if each.startswith("polyport_groups_")]) == 1
    await second.close()


async def test_rules_somebody_took_away_come_back(dataplane: BridgeDataplane, cable: Cable, namespace: str) -> None:
    await dataplane.ensure_groups([plain := group(*OUT)])
    net = network()
    me, you = await cable(member(net, 5, plain)), await cable(member(net, 6, plain))
    keep = {each.vif.nic.port_id: net.id for each in (me, you)}
    rules(namespace, "flush", "ruleset")
    await dataplane.sweep(keep)
    assert not connected(me, you, (40000, 80))
    await dataplane.ensure_groups([group(*OUT, allow(), group_id=plain.id)])
    assert connected(me, you, (40001, 80))


async def test_nothing_is_left_of_what_is_gone(dataplane: BridgeDataplane, cable: Cable, namespace: str) -> None:
    await dataplane.ensure_groups([default := default_group()])
    fresh = rules(namespace, "list", "ruleset")
    net = dual_network()
    for number in (5, 6):
        nic: Nic = await cable(member(net, number, default))
        await dataplane.unplug(PortId(nic.vif.nic.port_id))
    await dataplane.sweep({})
    assert rules(namespace, "list", "ruleset") == fresh


async def test_a_thousand_rules_and_many_members(dataplane: BridgeDataplane, cable: Cable) -> None:
    web = group(*OUT, allow(protocol=6, ports=(80, 80)))
    await dataplane.ensure_groups([web])
    net = network(subnet("10.0.0.0/16"))
    nics = [await cable(vif(net, f"10.0.{n // 200}.{n % 200 + 5}", security_groups=(web.id,))) for n in range(40)]
    assert not connected(nics[0], nics[39], (40000, 22))
    many = [
        allow(protocol=6, ports=(22, 22)),
        *(allow(remote_ip_prefix=f"10.1.{n >> 8}.{n & 255}/32") for n in range(1000)),
    ]
    await dataplane.ensure_groups([group(*OUT, *many, group_id=web.id)])
    assert connected(nics[0], nics[39], (40001, 22))


def rules(namespace: str, *words: str) -> str:
    command = ["ip", "netns", "exec", namespace, "nft", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
