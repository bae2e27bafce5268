"""A guest is who its ports say it is, and nobody else."""

import struct
from collections.abc import Callable
from ipaddress import IPv6Address

import pytest
from msgspec.structs import replace

from polyport.config import DataplaneConfig
from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.bridge.firewall import BadVif
from polyport.plan import AddressPair
from tests.host.conftest import Cable
from tests.host.plans import OPEN, network, server, subnet, vif
from tests.host.wire import EVERYBODY, Nic, arp, ethernet, icmp6, ip, neighbor, tagged, udp

pytestmark = pytest.mark.host

STRANGER = "fa:16:3e:99:99:99"
ROUTER_ADVERT, REDIRECT, ROUTER_SOLICIT, MLD2 = 134, 137, 133, 143
UDP, FRAGMENT, OPTIONS = 17, 44, 60
NO_OPTIONS = bytes([UDP, 0, 1, 4, 0, 0, 0, 0])
"""A header of destination options with nothing but padding, before UDP."""


def dual_stack() -> tuple[VifPlan, VifPlan]:
    net = network(subnet("10.0.0.0/24"), subnet("2001:db8::/64"))
    return vif(net, "10.0.0.5", "2001:db8::5"), vif(net, "10.0.0.6", "2001:db8::6")


def link_local(mac: str) -> str:
    octets = bytes.fromhex(mac.replace(":", ""))
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]))


def fragment(me: Nic, you: Nic, inside: int, place: int, data: bytes) -> bytes:
    """A piece of a larger IPv6 packet, `place` octets from its beginning, whose first header is of kind `inside`."""
    header = struct.pack("!BBHI", inside, 0, place | (place == 0), 7)
    return ethernet(me.mac, you.mac, *ip(me.addresses[1], you.addresses[1], FRAGMENT, header + data))


FRAMES: dict[str, tuple[bool, Callable[[Nic, Nic], bytes]]] = {
    "its own IPv4": (True, lambda me, you: me.ping(you)),
    "its own IPv6": (True, lambda me, you: udp(me.mac, you.mac, me.addresses[1], you.addresses[1])),
    "its own ARP": (True, lambda me, you: arp(me.mac, sender=me.address, target=you.address)),
    "an answer to ARP": (
        True,
        lambda me, you: arp(me.mac, sender=me.address, target=you.address, operation=2, to=you.mac),
    ),
    "a probe for its own address": (True, lambda me, you: arp(me.mac, sender="0.0.0.0", target=me.address)),
    "its own neighbour advert": (True, lambda me, you: neighbor(me.mac, me.addresses[1], me.addresses[1])),
    "its link-local address": (True, lambda me, you: udp(me.mac, you.mac, link_local(me.mac), "ff02::1")),
    "its DAD": (True, lambda me, you: neighbor(me.mac, "::", link_local(me.mac), kind=135)),
    "a solicitation": (True, lambda me, you: neighbor(me.mac, me.addresses[1], you.addresses[1], kind=135)),
    "a router solicitation": (
        True,
        lambda me, you: icmp6(me.mac, "33:33:00:00:00:02", "::", "ff02::2", ROUTER_SOLICIT, bytes(4)),
    ),
    "an MLD report": (
        True,
        lambda me, you: icmp6(me.mac, "33:33:00:00:00:16", "::", "ff02::16", MLD2, bytes(4)),
    ),
    "a DHCP request": (
        True,
        lambda me, you: udp(me.mac, EVERYBODY, "0.0.0.0", "255.255.255.255", ports=(68, 67)),
    ),
    "a relayed DHCP request": (True, lambda me, you: udp(me.mac, you.mac, me.address, you.address, ports=(67, 67))),
    "DHCPv6 as a server, behind options": (
        False,
        lambda me, you: ethernet(
            me.mac,
            you.mac,
            *ip(me.addresses[1], you.addresses[1], OPTIONS, NO_OPTIONS + struct.pack("!HHHH", 547, 546, 8, 0)),
        ),
    ),
    "another MAC": (False, lambda me, you: udp(STRANGER, you.mac, me.address, you.address)),
    "the other's MAC": (False, lambda me, you: udp(you.mac, EVERYBODY, me.address, "255.255.255.255")),
    "another IPv4": (False, lambda me, you: udp(me.mac, you.mac, "10.0.0.99", you.address)),
    "the other's IPv4": (False, lambda me, you: udp(me.mac, you.mac, you.address, you.address)),
    "no IPv4 at all": (False, lambda me, you: udp(me.mac, you.mac, "0.0.0.0", you.address)),
    "another IPv6": (False, lambda me, you: udp(me.mac, you.mac, "2001:db8::99", you.addresses[1])),
    "another's link-local": (False, lambda me, you: udp(me.mac, you.mac, link_local(you.mac), "ff02::1")),
    "ARP for another": (False, lambda me, you: arp(me.mac, sender="10.0.0.1", target=you.address)),
    "ARP with another MAC inside": (
        False,
        lambda me, you: arp(me.mac, sender_mac=STRANGER, sender=me.address, target=you.address),
    ),
    "an ARP answer from nobody": (
        False,
        lambda me, you: arp(me.mac, sender="0.0.0.0", target=me.address, operation=2),
    ),
    "a probe for the other's address": (False, lambda me, you: arp(me.mac, sender="0.0.0.0", target=you.address)),
    "ARP that is too odd to check": (
        False,
        lambda me, you: ethernet(me.mac, EVERYBODY, 0x0806, b"\0\1\x08\0\x08\4\0\1" + bytes(28)),
    ),
    "an advert for the other": (False, lambda me, you: neighbor(me.mac, me.addresses[1], you.addresses[1])),
    "DAD for the other": (False, lambda me, you: neighbor(me.mac, "::", you.addresses[1], kind=135)),
    "a router advert": (
        False,
        lambda me, you: icmp6(me.mac, "33:33:00:00:00:01", link_local(me.mac), "ff02::1", ROUTER_ADVERT, bytes(12)),
    ),
    "a redirect": (
        False,
        lambda me, you: icmp6(me.mac, you.mac, link_local(me.mac), you.addresses[1], REDIRECT, bytes(36)),
    ),
    "a DHCP answer": (False, lambda me, you: udp(me.mac, you.mac, me.address, "255.255.255.255", ports=(67, 68))),
    "a DHCP answer from an odd port": (
        False,
        lambda me, you: udp(me.mac, you.mac, me.address, you.address, ports=(6767, 68)),
    ),
    "a DHCPv6 answer": (
        False,
        lambda me, you: udp(me.mac, you.mac, me.addresses[1], you.addresses[1], ports=(547, 546)),
    ),
    "a foreign protocol": (False, lambda me, you: ethernet(me.mac, EVERYBODY, 0x88B6, bytes(46))),
    "a bridge's own protocol": (False, lambda me, you: ethernet(me.mac, "01:80:c2:00:00:00", 39, bytes(46))),
    "a VLAN around its own": (False, lambda me, you: tagged(me.ping(you))),
    "a VLAN around another's": (False, lambda me, you: tagged(udp(me.mac, you.mac, "10.0.0.99", you.address))),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_a_guarded_port_speaks_for_itself_only(cable: Cable, name: str) -> None:
    mine, yours = dual_stack()
    me, you = await cable(mine), await cable(yours)
    passes, build = FRAMES[name]
    frame = build(me, you)
    me.send(frame, me.ping(you, b"afterwards"))
    assert you.received() == [*([frame] if passes else []), me.ping(you, b"afterwards")]


@pytest.mark.parametrize("name", FRAMES)
async def test_an_unguarded_port_says_what_it_likes(cable: Cable, name: str) -> None:
    mine, yours = (replace(each, nic=replace(each.nic, port_security_enabled=False)) for each in dual_stack())
    me, you = await cable(mine), await cable(yours)
    frame = FRAMES[name][1](me, you)
    me.send(frame)
    assert you.received() == [frame]


PIECES: dict[str, tuple[bool, int, tuple[int, int], bytes]] = {
    "its own": (True, UDP, (7, 7), b""),
    "its own, behind options": (False, OPTIONS, (7, 7), NO_OPTIONS),
    "a DHCPv6 answer": (False, UDP, (547, 546), b""),
    "a DHCPv6 answer, behind options": (False, OPTIONS, (547, 546), NO_OPTIONS),
}
"""Name -> whether it passes, its first header, its UDP ports, what the first piece has before UDP."""


@pytest.mark.parametrize("name", PIECES)
async def test_no_piece_hides_what_the_whole_is(cable: Cable, name: str) -> None:
    mine, yours = dual_stack()
    me, you = await cable(mine), await cable(yours)
    passes, inside, ports, before = PIECES[name]
    whole = before + udp(me.mac, you.mac, me.addresses[1], you.addresses[1], ports=ports, data=bytes(8))[54:]
    me.send(fragment(me, you, inside, 0, whole[:8]), fragment(me, you, inside, 8, whole[8:]))
    me.send(me.ping(you, b"afterwards"))
    assert (you.received() != [me.ping(you, b"afterwards")]) is passes


async def test_port_security_changes_on_a_port_in_use(dataplane: BridgeDataplane, cable: Cable) -> None:
    mine, yours = dual_stack()
    me, you = await cable(mine), await cable(yours)
    spoofed = udp(STRANGER, you.mac, "10.0.0.99", you.address)
    open_plan = replace(mine, nic=replace(mine.nic, port_security_enabled=False))
    for plan, expected in ((open_plan, [spoofed]), (mine, []), (open_plan, [spoofed])):
        await dataplane.ensure([plan])
        me.send(spoofed)
        assert you.received() == expected


async def test_a_change_drops_no_frame(dataplane: BridgeDataplane, cable: Cable) -> None:
    mine, yours = dual_stack()
    me, you = await cable(mine), await cable(yours)
    for number in range(200):
        pair = AddressPair(mac_address=me.mac, ip_address=f"10.{number}.0.0/16")
        await dataplane.ensure([replace(mine, nic=replace(mine.nic, allowed_address_pairs=(pair,)))])
        me.send(me.ping(you))
    assert len(you.received()) == 200


async def test_allowed_pairs_are_allowed_and_nothing_beside_them(dataplane: BridgeDataplane, cable: Cable) -> None:
    virtual = "00:00:5e:00:01:01"
    mine, yours = dual_stack()
    given = ((None, "10.0.0.100"), (None, "10.9.0.0/16"), (virtual, "10.0.0.200"), (None, "2001:db8:9::/48"))
    pairs = tuple(AddressPair(mac_address=mac or mine.nic.mac_address, ip_address=ip) for mac, ip in given)
    me, you = await cable(mine), await cable(yours)
    good = [
        udp(me.mac, you.mac, "10.0.0.100", you.address),
        udp(me.mac, you.mac, "10.9.255.1", you.address),
        udp(virtual, you.mac, "10.0.0.200", you.address),
        udp(me.mac, you.mac, "2001:db8:9:7::1", you.addresses[1]),
        arp(me.mac, sender="10.0.0.100", target=you.address),
        arp(me.mac, sender="10.9.3.1", target=you.address),
        arp(virtual, sender="10.0.0.200", target=you.address),
        neighbor(me.mac, "2001:db8:9:7::1", "2001:db8:9:7::1"),
    ]
    bad = [
        udp(me.mac, you.mac, "10.8.255.1", you.address),
        udp(me.mac, you.mac, "10.0.0.200", you.address),
        udp(virtual, you.mac, "10.0.0.100", you.address),
        udp(me.mac, you.mac, "2001:db8:a::1", you.addresses[1]),
        arp(me.mac, sender="10.10.0.1", target=you.address),
        arp(me.mac, sender_mac=virtual, sender="10.0.0.200", target=you.address),
        neighbor(me.mac, "2001:db8:9:7::1", "2001:db8:a::1"),
    ]
    me.send(*good)
    assert you.received() == []
    await dataplane.ensure([replace(mine, nic=replace(mine.nic, allowed_address_pairs=pairs))])
    me.send(*good, *bad)
    assert you.received() == good
    await dataplane.ensure([mine])
    me.send(*good)
    assert you.received() == []


async def test_pairs_that_overlap_are_one(dataplane: BridgeDataplane, cable: Cable) -> None:
    mine, yours = dual_stack()
    me, you = await cable(mine), await cable(yours)
    frame = udp(me.mac, you.mac, "10.9.1.1", you.address)
    for ranges, passes in (
        (("10.9.1.0/24", "10.9.0.0/16", "10.9.1.1", "10.9.1.1/32"), True),
        (("10.9.0.0/17",), True),
        (("10.9.0.0/16", "0.0.0.0/0"), True),
        (("10.9.128.0/17",), False),
        (("10.9.1.1/24",), True),
    ):
        pairs = tuple(AddressPair(mac_address=me.mac, ip_address=each) for each in ranges)
        await dataplane.ensure([replace(mine, nic=replace(mine.nic, allowed_address_pairs=pairs))])
        me.send(frame)
        assert you.received() == ([frame] if passes else []), ranges


async def test_a_nic_may_bear_the_addresses_of_its_siblings(dataplane: BridgeDataplane, cable: Cable) -> None:
    net, owner = network(subnet("10.0.0.0/24"), subnet("2001:db8::/64")), server()
    first, second = vif(net, "10.0.0.5", "2001:db8::5", of=owner), vif(net, "10.0.0.6", "2001:db8::6", of=owner)
    stranger = vif(net, "10.0.0.7", "2001:db8::7")
    one, two, other = await cable(first), await cable(second), await cable(stranger)
    by_one = [
        udp(one.mac, other.mac, two.address, other.address),
        arp(one.mac, sender=two.address, target=other.address),
        udp(one.mac, other.mac, two.addresses[1], other.addresses[1]),
        neighbor(one.mac, one.addresses[1], two.addresses[1]),
    ]
    one.send(*by_one, udp(two.mac, other.mac, two.address, other.address))
    assert other.received() == by_one, "addresses of siblings, but with its own MAC"
    one.send(udp(one.mac, other.mac, other.address, other.address))
    other.send(udp(other.mac, one.mac, two.address, one.address))
    assert other.received() == one.received() == []
    await dataplane.unplug(second.nic.port_id)
    one.send(*by_one)
    assert other.received() == []


async def test_siblings_are_of_one_server_and_one_network(cable: Cable) -> None:
    owner, here, there = server(), network(), network()
    one, elsewhere = await cable(vif(here, "10.0.0.5", of=owner)), await cable(vif(there, "10.0.0.6", of=owner))
    other = await cable(vif(here, "10.0.0.7"))
    one.send(udp(one.mac, other.mac, elsewhere.address, other.address))
    assert other.received() == []


@pytest.mark.parametrize("whose", ["the port's", "the network's"])
async def test_a_port_that_is_down_is_deaf_and_mute(dataplane: BridgeDataplane, cable: Cable, whose: str) -> None:
    mine, yours = dual_stack()
    me, you = await cable(mine), await cable(yours)
    down = (
        replace(mine, nic=replace(mine.nic, admin_state_up=False))
        if whose == "the port's"
        else replace(mine, network=replace(mine.network, admin_state_up=False))
    )
    await dataplane.ensure([down])
    with pytest.raises(OSError, match="Input/output error"):
        me.send(me.ping(you))
    you.send(you.ping(me), you.shout())
    assert me.received() == you.received() == []
    await dataplane.ensure([mine])
    me.send(me.ping(you))
    you.send(you.ping(me))
    assert (me.received(), you.received()) == ([you.ping(me)], [me.ping(you)])


async def test_rules_outlive_the_agent(dataplane: BridgeDataplane, cable: Cable, config: DataplaneConfig) -> None:
    mine, yours = dual_stack()
    pair = AddressPair(mac_address=mine.nic.mac_address, ip_address="10.9.0.0/16")
    me, you = (
        await cable(replace(mine, nic=replace(mine.nic, allowed_address_pairs=(pair,)))),
        await cable(yours),
    )
    paired = udp(me.mac, you.mac, "10.9.0.1", you.address)
    second = BridgeDataplane(config)
    await second.open()
    await second.ensure_groups([OPEN])
    me.send(paired, udp(me.mac, you.mac, "10.8.0.1", you.address))
    assert you.received() == [paired], "the rules of the first agent are in force"
    await second.ensure([mine])
    me.send(paired, me.ping(you))
    you.send(you.ping(me))
    assert you.received() == [me.ping(you)], "the plan of the second has no pair"
    assert me.received() == [you.ping(me)], "of the other port nobody has spoken"
    await second.sweep({mine.nic.port_id: mine.network.id})
    assert me.received() == []
    with pytest.raises(OSError, match="bad state"):
        you.send(you.ping(me))
    await second.close()


async def test_other_limits_are_loaded_around_the_ports_in_use(
    dataplane: BridgeDataplane, cable: Cable, config: DataplaneConfig
) -> None:
    mine, yours = dual_stack()
    me, you = await cable(mine), await cable(yours)
    second = BridgeDataplane(replace(config, broadcast_rate=1, broadcast_burst=3))
    await second.open()
    await second.ensure_groups([OPEN])
    me.send(me.ping(you), udp(me.mac, you.mac, "10.8.0.1", you.address), *[me.shout()] * 10)
    assert you.received() == [me.ping(you), *[me.shout()] * 3]
    await second.close()


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"mac_address": "fa:16:3e:00:00:zz"}, "'fa:16:3e:00:00:zz' is not a MAC address"),
        ({"mac_address": "01:16:3e:00:00:01"}, "its MAC 01:16:3e:00:00:01 is no unicast address"),
        ({"pairs": ((None, "10.0.0.5 } ; flush ruleset"),)}, "is not an address"),
        ({"pairs": (("fa:16:3e:00:00:01 . x", "10.0.0.5"),)}, "is not a MAC address"),
        ({"pairs": ((None, "fe80::1%eth0"),)}, "has a scope"),
    ],
)
async def test_a_plan_with_nonsense_changes_nothing(
    dataplane: BridgeDataplane, cable: Cable, facts: dict[str, object], reason: str
) -> None:
    net = network()
    me, you = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    with pytest.raises(BadVif) as raised:
        await dataplane.plug(vif(net, "10.0.0.7", **facts))
    assert reason in raised.value.message
    assert len(await dataplane.found()) == 2
    me.send(me.ping(you))
    assert you.received() == [me.ping(you)]
