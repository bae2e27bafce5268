"""Captures: what every dataplane promises of them, and what real taps show."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from polyport.capture import Capture, Frame
from polyport.dataplane import Dataplane, VifPlan
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.fake import FakeDataplane
from polyport.ids import PortId, new_id
from polyport.names import tap_of
from tests.host.conftest import Cable
from tests.host.plans import network, vif
from tests.host.test_dataplane_contract import Agent, Hold, agent, hold
from tests.host.wire import OFFLOAD_HEADER, ethernet, is_probe, tagged, udp

__all__ = ["agent", "hold"]

PATIENCE = 20.0

host = pytest.mark.host


class Look:
    """A capture, its frames together, without the host's own probes."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.frames: list[Frame] = []

    async def until(self, count: int) -> list[Frame]:
        async with asyncio.timeout(PATIENCE):
            while len(self.frames) < count:
                assert await self._more(), "the capture ended"
        return self.frames

    async def until_end(self) -> list[Frame]:
        async with asyncio.timeout(PATIENCE):
            while await self._more():
                pass
        return self.frames

    async def _more(self) -> bool:
        frames = await self.capture.read()
        self.frames += [frame for frame in frames if not is_probe(frame.data)]
        return bool(frames)


Looker = Callable[..., Awaitable[Look]]


@pytest.fixture
async def look() -> AsyncIterator[Looker]:
    """Opens captures; all are closed after the test."""
    opened: list[Capture] = []

    async def at(dataplane: Dataplane, vif: VifPlan, snaplen: int = 1 << 18) -> Look:
        capture = await dataplane.capture(vif.nic.port_id, snaplen)
        assert capture is not None
        opened.append(capture)
        return Look(capture)

    yield at
    for capture in opened:
        capture.close()


def say(dataplane: Dataplane, vif: VifPlan, descriptor: int, frame: bytes) -> None:
    """The guest sends a frame."""
    if isinstance(dataplane, FakeDataplane):
        dataplane.networks.carry(vif.nic.port_id, frame)
    else:
        os.write(descriptor, bytes(OFFLOAD_HEADER) + frame)


def frame_of(vif: VifPlan, data: bytes = b"hello") -> bytes:
    return ethernet(vif.nic.mac_address, "ff:ff:ff:ff:ff:ff", 0x9999, data)


async def test_only_what_is_plugged_is_captured(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    assert await dataplane.capture(PortId(new_id()), 100) is None
    one = vif(network(), "10.0.0.5")
    hold(await dataplane.plug(one))
    await dataplane.unplug(one.nic.port_id)
    assert await dataplane.capture(one.nic.port_id, 100) is None


async def test_frames_come_in_order_with_their_times(agent: Agent, hold: Hold, look: Looker) -> None:
    dataplane = await agent()
    one = vif(network(), "10.0.0.5")
    descriptor = hold(await dataplane.plug(one))
    say(dataplane, one, descriptor, frame_of(one, b"before"))
    looking = await look(dataplane, one)
    before = time.time_ns()
    sent = [frame_of(one, bytes([number])) for number in range(100)]
    for frame in sent:
        say(dataplane, one, descriptor, frame)
    frames = await looking.until(100)
    assert [frame.data for frame in frames] == sent
    assert {frame.direction for frame in frames} == {"egress"}
    moments = [before, *[frame.time for frame in frames], time.time_ns()]
    assert moments == sorted(moments)
    assert looking.capture.lost() == 0


async def test_a_long_frame_is_cut_and_its_length_is_kept(agent: Agent, hold: Hold, look: Looker) -> None:
    dataplane = await agent()
    one = vif(network(), "10.0.0.5")
    descriptor = hold(await dataplane.plug(one))
    looking = await look(dataplane, one, 64)
    sent = frame_of(one, bytes(range(256)))
    say(dataplane, one, descriptor, sent)
    say(dataplane, one, descriptor, sent[:64])
    long, short = await looking.until(2)
    assert (long.data, long.length) == (sent[:64], len(sent))
    assert (short.data, short.length) == (sent[:64], 64)


async def test_a_capture_ends_when_its_port_is_unplugged(agent: Agent, hold: Hold, look: Looker) -> None:
    dataplane = await agent()
    one = vif(network(), "10.0.0.5")
    descriptor = hold(await dataplane.plug(one))
    looking = await look(dataplane, one)
    say(dataplane, one, descriptor, frame_of(one))
    await dataplane.unplug(one.nic.port_id)
    frames = await looking.until_end()
    assert [frame.data for frame in frames] == [frame_of(one)], "what came before is not lost"
    assert await looking.capture.read() == [], "and the end stays the end"


async def test_a_capture_ends_while_it_waits(agent: Agent, hold: Hold, look: Looker) -> None:
    dataplane = await agent()
    one = vif(network(), "10.0.0.5")
    hold(await dataplane.plug(one))
    looking = await look(dataplane, one)
    waiting = asyncio.create_task(looking.until_end())
    await asyncio.sleep(0)
    hold(await dataplane.plug(one))
    assert await waiting == [], "a vif that is replaced is another one"


async def test_captures_do_not_disturb_each_other(agent: Agent, hold: Hold, look: Looker) -> None:
    dataplane = await agent()
    one = vif(network(), "10.0.0.5")
    descriptor = hold(await dataplane.plug(one))
    first, second = await look(dataplane, one), await look(dataplane, one)
    say(dataplane, one, descriptor, frame_of(one))
    await first.until(1)
    first.capture.close()
    first.capture.close()
    say(dataplane, one, descriptor, frame_of(one))
    assert len(await second.until(2)) == 2


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_reader_that_is_cancelled_leaves_nothing(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    one = vif(network(), "10.0.0.5")
    descriptor = hold(await dataplane.plug(one))
    before = descriptors()
    capture = await dataplane.capture(one.nic.port_id, 1000)
    assert capture is not None
    reading = asyncio.create_task(capture.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    say(dataplane, one, descriptor, frame_of(one))
    assert [frame.data for frame in await capture.read()] == [frame_of(one)], "and loses nothing"
    capture.close()
    assert descriptors() == before


# Real taps


@host
async def test_both_directions_are_seen(dataplane: BridgeDataplane, cable: Cable, look: Looker) -> None:
    net = network()
    one, two = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    looking = await look(dataplane, one.vif)
    one.send(one.ping(two))
    two.send(two.ping(one))
    there, back = await looking.until(2)
    assert (there.data, there.direction) == (one.ping(two), "egress")
    assert (back.data, back.direction) == (two.ping(one), "ingress")


@host
async def test_what_rules_drop_is_seen_where_it_comes_from(
    dataplane: BridgeDataplane, cable: Cable, look: Looker
) -> None:
    net = network()
    one, two = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    here, there = await look(dataplane, one.vif), await look(dataplane, two.vif)
    spoofed = udp(one.mac, two.mac, "10.0.0.99", two.address, data=b"spoofed")
    one.send(spoofed, one.ping(two))
    assert [frame.data for frame in await here.until(2)] == [spoofed, one.ping(two)]
    assert [frame.data for frame in await there.until(1)] == [one.ping(two)]
    assert two.received() == [one.ping(two)]


@host
async def test_a_vlan_tag_is_in_its_place(dataplane: BridgeDataplane, cable: Cable, look: Looker) -> None:
    net = network()
    loose = {"port_security_enabled": False}
    one, two = await cable(vif(net, "10.0.0.5", **loose)), await cable(vif(net, "10.0.0.6", **loose))
    whole, there = await look(dataplane, one.vif), await look(dataplane, two.vif)
    cut = await look(dataplane, one.vif, 64)
    sent = tagged(one.ping(two, bytes(100)))
    one.send(sent)
    assert [(frame.data, frame.length) for frame in await whole.until(1)] == [(sent, len(sent))]
    assert [(frame.data, frame.length) for frame in await there.until(1)] == [(sent, len(sent))]
    assert [(frame.data, frame.length) for frame in await cut.until(1)] == [(sent[:64], len(sent))]


@host
async def test_a_port_that_is_down_is_plugged_all_the_same(
    dataplane: BridgeDataplane, cable: Cable, look: Looker
) -> None:
    plan = vif(network(), "10.0.0.5", admin_state_up=False)
    nic = await cable(plan)
    looking = await look(dataplane, plan)
    reading = asyncio.create_task(looking.until(1))
    for up in (True, False, True):
        await dataplane.ensure([replace(plan, nic=replace(plan.nic, admin_state_up=up))])
    nic.send(frame_of(plan))
    assert [frame.data for frame in await reading] == [frame_of(plan)]
    nic.close()
    assert await looking.until_end() == [*await reading]


@host
async def test_a_guest_that_ends_takes_its_captures_with_it(
    dataplane: BridgeDataplane, cable: Cable, look: Looker
) -> None:
    nic = await cable(vif(network(), "10.0.0.5"))
    looking = await look(dataplane, nic.vif)
    ending = asyncio.create_task(looking.until_end())
    await asyncio.sleep(0)
    nic.close()
    assert await ending == []


@host
async def test_frames_that_nobody_reads_are_counted(dataplane: BridgeDataplane, cable: Cable, look: Looker) -> None:
    nic = await cable(vif(network(), "10.0.0.5"))
    looking = await look(dataplane, nic.vif)
    for _ in range(20_000):
        nic.send(frame_of(nic.vif, bytes(1400)))
    lost = looking.capture.lost()
    assert 0 < lost < 20_000
    assert len(await looking.until(20_000 - lost)) == 20_000 - lost
    assert looking.capture.lost() == 0


@host
@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
async def test_tcpdump_sees_the_same(dataplane: BridgeDataplane, namespace: str, cable: Cable, look: Looker) -> None:
    """Another program on the same tap is the witness that nothing is added, left out or changed."""
    net = network()
    one, two = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    looking = await look(dataplane, one.vif)
    command = [
        "ip",
        "netns",
        "exec",
        namespace,
        "tcpdump",
        "-U",
        "-w",
        "-",
        "-c",
        "4",
        "-i",
        tap_of(one.vif.nic.port_id),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as witness:
        assert witness.stderr is not None
        assert witness.stdout is not None
        while b"listening" not in await asyncio.to_thread(witness.stderr.readline):
            pass
        for number in range(2):
            one.send(one.ping(two, b"%d" % number))
            two.send(two.ping(one, b"%d" % number))
        frames = await looking.until(4)
        seen = await asyncio.to_thread(witness.stdout.read)
        witness.stderr.read()
    at, theirs = 24, []
    while at < len(seen):
        size = int.from_bytes(seen[at + 8 : at + 12], "little")
        theirs.append(seen[at + 16 : at + 16 + size])
        at += 16 + size
    assert theirs == [frame.data for frame in frames]
