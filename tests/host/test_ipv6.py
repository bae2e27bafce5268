"""IPv6 as Linux's own stack takes it from the host: advertisements in, addresses made of them, no way out promised."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from ipaddress import IPv6Address

import pytest

from polyport.dataplane import VifPlan
from polyport.dataplane.bridge import ipv6_packet as packet
from polyport.dataplane.bridge.driver import BridgeDataplane
from tests.host.conftest import Cable
from tests.host.guests import Guest
from tests.host.plans import network, server, subnet, vif
from tests.unit.test_ipv6 import frame_of

pytestmark = pytest.mark.host

PATIENCE = 20.0


@pytest.fixture
async def guest() -> AsyncIterator[Guest]:
    one = Guest(f"pp-ipv6-{os.getpid()}")
    await one.open(ipv6=True)
    yield one
    await one.close()
    subprocess.run(["ip", "netns", "delete", one.name], check=True)


def eui64(plan: VifPlan) -> str:
    tail = packet.link_local(bytes.fromhex(plan.nic.mac_address.replace(":", ""))).exploded[20:]
    return f"2001:db8:0:0:{tail}"


async def plugged(dataplane: BridgeDataplane, guest: Guest, plan: VifPlan) -> str:
    return await guest.plug(await dataplane.plug(plan), plan, addresses=False)


async def test_a_guest_makes_its_address_from_the_advertisement(dataplane: BridgeDataplane, guest: Guest) -> None:
    net = network(subnet("2001:db8::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac"), mtu=1400)
    plan = vif(net, mac_address="fa:16:3e:00:77:01")
    address = str(IPv6Address(eui64(plan)))
    link = await plugged(dataplane, guest, plan)
    async with asyncio.timeout(PATIENCE):
        while address not in await guest.run("ip", "-6", "address", "show", "dev", link):
            await asyncio.sleep(0.05)
    assert "default" not in await guest.run("ip", "-6", "route")
    assert "2001:db8::/64" in await guest.run("ip", "-6", "route")


async def test_a_guest_that_is_to_ask_makes_none(dataplane: BridgeDataplane, guest: Guest) -> None:
    net = network(subnet("2001:db8::/64", ipv6_ra_mode="dhcpv6-stateful", ipv6_address_mode="dhcpv6-stateful"))
    link = await plugged(dataplane, guest, vif(net, "2001:db8::77"))
    async with asyncio.timeout(PATIENCE):
        while "2001:db8::/64" not in await guest.run("ip", "-6", "route"):
            await asyncio.sleep(0.05)
    assert "2001:db8" not in await guest.run("ip", "-6", "address", "show", "dev", link)


async def test_dhcpv6_answers_the_port_that_asks_and_no_other(cable: Cable) -> None:
    home = subnet("2001:db8::/64", ipv6_ra_mode="dhcpv6-stateful", ipv6_address_mode="dhcpv6-stateful")
    net, owner = network(home), server()
    nics = [await cable(vif(net, f"2001:db8::7{slot}", of=owner, slot=slot)) for slot in (1, 2)]
    for nic in nics:
        mac = bytes.fromhex(nic.mac.replace(":", ""))
        asked = packet.option(packet.IA_NA, b"\0\0\0\1" + bytes(8))
        nic.send(frame_of(packet.SOLICIT, asked, mac=mac))
        frames: list[bytes] = []
        async with asyncio.timeout(PATIENCE):
            while not frames:
                # Siblings hear what the other sends to every server; the answer is for one alone.
                frames = [frame for frame in nic.received() if frame[:6] == mac]
                await asyncio.sleep(0)
        (offer,) = frames
        assert offer[62] == packet.ADVERTISE
        assert IPv6Address(nic.address).packed in offer
        for other in nics:
            assert not [frame for frame in other.received() if frame[54:56] == (547).to_bytes(2)]
