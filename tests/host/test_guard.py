"""A guest that joins its own NICs loses the loop, not the network."""

import asyncio
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from msgspec.structs import replace

from polyport.config import DataplaneConfig
from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.plan import StormPlan
from tests.host.conftest import Cable
from tests.host.plans import OPEN, network, server, vif
from tests.host.wire import EVERYBODY, OFFLOAD_HEADER, Nic, arp, is_probe, udp

pytestmark = pytest.mark.host

NOBODY = "fa:16:3e:77:77:77"
"""A MAC no port has."""


@pytest.fixture
def config(namespace: str) -> DataplaneConfig:
    """A bucket that does not fill up while a test looks, so that counts are exact."""
    return DataplaneConfig(namespace=namespace, broadcast_rate=1, broadcast_burst=50, sibling_rate=5)


def unguarded(plan: VifPlan) -> VifPlan:
    return replace(plan, nic=replace(plan.nic, port_security_enabled=False))


@contextmanager
def joined(one: Nic, two: Nic) -> Iterator[list[int]]:
    """A guest that bridges two of its NICs. Yields the number of frames it has carried (besides probes), as the only
    element."""
    carried = [0]
    stop, stopped = os.pipe()

    def carry() -> None:
        ends = {one.descriptor: two.descriptor, two.descriptor: one.descriptor}
        while True:
            ready, _, _ = select.select([*ends, stop], [], [])
            if stop in ready:
                return
            for end in ready:
                with suppress(BlockingIOError):
                    frame = os.read(end, 70000)
                    os.write(ends[end], frame)
                    carried[0] += not is_probe(frame[OFFLOAD_HEADER:])

    guest = threading.Thread(target=carry)
    guest.start()
    try:
        yield carried
    finally:
        os.write(stopped, b"x")
        guest.join()
        os.close(stop)
        os.close(stopped)


def count(nic: Nic, frame: bytes) -> int:
    return nic.received().count(frame)


async def test_broadcasts_of_a_port_are_limited(cable: Cable) -> None:
    net = network()
    me, you = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    me.send(*[me.shout()] * 500)
    assert 50 <= count(you, me.shout()) <= 55
    me.send(*[me.ping(you)] * 200)
    assert count(you, me.ping(you)) == 200, "what is meant for one is not limited"


async def test_every_port_has_a_limit_of_its_own(cable: Cable) -> None:
    net = network()
    me, other, you = [await cable(vif(net, f"10.0.0.{number}")) for number in (5, 6, 7)]
    me.send(*[me.shout()] * 500)
    you.received()
    other.send(*[other.shout()] * 20)
    assert count(you, other.shout()) == 20


async def test_frames_to_nobody_are_limited_as_broadcasts_are(cable: Cable) -> None:
    net = network()
    me, you = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    frame = udp(me.mac, NOBODY, me.address, "10.0.0.99")
    me.send(*[frame] * 500)
    assert 50 <= count(you, frame) <= 55


async def test_a_mac_of_another_network_is_nobody_here(cable: Cable) -> None:
    net = network()
    me, you = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    abroad = await cable(vif(network(), "10.0.0.7"))
    frame = udp(me.mac, abroad.mac, me.address, "10.0.0.99")
    me.send(*[frame] * 500)
    assert 50 <= count(you, frame) <= 55
    assert abroad.received() == []


async def test_a_mac_behind_an_unguarded_port_is_somebody_once_heard(cable: Cable) -> None:
    net = network()
    me, bridging = await cable(vif(net, "10.0.0.5")), await cable(unguarded(vif(net, "10.0.0.6")))
    bridging.send(udp(NOBODY, me.mac, "10.0.0.99", me.address))
    frame = udp(me.mac, NOBODY, me.address, "10.0.0.99")
    me.send(*[frame] * 300)
    assert count(bridging, frame) == 300


async def test_spoofed_frames_do_not_use_up_the_limit(cable: Cable) -> None:
    net = network()
    me, you = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    me.send(*[udp(NOBODY, EVERYBODY, "10.0.0.99", "255.255.255.255")] * 500, *[me.shout()] * 40)
    assert count(you, me.shout()) == 40


async def test_two_nics_of_one_server_talk_at_full_speed(cable: Cable) -> None:
    net, owner = network(), server()
    one, two = await cable(vif(net, "10.0.0.5", of=owner)), await cable(vif(net, "10.0.0.6", of=owner, slot=2))
    one.send(*[one.ping(two)] * 300)
    two.send(*[two.ping(one)] * 300)
    assert (count(two, one.ping(two)), count(one, two.ping(one))) == (300, 300)


async def test_broadcasts_between_two_nics_of_one_server_are_limited_harder(cable: Cable) -> None:
    net, owner = network(), server()
    one, two = await cable(vif(net, "10.0.0.5", of=owner)), await cable(vif(net, "10.0.0.6", of=owner, slot=2))
    three = await cable(vif(net, "10.0.0.7", of=owner, slot=3))
    other = await cable(vif(net, "10.0.0.8"))
    one.send(*[one.shout()] * 40)
    assert count(other, one.shout()) == 40
    assert 5 <= count(two, one.shout()) <= 10
    assert 5 <= count(three, one.shout()) <= 10, "each pair has its own limit"


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])
@pytest.mark.parametrize("start", ["bystander's broadcast", "own broadcast", "to nobody", "to a silent port"])
async def test_a_loop_dies_out(cable: Cable, dataplane: BridgeDataplane, guarded: bool, start: str) -> None:
    net, owner = network(), server()
    plans = [vif(net, f"10.0.0.{5 + slot}", of=owner, slot=slot) for slot in (1, 2)]
    one, two = [await cable(plan if guarded else unguarded(plan)) for plan in plans]
    bystander, silent = await cable(vif(net, "10.0.0.20")), await cable(vif(net, "10.0.0.21"))
    frame, sender = {
        "bystander's broadcast": (bystander.shout(), bystander),
        "own broadcast": (udp(one.mac, EVERYBODY, one.address, "10.0.0.255"), one),
        "to nobody": (udp(bystander.mac, NOBODY, bystander.address, "10.0.0.99"), bystander),
        "to a silent port": (bystander.ping(silent), bystander),
    }[start]
    with joined(one, two) as carried:
        sender.send(frame)
        # What the loop's limits let through is bounded; a storm would be beyond it within a few milliseconds.
        await settled(carried)
        assert carried[0] <= 120
        assert count(silent, frame) <= 60
        assert count(bystander, frame) <= 60
        # And the network serves others meanwhile.
        silent.send(*[silent.ping(bystander)] * 100)
        assert count(bystander, silent.ping(bystander)) == 100


async def settled(carried: list[int]) -> None:
    """Wait until a loop has carried nothing for a while (or far too much)."""
    last = -1
    while last != carried[0] <= 5000:
        last = carried[0]
        await asyncio.sleep(0.2)


async def test_without_the_limits_a_loop_is_a_storm(namespace: str) -> None:
    """The control: the same guest with limits out of reach. Proves that the tests above can fail."""
    driver = BridgeDataplane(
        DataplaneConfig(namespace=namespace, broadcast_rate=10**6, broadcast_burst=10**6, sibling_rate=10**6)
    )
    await driver.open()
    await driver.ensure_groups([OPEN])
    net, owner = network(), server()
    plans = [vif(net, f"10.0.0.{5 + slot}", of=owner, slot=slot) for slot in (1, 2)]
    one, two = [Nic(await driver.plug(plan), plan) for plan in plans]
    with joined(one, two) as carried:
        one.send(udp(one.mac, EVERYBODY, one.address, "10.0.0.255"))
        await settled(carried)
        assert carried[0] > 5000
    one.close()
    two.close()
    await driver.close()


async def test_a_group_address_in_a_pair_lifts_no_limit(cable: Cable) -> None:
    net = network()
    me = await cable(vif(net, "10.0.0.5", pairs=((EVERYBODY, "10.0.0.5"), ("33:33:00:00:00:01", "10.0.0.5"))))
    you = await cable(vif(net, "10.0.0.6"))
    frame = arp(me.mac, sender=me.address, target=you.address)
    me.send(*[frame] * 500)
    assert 50 <= count(you, frame) <= 55


async def test_nobody_speaks_as_another_who_has_just_spoken(cable: Cable) -> None:
    net = network()
    me, you = await cable(unguarded(vif(net, "10.0.0.5"))), await cable(vif(net, "10.0.0.6"))
    other = await cable(vif(net, "10.0.0.7"))
    taken_over = udp(you.mac, other.mac, "10.0.0.6", other.address)
    you.send(you.ping(other))
    me.send(taken_over)
    assert other.received() == [you.ping(other)]
    # A MAC that has gone silent may move.
    async with asyncio.timeout(30):
        while not other.received():
            await asyncio.sleep(0.1)
            me.send(taken_over)


async def test_bonded_nics_of_one_server_share_a_mac(cable: Cable) -> None:
    net, owner = network(), server()
    one, two = [await cable(unguarded(vif(net, f"10.0.0.{4 + slot}", of=owner, slot=slot))) for slot in (1, 2)]
    other = await cable(vif(net, "10.0.0.7"))
    one.send(one.ping(other))
    two.send(udp(one.mac, other.mac, one.address, other.address, data=b"by two"))
    assert other.received() == [
        one.ping(other),
        udp(one.mac, other.mac, one.address, other.address, data=b"by two"),
    ]


def with_limits(plan: VifPlan, *, net: StormPlan | None = None, port: StormPlan | None = None) -> VifPlan:
    return replace(plan, nic=replace(plan.nic, storm=port), network=replace(plan.network, storm=net))


async def test_limits_of_a_network_and_of_a_port(cable: Cable, dataplane: BridgeDataplane) -> None:
    plan = vif(network(), "10.0.0.5")
    me, you = await cable(plan), await cable(vif(plan.network, "10.0.0.6"))
    await dataplane.ensure([with_limits(plan, net=StormPlan(flood_rate=1, flood_burst=200))])
    me.send(*[me.shout()] * 500)
    assert 200 <= count(you, me.shout()) <= 205
    await dataplane.ensure(
        [with_limits(plan, net=StormPlan(flood_rate=1, flood_burst=200), port=StormPlan(flood_rate=5))]
    )
    me.send(*[me.shout()] * 500)
    assert 10 <= count(you, me.shout()) <= 15, "what the port says goes first, and its burst is twice the rate"
    await dataplane.ensure([plan])
    me.send(*[me.shout()] * 500)
    assert 50 <= count(you, me.shout()) <= 55, "without limits of its own it has the host's"


async def test_limits_between_siblings(cable: Cable, dataplane: BridgeDataplane) -> None:
    net, owner = network(), server()
    plans = [vif(net, f"10.0.0.{4 + slot}", of=owner, slot=slot) for slot in (1, 2, 3)]
    one, two, three = [await cable(plan) for plan in plans]
    limits = StormPlan(sibling_rate=15)
    await dataplane.ensure([with_limits(plan, net=limits) for plan in plans])
    one.send(*[one.shout()] * 40)
    assert (count(two, one.shout()), count(three, one.shout())) == (15, 15)
    await dataplane.unplug(plans[2].nic.port_id)
    await dataplane.ensure(plans[:2])


async def test_limits_outlast_the_agent_and_go_with_their_port(
    cable: Cable, dataplane: BridgeDataplane, config: DataplaneConfig
) -> None:
    plan = with_limits(vif(network(), "10.0.0.5"), port=StormPlan(flood_rate=1, flood_burst=100))
    me, you = await cable(plan), await cable(vif(plan.network, "10.0.0.6"))
    successor = BridgeDataplane(config)
    await successor.open()
    await successor.ensure_groups([OPEN])
    me.send(*[me.shout()] * 500)
    assert 100 <= count(you, me.shout()) <= 105
    await successor.ensure([plan])
    await successor.sweep({nic.vif.nic.port_id: plan.network.id for nic in (me, you)})
    await successor.ensure([with_limits(plan)])
    me.send(*[me.shout()] * 500)
    assert 50 <= count(you, me.shout()) <= 55
    await successor.sweep({})
    await successor.close()


async def test_a_network_without_sibling_addresses(cable: Cable, dataplane: BridgeDataplane) -> None:
    net, owner = network(), server()
    plans = [
        vif(net, f"10.0.0.{4 + slot}", of=owner, slot=slot, pairs=((None, f"10.9.{slot}.0/24"),)) for slot in (1, 2)
    ]
    one, two = [await cable(plan) for plan in plans]
    other = await cable(vif(net, "10.0.0.9"))
    lent = [udp(one.mac, other.mac, address, other.address) for address in (two.address, "10.9.2.7")]
    one.send(*lent)
    assert other.received() == lent
    strict = [replace(plan, network=replace(net, sibling_addresses=False)) for plan in plans]
    await dataplane.ensure(strict)
    one.send(*lent, one.ping(other), udp(one.mac, other.mac, "10.9.1.7", other.address))
    assert other.received() == [one.ping(other), udp(one.mac, other.mac, "10.9.1.7", other.address)]
    await dataplane.ensure(plans)
    one.send(*lent)
    assert other.received() == lent
