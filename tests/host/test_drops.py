"""Each frame that is dropped is counted once, at the port and for the cause it was dropped for."""

import asyncio
import subprocess
from collections.abc import AsyncIterator

import pytest

from polyport.config import DataplaneConfig
from polyport.dataplane.bridge.causes import NUMBERS
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.names import tap_of
from polyport.plan import PortCounters
from tests.host.conftest import Cable
from tests.host.flows import echo, tcp
from tests.host.plans import OPEN, network, server, vif
from tests.host.test_guard import joined, unguarded
from tests.host.test_port_security import FRAMES, dual_stack
from tests.host.test_probes import Watch
from tests.host.test_security_groups import OUT, group, member
from tests.host.wire import Nic, arp, udp

pytestmark = pytest.mark.host

PATIENCE = 30.0
SYN_AND_FIN = 0x03


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def config(namespace: str) -> DataplaneConfig:
    """Buckets that do not fill up while a test looks, so that counts are exact."""
    return DataplaneConfig(namespace=namespace, broadcast_rate=1, broadcast_burst=50, sibling_rate=5)


@pytest.fixture
async def dataplane(config: DataplaneConfig, watch: Watch) -> AsyncIterator[BridgeDataplane]:
    driver = BridgeDataplane(config)
    await driver.open(quarantined=watch.told)
    await driver.ensure_groups([OPEN])
    yield driver
    await driver.close()


def drops(counters: PortCounters | None) -> dict[str, int]:
    """What was dropped, of those causes that there were."""
    assert counters is not None
    ways = (("ingress", counters.ingress), ("egress", counters.egress))
    return {f"{way} {cause}": count for way, traffic in ways for cause, count in traffic.dropped.items() if count}


async def dropped(dataplane: BridgeDataplane, *nics: Nic) -> list[dict[str, int]]:
    """What was dropped of each, once anything is seen that has been dropped of any."""
    async with asyncio.timeout(PATIENCE):
        while not any(found := [drops(await dataplane.counters(nic.vif.nic.port_id)) for nic in nics]):
            await asyncio.sleep(0.05)
    return found


def known(*nics: Nic) -> None:
    """Have the bridge know where each of these is, so that a frame to one goes to nobody else."""
    for nic in nics:
        nic.send(arp(nic.mac, sender=nic.address, target=nic.address))


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        ("another MAC", "spoofed_mac"),
        ("the other's MAC", "spoofed_mac"),
        ("another IPv4", "spoofed_ipv4"),
        ("another IPv6", "spoofed_ipv6"),
        ("an advert for the other", "spoofed_ipv6"),
        ("ARP for another", "spoofed_arp"),
        ("ARP that is too odd to check", "spoofed_arp"),
        ("an ARP answer from nobody", "spoofed_arp"),
        ("a router advert", "rogue_server"),
        ("a DHCP answer", "rogue_server"),
        ("a DHCPv6 answer", "rogue_server"),
        ("a foreign protocol", "ethertype"),
        ("a VLAN around its own", "ethertype"),
    ],
)
async def test_what_port_security_drops(dataplane: BridgeDataplane, cable: Cable, frame: str, cause: str) -> None:
    mine, yours = dual_stack()
    me, you = await cable(mine), await cable(yours)
    me.send(*[FRAMES[frame][1](me, you)] * 7, *[me.ping(you)] * 3)
    assert await dropped(dataplane, me, you) == [{f"egress {cause}": 7}, {}]


async def test_what_an_unguarded_port_reflects(dataplane: BridgeDataplane, cable: Cable) -> None:
    net = network()
    me, you = await cable(vif(net, "10.0.0.5")), await cable(unguarded(vif(net, "10.0.0.6")))
    me.send(me.shout())
    you.send(*[me.shout()] * 3)
    assert await dropped(dataplane, me, you) == [{}, {"egress reflected": 3}]


async def test_what_is_beyond_a_limit(dataplane: BridgeDataplane, cable: Cable) -> None:
    net, owner = network(), server()
    one, two = await cable(vif(net, "10.0.0.5", of=owner)), await cable(vif(net, "10.0.0.6", of=owner, slot=2))
    other = await cable(vif(net, "10.0.0.7"))
    one.send(*[one.shout()] * 40)
    to_sibling, to_other = two.received().count(one.shout()), other.received().count(one.shout())
    assert (to_sibling < 40, to_other) == (True, 40)
    assert await dropped(dataplane, one, two, other) == [{"egress sibling_limit": 40 - to_sibling}, {}, {}]
    other.send(*[other.shout()] * 90)
    passed = one.received().count(other.shout())
    assert passed < 90
    async with asyncio.timeout(PATIENCE):
        while not (of_other := (await dropped(dataplane, one, two, other))[2]):
            await asyncio.sleep(0.05)
    assert of_other == {"egress flood_limit": 90 - passed}


async def test_what_a_guest_does_not_take(dataplane: BridgeDataplane, cable: Cable) -> None:
    net = network()
    me, you = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    me.send(*[me.ping(you)] * 1500)
    assert (taken := len(you.received())) < 1500
    assert await dropped(dataplane, me, you) == [{}, {"ingress queue_full": 1500 - taken}]


async def test_what_security_groups_drop(dataplane: BridgeDataplane, cable: Cable) -> None:
    silent, closed = group(), group(*OUT)
    await dataplane.ensure_groups([silent, closed])
    net = network()
    mute, deaf = await cable(member(net, 5, silent)), await cable(member(net, 6, closed))
    loud = await cable(member(net, 7, OPEN))
    known(mute, deaf, loud)
    mute.send(*[echo(mute, loud)] * 2)
    loud.send(*[echo(loud, deaf)] * 5)
    assert await dropped(dataplane, mute, deaf, loud) == [
        {"egress security_group": 2},
        {"ingress security_group": 5},
        {},
    ]


async def test_a_broadcast_is_as_many_frames_as_it_has_receivers(dataplane: BridgeDataplane, cable: Cable) -> None:
    silent = group()
    await dataplane.ensure_groups([silent])
    net = network()
    mute, one, two = (
        await cable(member(net, 5, silent)),
        await cable(vif(net, "10.0.0.6")),
        await cable(vif(net, "10.0.0.7")),
    )
    mute.send(mute.shout())
    assert await dropped(dataplane, mute, one, two) == [{"egress security_group": 2}, {}, {}]


async def test_what_belongs_to_no_connection(dataplane: BridgeDataplane, cable: Cable) -> None:
    net = network()
    one, two = await cable(member(net, 5, OPEN)), await cable(member(net, 6, OPEN))
    free = await cable(unguarded(vif(net, "10.0.0.7", security_groups=())))
    known(one, two, free)
    one.send(*[tcp(one, two, (40000, 80), SYN_AND_FIN)] * 2)
    free.send(*[tcp(free, two, (40000, 80), SYN_AND_FIN)] * 3)
    assert await dropped(dataplane, one, two, free) == [
        {"egress invalid_state": 2},
        {"ingress invalid_state": 3},
        {},
    ]


async def test_what_a_quarantine_keeps_away(dataplane: BridgeDataplane, cable: Cable, watch: Watch) -> None:
    net, owner = network(), server()
    one, two = await cable(vif(net, "10.0.0.5", of=owner)), await cable(vif(net, "10.0.0.6", of=owner, slot=2))
    other = await cable(vif(net, "10.0.0.7"))
    with joined(one, two):
        await watch.until(two)
    # Nothing is carried any more, and the quarantine is not over yet.
    two.send(*[two.ping(other)] * 4)
    other.send(*[other.ping(two)] * 6)
    assert await dropped(dataplane, one, two, other) == [{}, {"egress quarantine": 4, "ingress quarantine": 6}, {}]


async def test_a_port_that_is_plugged_again_begins_at_nothing(
    dataplane: BridgeDataplane, cable: Cable, namespace: str
) -> None:
    mine, yours = dual_stack()
    me, you = await cable(mine), await cable(yours)
    spoofed = udp(you.mac, you.mac, "10.0.0.99", you.address)
    for again in ("unplugged", "left over", "swept"):
        me.send(spoofed)
        assert await dropped(dataplane, me) == [{"egress spoofed_mac": 1}]
        assert elements(namespace) == [tap_of(mine.nic.port_id)], again
        if again == "unplugged":
            await dataplane.unplug(mine.nic.port_id)
            assert elements(namespace) == []
        elif again == "swept":
            await dataplane.sweep({yours.nic.port_id: yours.network.id})
            assert elements(namespace) == []
            break
        me.close()
        me = await cable(mine)
        assert drops(await dataplane.counters(mine.nic.port_id)) == {}


async def test_counts_outlive_the_agent(config: DataplaneConfig) -> None:
    mine, yours = dual_stack()
    first = BridgeDataplane(config)
    await first.open()
    await first.ensure_groups([OPEN])
    me, you = [Nic(await first.plug(each), each) for each in (mine, yours)]
    me.send(udp(you.mac, you.mac, "10.0.0.99", you.address))
    await first.close()
    second = BridgeDataplane(config)
    await second.open()
    await second.ensure_groups([OPEN])
    await second.ensure([mine, yours])
    await second.sweep({each.nic.port_id: each.network.id for each in (mine, yours)})
    assert await dropped(second, me, you) == [{"egress spoofed_mac": 1}, {}]
    await second.close()
    me.close()
    you.close()


async def test_a_drop_does_not_depend_on_room_for_its_count(
    dataplane: BridgeDataplane, cable: Cable, namespace: str
) -> None:
    """The set of counts is full: what was dropped before is dropped still."""
    mine, yours = dual_stack()
    me, you = await cable(mine), await cable(yours)
    fill(namespace)
    me.send(udp(you.mac, you.mac, "10.0.0.99", you.address), me.ping(you))
    assert you.received() == [me.ping(you)]
    assert drops(await dataplane.counters(mine.nic.port_id)) == {}


def fill(namespace: str) -> None:
    """Leave no room in the set of counts: the same table, with a set for one element that is there."""
    nft = ["ip", "netns", "exec", namespace, "nft"]
    table = subprocess.check_output([*nft, "list", "table", "bridge", "polyport"], text=True)
    assert "size 262144" in table
    text = f"delete table bridge polyport\n{table.replace('size 262144', 'size 1')}"
    text += "add element bridge polyport drops { somebody . 1 }\n"
    subprocess.run([*nft, "-f", "-"], input=text, text=True, check=True)


def elements(namespace: str) -> list[str]:
    """The ports that anything is counted of."""
    words = f"ip netns exec {namespace} nft list set bridge polyport drops"
    text = subprocess.check_output(words.split(), text=True)
    return [word.strip('"') for word in text.split() if word.startswith('"tap')]


def test_every_cause_has_a_number_of_its_own() -> None:
    assert len(set(NUMBERS.values())) == len(NUMBERS)
    assert 0 not in NUMBERS.values(), "which is the mark of frames from no known port"
