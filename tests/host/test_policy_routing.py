"""Many NICs on one subnet: with the script of the vendor data each carries the traffic of its own address.

The guest is a namespace with Linux's own network stack and nothing set but addresses and a default route.
"""

import asyncio
import itertools
import os
import re
import select
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from polyport.agent.vendor_data import boothook
from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.causes import NUMBERS
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.ids import ServerId
from tests.host.guests import Guest
from tests.host.plans import network, server, subnet, vif
from tests.plans import server_plan

pytestmark = pytest.mark.host

SLOTS = (1, 2, 3, 4)
PINGS = 3
Host = Callable[..., Awaitable[Guest]]


@pytest.fixture
async def guest(dataplane: BridgeDataplane) -> AsyncIterator[Host]:
    numbers = itertools.count(1)
    guests: list[Guest] = []

    async def made(*vifs: VifPlan) -> Guest:
        one = Guest(f"pp-routing-{os.getpid()}-{next(numbers)}")
        guests.append(one)
        await one.open(ipv6=True)
        for plan in vifs:
            await one.plug(await dataplane.plug(plan), plan)
        return one

    yield made
    for one in guests:
        await one.close()
        subprocess.run(["ip", "netns", "delete", one.name], check=True)


def script_of(owner: ServerId, vifs: list[VifPlan]) -> str:
    """What the boothook writes to the guest's disk."""
    plan = server_plan(id=owner, nics=tuple(each.nic for each in vifs))
    text = boothook(plan, {each.network.id: each.network for each in vifs})
    return text.partition("<<'SCRIPT'\n")[2].partition("\nSCRIPT\n")[0] + "\n"


def lies(namespace: str) -> list[str]:
    """What was taken for a lie."""
    words = f"ip netns exec {namespace} nft list set bridge polyport drops".split()
    elements = re.findall(r'"(tap[^"]*)" \. (0x[0-9a-f]+)', subprocess.check_output(words, text=True))
    spoofs = {number: name for name, number in NUMBERS.items() if "spoofed" in name}
    return [f"{tap} {spoofs[int(number, 16)]}" for tap, number in elements if int(number, 16) in spoofs]


def _ping(source: str, target: str) -> tuple[str, ...]:
    return "busybox", "ping", "-c", str(PINGS), "-i", "0.1", "-W", "5", "-I", source, target


async def passed(dataplane: BridgeDataplane, vifs: list[VifPlan]) -> list[tuple[int, int]]:
    """Of each NIC: packets from the guest, packets to the guest."""
    found = [await dataplane.counters(each.nic.port_id) for each in vifs]
    return [(each.egress.packets, each.ingress.packets) for each in found if each is not None]


async def test_what_comes_to_an_address_leaves_by_its_nic(
    dataplane: BridgeDataplane, guest: Host, namespace: str, tmp_path: Path
) -> None:
    net, owner = network(subnet("10.0.0.0/24"), subnet("2001:db8::/64")), server()
    vifs = [vif(net, f"10.0.0.1{slot}", f"2001:db8::1{slot}", of=owner, slot=slot) for slot in SLOTS]
    me = await guest(*vifs)
    peer = await guest(vif(net, "10.0.0.1", "2001:db8::1", port_security_enabled=False))
    # Behind the peer is another world, which the guest reaches by its default route alone.
    await peer.run("ip", "address", "add", "10.9.0.1/24", "dev", "eth1")
    await peer.run("ip", "address", "add", "2001:db8:9::1/64", "dev", "eth1", "nodad")
    await me.run("ip", "route", "add", "default", "via", "10.0.0.1", "dev", "eth1")
    await me.run("ip", "-6", "route", "add", "default", "via", "2001:db8::1", "dev", "eth1")
    script = tmp_path / "nic-routes"
    script.write_text(script_of(owner, vifs))
    for _ in range(2):
        await me.run("env", f"NICS={' '.join(f'eth{slot}' for slot in SLOTS)}", "bash", str(script), "once")
    # Silence first: what new links say of themselves is not this test's.
    await asyncio.sleep(1)
    ways = [("10.0.0.1", "10.0.0.1{}"), ("10.9.0.1", "10.0.0.1{}")]
    ways += [("2001:db8::1", "2001:db8::1{}"), ("2001:db8:9::1", "2001:db8::1{}")]
    for (source, target), slot in itertools.product(ways, SLOTS):
        before = await passed(dataplane, vifs)
        await peer.run(*_ping(source, target.format(slot)))
        after = await passed(dataplane, vifs)
        for number, (old, new) in enumerate(zip(before, after, strict=True), 1):
            if number == slot:
                assert new[0] - old[0] >= PINGS, (source, slot, number)
                assert new[1] - old[1] >= PINGS, (source, slot, number)
            else:
                assert new[0] - old[0] < PINGS, (source, slot, number)
    assert lies(namespace) == []


async def test_rules_of_addresses_that_went_go_too(guest: Host, tmp_path: Path) -> None:
    net, owner = network(), server()
    vifs = [vif(net, f"10.0.0.1{slot}", of=owner, slot=slot) for slot in (1, 2)]
    me = await guest(*vifs)
    script = tmp_path / "nic-routes"
    script.write_text(script_of(owner, vifs))
    run = ("env", "NICS=eth1 eth2", "bash", str(script), "once")
    await me.run(*run)
    rules = await me.run("ip", "rule")
    assert "from 10.0.0.11" in rules
    assert "from 10.0.0.12" in rules
    await me.run("ip", "address", "flush", "dev", "eth2")
    await me.run(*run)
    rules = await me.run("ip", "rule")
    assert "from 10.0.0.11" in rules
    assert "from 10.0.0.12" not in rules
    assert rules.count("lookup main") == 1


async def state_of(guest: Guest) -> str:
    """Its rules, and the routes of its NICs' own tables."""
    routes = await guest.run("ip", "route", "show", "table", "all")
    tables = sorted(line for line in routes.splitlines() if " table " in line and " table local " not in line)
    return "\n".join([await guest.run("ip", "rule"), *tables])


async def test_what_others_take_away_comes_back_and_then_it_is_quiet(guest: Host, tmp_path: Path) -> None:
    net, owner = network(subnet("10.0.0.0/24"), subnet("2001:db8::/64")), server()
    vifs = [vif(net, f"10.0.0.1{slot}", f"2001:db8::1{slot}", of=owner, slot=slot) for slot in (1, 2)]
    me = await guest(*vifs)
    # No questions for routers: they are events of the links.
    await me.run("sysctl", "-qw", "net.ipv6.conf.eth1.accept_ra=0", "net.ipv6.conf.eth2.accept_ra=0")
    script = tmp_path / "nic-routes"
    script.write_text(script_of(owner, vifs))
    words = ("env", "NICS=eth1 eth2", "bash", str(script))
    await me.run(*words, "once")
    before = await state_of(me)
    assert "from 10.0.0.12" in before
    # A second look changes nothing: each change is an event, and events are what it looks again for.
    watch = subprocess.Popen(
        ["ip", "-netns", me.name, "-o", "monitor", "route", "rule"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert watch.stdout is not None
        # It hears from some moment on, and that it does is known by what it has heard.
        while not select.select([watch.stdout], [], [], 0.1)[0]:
            await me.run("ip", "route", "add", "10.8.8.8/32", "dev", "eth1")
            await me.run("ip", "route", "delete", "10.8.8.8/32", "dev", "eth1")
        await me.run(*words, "once")
        await me.run("ip", "route", "add", "10.9.9.9/32", "dev", "eth1")
        heard = [await asyncio.to_thread(watch.stdout.readline)]
        while "10.9.9.9" not in heard[-1]:
            heard.append(await asyncio.to_thread(watch.stdout.readline))
        assert all("10.8.8.8" in line for line in heard[:-1]), "nothing but what this test did"
    finally:
        watch.terminate()
        watch.communicate()
    await me.run("ip", "route", "delete", "10.9.9.9/32", "dev", "eth1")
    table = before.partition("from 10.0.0.12 lookup ")[2].split()[0]
    keeper = subprocess.Popen(["ip", "netns", "exec", me.name, *words], start_new_session=True)
    try:
        for taken in 2 * (("rule", "delete", "from", "10.0.0.12"), ("route", "flush", "table", table)):
            await me.run("ip", *taken)
            async with asyncio.timeout(30):
                while await state_of(me) != before:
                    await asyncio.sleep(0.1)
    finally:
        os.killpg(keeper.pid, signal.SIGTERM)
        keeper.wait()
