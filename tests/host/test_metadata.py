"""The metadata service as guests find it: real HTTP clients in namespaces that stand in for guests."""

import asyncio
import itertools
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import pytest
from msgspec.structs import replace

from polyport.config import DataplaneConfig
from polyport.dataplane import Answer, VifPlan
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.bridge.metadata import MOST_CONNECTIONS, MOST_OF_SERVER
from polyport.dataplane.bridge.namespace import NAMESPACES
from polyport.ids import PortId, ServerId
from tests.host.guests import Guest
from tests.host.plans import OPEN, network, server, vif
from tests.host.wire import arp

pytestmark = pytest.mark.host

PATIENCE = 20.0
URL = "http://169.254.169.254"

_numbers = itertools.count(1)


def tell(server_id: ServerId, port_id: PortId, path: str) -> Answer | None:
    """Who was taken to be asking."""
    if path == "/nothing":
        return None
    return Answer(content=f"{server_id} {port_id} {path}".encode(), content_type="text/plain")


def told(vif: VifPlan, path: str) -> str:
    return f"{vif.server_id} {vif.nic.port_id} {path}"


@pytest.fixture
async def dataplane(config: DataplaneConfig) -> AsyncIterator[BridgeDataplane]:
    driver = BridgeDataplane(config)
    await driver.open(metadata=tell)
    await driver.ensure_groups([OPEN])
    yield driver
    await driver.close()


Host = Callable[..., Awaitable[Guest]]


@asynccontextmanager
async def standing_in(number: int) -> AsyncIterator[Guest]:
    """A guest that is gone afterwards, whatever happens."""
    one = Guest(f"pp-metadata-{os.getpid()}-{number}")
    try:
        await one.open()
        yield one
    finally:
        await one.close()
        subprocess.run(["ip", "netns", "delete", one.name], check=(NAMESPACES / one.name).exists())


@pytest.fixture
async def guest(dataplane: BridgeDataplane) -> AsyncIterator[Host]:
    """Makes a guest with these NICs."""
    async with AsyncExitStack() as guests:

        async def made(*vifs: VifPlan) -> Guest:
            one = await guests.enter_async_context(standing_in(next(_numbers)))
            for plan in vifs:
                await one.plug(await dataplane.plug(plan), plan)
            return one

        yield made


async def test_two_projects_with_the_same_addresses_are_told_apart(guest: Host) -> None:
    mine, yours = vif(network(), "10.0.0.5"), vif(network(), "10.0.0.5")
    me, you = await guest(mine), await guest(yours)
    for one, plan in ((me, mine), (you, yours), (me, mine)):
        await one.run("ip", "route", "replace", "169.254.169.254/32", "dev", "eth1")
        assert await one.get("/openstack") == told(plan, "/openstack")


async def test_every_nic_reaches_it(guest: Host) -> None:
    """On one network and on others, by the link itself or by a gateway that has never heard of it."""
    net, other, owner = network(), network(), server()
    plans = [
        vif(net, "10.0.0.5", of=owner, slot=1),
        vif(net, "10.0.0.6", of=owner, slot=2),
        vif(other, "10.0.0.5", of=owner, slot=3),
    ]
    me = await guest(*plans)
    for slot, plan in enumerate(plans, 1):
        await me.run("ip", "route", "replace", "169.254.169.254/32", "dev", f"eth{slot}")
        assert await me.get("/latest") == told(plan, "/latest")
    await me.run("ip", "route", "delete", "169.254.169.254/32")
    await me.run("ip", "route", "replace", "default", "via", "10.0.0.1", "dev", "eth1", "onlink")
    await me.run("ip", "neighbor", "replace", "10.0.0.1", "lladdr", "02:00:00:00:00:01", "dev", "eth1")
    assert await me.get("/latest") == told(plans[0], "/latest")


async def test_a_guest_that_takes_anothers_place_learns_nothing_of_it(guest: Host, namespace: str) -> None:
    """Without port security a neighbor claims the address once the connection stands; the answer is on its way then."""
    net = network()
    mine, loose = vif(net, "10.0.0.5"), vif(net, "10.0.0.6", port_security_enabled=False)
    me, thief = await guest(mine), await guest(loose)
    await me.run("ip", "route", "replace", "169.254.169.254/32", "dev", "eth1")
    claim = arp(loose.nic.mac_address, sender="10.0.0.5", target="169.254.169.254")
    with await me.connect() as connection, await thief.ear("eth1") as ear:
        ear.send(claim)
        while bytes.fromhex(loose.nic.mac_address.replace(":", "")) not in _neighbor(namespace, "10.0.0.5"):
            await asyncio.sleep(0.01)
        await asyncio.get_running_loop().sock_sendall(connection, b"GET /mine HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            while not _misdirected(namespace):
                await asyncio.sleep(0.01)
        assert told(mine, "/mine").encode() not in b"".join(_frames(ear))


async def test_the_same_address_twice_on_one_network(guest: Host) -> None:
    """Each is told of itself or nothing at all."""
    net = network()
    mine, loose = vif(net, "10.0.0.5"), vif(net, "10.0.0.6", port_security_enabled=False)
    me, thief = await guest(mine), await guest(loose)
    await thief.run("ip", "link", "set", "eth1", "address", mine.nic.mac_address)
    await thief.run("ip", "address", "flush", "dev", "eth1")
    await thief.run("ip", "address", "replace", "10.0.0.5/24", "dev", "eth1")
    for one in (me, thief):
        await one.run("ip", "route", "replace", "169.254.169.254/32", "dev", "eth1")
    for _ in range(3):
        assert await me.try_get("/mine") in (told(mine, "/mine"), None)
        assert await thief.try_get("/theirs") in (told(loose, "/theirs"), None)


def _neighbor(namespace: str, address: str) -> bytes:
    """The MAC the host knows of an address."""
    words = subprocess.check_output(["ip", "-n", namespace, "neighbor", "show", address], text=True).split()
    return bytes.fromhex(words[words.index("lladdr") + 1].replace(":", "")) if "lladdr" in words else b""


def _misdirected(namespace: str) -> int:
    """How many answers were kept from the wrong port."""
    command = [
        "ip",
        "netns",
        "exec",
        namespace,
        "nft",
        "-j",
        "list",
        "counter",
        "bridge",
        "polyport",
        "drop_misdirected",
    ]
    listed = json.loads(subprocess.check_output(command))["nftables"]
    return sum(entry["counter"]["packets"] for entry in listed if "counter" in entry)


def _frames(ear: socket.socket) -> list[bytes]:
    frames = []
    while True:
        try:
            frames.append(ear.recv(70000))
        except BlockingIOError:
            return frames


async def test_nothing_else_of_the_host_answers(guest: Host) -> None:
    me = await guest(vif(network(), "10.0.0.5", port_security_enabled=False))
    await me.run("ip", "route", "replace", "169.254.169.254/32", "dev", "eth1")
    assert await me.get("/x")
    assert (await me.try_run("busybox", "ping", "-c", "1", "-W", "1", "169.254.169.254")) != 0
    assert (await me.try_run("curl", "--max-time", "1", "http://169.254.169.254:22/")) == 28, "not even refused"


async def test_changes_hold_at_the_next_request(dataplane: BridgeDataplane, guest: Host) -> None:
    plan = vif(network(), "10.0.0.5")
    me = await guest(plan)
    await me.run("ip", "route", "replace", "169.254.169.254/32", "dev", "eth1")
    assert await me.get("/a") == told(plan, "/a")
    moved = replace(plan, server_id=server())
    await dataplane.ensure([moved])
    assert await me.get("/a") == told(moved, "/a")
    assert await me.status("/nothing") == "404"
    assert await me.status("/a", "-X", "POST") == "405"
    assert await me.status("/a", "-H", "X: " + "x" * 9000) == "431"
    assert await me.status("/a", "--head") == "200"
    await dataplane.unplug(plan.nic.port_id)
    assert await me.try_get("/a") is None


async def test_one_port_cannot_keep_others_waiting(guest: Host) -> None:
    net = network()
    mine, yours = vif(net, "10.0.0.5"), vif(net, "10.0.0.6")
    me, you = await guest(mine), await guest(yours)
    for one in (me, you):
        await one.run("ip", "route", "replace", "169.254.169.254/32", "dev", "eth1")
    assert await me.get("/a")
    with ExitStack() as stack:
        for _ in range(MOST_CONNECTIONS):
            stack.enter_context(await me.connect())
        one_more = stack.enter_context(await me.connect())
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.get_running_loop().sock_recv(one_more, 1) == b"", "closed at once"
        assert await me.try_get("/a") is None
        assert await you.get("/a") == told(yours, "/a")
    async with asyncio.timeout(PATIENCE):
        while await me.try_get("/a") != told(mine, "/a"):
            await asyncio.sleep(0.01)


async def test_one_server_cannot_keep_others_waiting_by_its_many_nics(guest: Host) -> None:
    net, mine_all = network(), server()
    slots = range(1, MOST_OF_SERVER // MOST_CONNECTIONS + 2)
    mine = [vif(net, f"10.0.0.{5 + slot}", of=mine_all, slot=slot) for slot in slots]
    yours = vif(net, "10.0.0.99")
    *full, last = [await guest(plan) for plan in mine]
    you = await guest(yours)
    for one, slot in (*zip((*full, last), slots, strict=True), (you, 1)):
        await one.run("ip", "route", "replace", "169.254.169.254/32", "dev", f"eth{slot}")
    with ExitStack() as stack:
        for one in full:
            for _ in range(MOST_CONNECTIONS):
                stack.enter_context(await one.connect())
        async with asyncio.timeout(PATIENCE):
            while await last.try_get("/a") is not None:
                await asyncio.sleep(0.01)
        assert await you.get("/a") == told(yours, "/a")
    async with asyncio.timeout(PATIENCE):
        while await last.try_get("/a") != told(mine[-1], "/a"):
            await asyncio.sleep(0.01)


async def test_the_next_agent_answers_too(config: DataplaneConfig) -> None:
    plan = vif(network(), "10.0.0.5")
    first, second = BridgeDataplane(config), BridgeDataplane(config)
    async with standing_in(next(_numbers)) as me:
        await first.open(metadata=tell)
        await first.ensure_groups([OPEN])
        await me.plug(await first.plug(plan), plan)
        await me.run("ip", "route", "replace", "169.254.169.254/32", "dev", "eth1")
        assert await me.get("/a") == told(plan, "/a")
        await first.close()
        await second.open(metadata=tell)
        await second.ensure_groups([OPEN])
        await second.ensure([plan])
        assert await me.get("/b") == told(plan, "/b")
        await second.close()
