"""Probes find a guest that joins its NICs; the port that closes the loop is off until it stops."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import pytest
from msgspec.structs import replace

from polyport.config import DataplaneConfig
from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.bridge.probe import frame_of, probe_mac
from polyport.ids import PortId
from polyport.names import bridge_of
from tests.host.plans import OPEN, network, server, vif
from tests.host.test_guard import NOBODY, joined, unguarded
from tests.host.wire import EVERYBODY, Nic, is_probe, tagged, udp

pytestmark = pytest.mark.host

PATIENCE = 30.0


class Watch:
    """What the dataplane says of quarantined ports."""

    def __init__(self) -> None:
        self.ports: frozenset[PortId] = frozenset()

    def told(self, ports: frozenset[PortId]) -> None:
        self.ports = ports

    async def until(self, *nics: Nic, among: Iterable[Nic] | None = None) -> None:
        """Wait until exactly these are quarantined, of all NICs or among some."""
        wanted = {nic.vif.nic.port_id for nic in nics}
        looked_at = {nic.vif.nic.port_id for nic in among} if among is not None else None
        async with asyncio.timeout(PATIENCE):
            while (self.ports if looked_at is None else self.ports & looked_at) != wanted:
                await asyncio.sleep(0.01)


class World:
    """A dataplane whose agent can be replaced, and the NICs on it."""

    def __init__(self, config: DataplaneConfig) -> None:
        self.config = config
        self.watch = Watch()
        self.nics: list[Nic] = []
        self.driver = BridgeDataplane(config)

    async def open(self) -> None:
        await self.driver.open(quarantined=self.watch.told)
        await self.driver.ensure_groups([OPEN])

    async def plug(self, plan: VifPlan) -> Nic:
        nic = Nic(await self.driver.plug(plan), plan)
        self.nics.append(nic)
        return nic

    async def restart(self) -> None:
        await self.driver.close()
        self.driver, self.watch = BridgeDataplane(self.config), Watch()
        await self.open()
        await self.driver.ensure([nic.vif for nic in self.nics])

    async def close(self) -> None:
        await self.driver.close()
        for nic in self.nics:
            nic.close()


@pytest.fixture
async def world(namespace: str):  # type: ignore[no-untyped-def]
    made = World(DataplaneConfig(namespace=namespace))
    await made.open()
    yield made
    await made.close()


async def heard(nic: Nic, wanted: Callable[[bytes], bool]) -> bytes:
    """The first frame of a kind that arrives."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for frame in nic.heard():
                if wanted(frame):
                    return frame
            await asyncio.sleep(0.01)


async def test_a_loop_is_cut_and_healed_when_it_ends(world: World) -> None:
    """Whatever feeds it, with port security and without. In as many networks side by side: most of it is waiting."""
    async with asyncio.TaskGroup() as stories:
        for guarded in (True, False):
            for storm in ("bystander's broadcast", "own broadcast", "to nobody"):
                stories.create_task(cut_and_healed(world, guarded, storm))


async def cut_and_healed(world: World, guarded: bool, storm: str) -> None:
    net, owner = network(), server()
    plans = [vif(net, f"10.0.0.{5 + slot}", of=owner, slot=slot) for slot in (1, 2, 3)]
    one, two, three = [await world.plug(plan if guarded else unguarded(plan)) for plan in plans]
    bystander, other = await world.plug(vif(net, "10.0.0.20")), await world.plug(vif(net, "10.0.0.21"))
    here = (one, two, three, bystander, other)
    frame, sender = {
        "bystander's broadcast": (bystander.shout(), bystander),
        "own broadcast": (udp(one.mac, EVERYBODY, one.address, "10.0.0.255"), one),
        "to nobody": (udp(bystander.mac, NOBODY, bystander.address, "10.0.0.99"), bystander),
    }[storm]
    with joined(one, two):
        sender.send(frame)
        await world.watch.until(two, among=here)
        other.received()
        # A second of traffic that would feed the loop: each frame arrives once, and there is nothing besides.
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < 1.0:
            sender.send(frame)
            other.send(other.ping(bystander))
            sent += 1
            await asyncio.sleep(0.02)
        case = f"{storm}, {guarded=}"
        assert bystander.received().count(other.ping(bystander)) == sent, f"{case}: no ping is lost"
        assert other.received().count(frame) <= sent + 2, f"{case}: no frame comes back"
        # The other NICs of the server work.
        three.send(three.ping(other))
        other.send(other.ping(three))
        assert other.received() == [three.ping(other)], case
        assert other.ping(three) in three.received(), case
        two.send(two.shout())
        assert two.shout() not in other.received(), f"{case}: the looped port is off"
    stopped = time.monotonic()
    await world.watch.until(among=here)
    assert time.monotonic() - stopped < 15, case
    two.send(two.ping(other))
    assert two.ping(other) in other.received(), case


async def test_a_quarantine_outlasts_the_agent(world: World) -> None:
    net, owner = network(), server()
    one, two = [await world.plug(vif(net, f"10.0.0.{5 + slot}", of=owner, slot=slot)) for slot in (1, 2)]
    other = await world.plug(vif(net, "10.0.0.20"))
    with joined(one, two):
        await world.watch.until(two)
        await world.restart()
        assert world.watch.ports == {two.vif.nic.port_id}, "nobody is told that the loop has gone"
        two.send(two.shout())
        assert two.shout() not in other.received()
        await world.watch.until(two)
    await world.watch.until()


async def test_two_guests_that_join_two_networks(world: World) -> None:
    nets, owners = (network(), network()), (server(), server())
    ends = [
        [await world.plug(vif(net, f"10.0.0.{5 + number}", of=owner, slot=slot)) for slot, net in enumerate(nets, 1)]
        for number, owner in enumerate(owners)
    ]
    aside = await world.plug(vif(nets[1], "10.0.0.9", of=owners[1], slot=3))
    listener = await world.plug(vif(nets[1], "10.0.0.20"))
    with joined(*ends[0]):
        # One guest that joins two networks is a bridge, not a loop: its probes are seen, and nothing comes of it.
        await heard(ends[0][1], is_probe)
        await asyncio.sleep(1.5)
        assert world.watch.ports == frozenset()
        with joined(*ends[1]):
            await world.watch.until(ends[1][1])
            ends[0][0].send(ends[0][0].shout())
            assert ends[0][0].shout() not in listener.received()
            aside.send(aside.shout())
            assert aside.shout() in listener.received(), "the other NICs work"
            # The circle is there for the next agent too, and exactly one port is off.
            await world.restart()
            await world.watch.until(ends[1][1])
        await world.watch.until()


async def test_a_bridge_is_freed_when_the_other_one_opens_the_circle(world: World) -> None:
    nets, owners = (network(), network()), (server(), server())
    ends = [
        [await world.plug(vif(net, f"10.0.0.{5 + number}", of=owner, slot=slot)) for slot, net in enumerate(nets, 1)]
        for number, owner in enumerate(owners)
    ]
    with ExitStack() as first, joined(*ends[1]):
        await asyncio.sleep(1.5)
        first.enter_context(joined(*ends[0]))
        await world.watch.until(ends[0][1])
        first.close()
        await world.watch.until()


async def test_a_guest_cannot_have_others_cut_off(world: World) -> None:
    net, owner, villain = network(), server(), server()
    one, two = [await world.plug(vif(net, f"10.0.0.{5 + slot}", of=owner, slot=slot)) for slot in (1, 2)]
    plans = [vif(net, f"10.0.0.{10 + slot}", of=villain, slot=slot) for slot in (1, 2)]
    bad, worse = [await world.plug(unguarded(plan)) for plan in plans]
    true = await heard(one, is_probe)
    for nic in (bad, worse):
        for _ in range(20):
            nic.send(true, frame_of(bytes(32), two.vif.nic.port_id, bridge_of(net.id), 1))
    assert not any(is_probe(frame) and frame == true for frame in (*two.heard(), *one.heard())), "none gets through"
    await asyncio.sleep(1.5)
    assert world.watch.ports == frozenset()
    # A guest may lie about itself: it loses its own port.
    worse.send(frame_of(bytes(32), bad.vif.nic.port_id, bridge_of(net.id), 1))
    await world.watch.until(worse)
    await world.watch.until()


async def test_forged_probes_close_no_circle(world: World) -> None:
    nets, owners = (network(), network()), (server(), server())
    ends = [
        [
            await world.plug(
                unguarded(vif(net, f"10.0.0.{5 + number}", of=owner, slot=slot))
                if number == 0
                else vif(net, f"10.0.0.{5 + number}", of=owner, slot=slot)
            )
            for slot, net in enumerate(nets, 1)
        ]
        for number, owner in enumerate(owners)
    ]
    with joined(*ends[1]):
        for number in range(1, 20):
            # The villain says it joins the networks as well, with a key it does not have.
            ends[0][1].send(frame_of(bytes(32), ends[0][0].vif.nic.port_id, bridge_of(nets[0].id), number))
            await asyncio.sleep(0.1)
        assert world.watch.ports == frozenset()


@pytest.mark.parametrize("kind", [0x8100, 0x88A8])
async def test_a_probe_in_a_vlan_goes_nowhere(world: World, kind: int) -> None:
    net, owner = network(), server()
    one, two = [await world.plug(unguarded(vif(net, f"10.0.0.{5 + slot}", of=owner, slot=slot))) for slot in (1, 2)]
    other = await world.plug(unguarded(vif(net, "10.0.0.9")))
    probe = await heard(one, is_probe)
    about = tagged(one.shout(), kind=kind)
    one.send(tagged(probe, kind=kind), about)
    for nic in (two, other):
        assert [frame for frame in nic.received() if frame[12:14] == kind.to_bytes(2, "big")] == [about]
    assert world.watch.ports == frozenset()


async def test_a_server_with_one_nic_is_not_probed(world: World) -> None:
    net, owner = network(), server()
    alone = await world.plug(vif(net, "10.0.0.5"))
    one, _ = [await world.plug(vif(net, f"10.0.0.{6 + slot}", of=owner, slot=slot)) for slot in (1, 2)]
    probe = await heard(one, is_probe)
    assert probe[6:12].hex(":") == probe_mac(one.vif.nic.port_id)
    assert not any(map(is_probe, alone.heard()))


async def test_an_unplugged_port_is_quarantined_no_more(world: World) -> None:
    net, owner = network(), server()
    one, two = [await world.plug(vif(net, f"10.0.0.{5 + slot}", of=owner, slot=slot)) for slot in (1, 2)]
    with joined(one, two):
        await world.watch.until(two)
    await world.driver.unplug(two.vif.nic.port_id)
    await world.watch.until()
    await world.driver.ensure([replace(one.vif, hostname="other")])
