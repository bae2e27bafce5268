"""DHCP as guests see it: raw requests, and a real client in a namespace that stands in for the guest."""

import asyncio
import os
import shutil
import struct
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from msgspec.structs import replace

from polyport.config import DataplaneConfig
from polyport.dataplane.bridge import dhcp_packet as packet
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.bridge.namespace import NamespaceThread
from polyport.dataplane.bridge.netlink import Links
from polyport.dataplane.bridge.network import responder_mac
from tests.host.conftest import Cable
from tests.host.plans import OPEN, network, server, subnet, vif
from tests.host.wire import EVERYBODY, Nic, arp, tagged, udp

pytestmark = pytest.mark.host

SERVER = "169.254.169.254"
PATIENCE = 20.0


def request(
    nic: Nic, message: int, *, hardware: str | None = None, ciaddr: str = "0.0.0.0", to: str = EVERYBODY, **options: str
) -> bytes:
    """A client's message; options are `requested` and `server`."""
    codes = {"requested": packet.REQUESTED_ADDRESS, "server": packet.SERVER_ID}
    body = struct.pack("!BBBBIHH4s", 1, 1, 6, 0, 0x1234, 0, 0, IPv4Address(ciaddr).packed) + bytes(12)
    body += bytes.fromhex((hardware or nic.mac).replace(":", "")).ljust(16, b"\0") + bytes(192) + packet.COOKIE
    body += bytes([packet.MESSAGE_TYPE, 1, message])
    for name, value in options.items():
        body += bytes([codes[name], 4]) + IPv4Address(value).packed
    target = SERVER if to != EVERYBODY else "255.255.255.255"
    return udp(nic.mac, to, ciaddr, target, ports=(68, 67), data=body + b"\xff")


def read(frame: bytes) -> tuple[int, str, dict[int, bytes]]:
    """Message type, offered address and options of an answer."""
    message = frame[42:]
    options, place = {}, 240
    while message[place] != 255:
        if message[place] == 0:
            place += 1
            continue
        options[message[place]] = message[place + 2 : place + 2 + message[place + 1]]
        place += 2 + message[place + 1]
    return options[53][0], str(IPv4Address(message[16:20])), options


async def answers(nic: Nic, least: int = 1) -> list[bytes]:
    """What arrives, once that many frames have."""
    frames: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        while len(frames) < least:
            frames += nic.received()
            await asyncio.sleep(0)
    return frames


async def asked(nic: Nic) -> bytes:
    """The answer to who has the server's address; asked again until it comes, as a bridge is deaf when it is new."""
    async with asyncio.timeout(PATIENCE):
        while True:
            nic.send(arp(nic.mac, sender=nic.address, target=SERVER))
            if frames := nic.received():
                return frames[0]
            await asyncio.sleep(0.01)


async def test_every_nic_of_a_server_gets_its_own_address(cable: Cable) -> None:
    net, owner = network(), server()
    nics = [
        await cable(vif(net, f"10.0.0.{10 + slot}", of=owner, slot=slot, default_route=slot == 1)) for slot in (1, 2, 3)
    ]
    for nic in nics:
        nic.send(request(nic, packet.DISCOVER))
        # Siblings hear the broadcast of the one that asks; the answer is for that one alone.
        (offer,) = await answers(nic)
        kind, address, options = read(offer)
        assert (kind, address) == (packet.OFFER, nic.address)
        assert options[1] == IPv4Address("255.255.255.0").packed
        assert (3 in options) == (nic is nics[0]), "one NIC of a server has the default route"
        assert int.from_bytes(options[26]) == 1500
        assert int.from_bytes(options[51]) == 86400
        assert options[12] == b"vnf"
        for other in nics:
            other.received()
        nic.send(request(nic, packet.REQUEST, requested=nic.address, server=SERVER))
        (ack,) = await answers(nic)
        assert read(ack)[:2] == (packet.ACK, nic.address)
        for other in nics:
            assert not [frame for frame in other.received() if frame[34:36] == b"\0C"]


async def test_a_wrong_address_is_refused_and_another_servers_client_left_alone(cable: Cable) -> None:
    nic = await cable(vif(network(), "10.0.0.5"))
    nic.send(
        request(nic, packet.REQUEST, requested="10.0.0.5", server="10.0.0.2"),
        request(nic, packet.REQUEST, requested="10.0.0.99", server=SERVER),
        request(nic, packet.REQUEST, requested="10.0.0.98"),
    )
    assert [read(frame)[:2] for frame in await answers(nic, 2)] == [(packet.NAK, "0.0.0.0")] * 2


async def test_only_the_nic_itself_is_answered(cable: Cable) -> None:
    net = network()
    loose = vif(net, "10.0.0.5")
    loose = replace(loose, nic=replace(loose.nic, port_security_enabled=False))
    me, you = await cable(loose), await cable(vif(net, "10.0.0.6"))
    me.send(
        request(me, packet.DISCOVER, hardware=you.mac),
        request(me, packet.DISCOVER, hardware="fa:16:3e:99:99:99"),
        tagged(request(me, packet.DISCOVER)),
        request(me, packet.DISCOVER)[:-200],
        request(me, packet.DISCOVER),
    )
    (only,) = await answers(me)
    assert read(only)[:2] == (packet.OFFER, "10.0.0.5")


async def test_without_dhcp_on_the_subnet_nobody_answers(cable: Cable) -> None:
    silent, spoken = subnet("10.0.0.0/24", enable_dhcp=False), subnet("10.1.0.0/24")
    net = network(silent, spoken)
    quiet, both = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6", "10.1.0.6"))
    quiet.send(request(quiet, packet.DISCOVER))
    both.received()
    both.send(request(both, packet.DISCOVER))
    (offer,) = await answers(both)
    assert read(offer)[1] == "10.1.0.6", "the address on the subnet that has it"
    assert [frame for frame in quiet.received() if frame[:6] != b"\xff" * 6] == []


async def test_a_change_of_the_plan_is_told_at_the_next_request(dataplane: BridgeDataplane, cable: Cable) -> None:
    plan = vif(network(), "10.0.0.5")
    nic = await cable(plan)
    options = (("ntp-server", "10.0.0.3", 4), ("mtu", "1400", 4), ("router", "", 4))
    await dataplane.ensure([replace(plan, nic=replace(plan.nic, extra_dhcp_opts=options))])
    nic.send(request(nic, packet.DISCOVER))
    (offer,) = await answers(nic)
    told = read(offer)[2]
    assert (told[42], told[26], 3 in told) == (IPv4Address("10.0.0.3").packed, (1400).to_bytes(2), False)


@pytest.mark.parametrize("way", ["by ARP", "by the gateway", "by broadcast"])
async def test_a_lease_is_renewed_whatever_way_the_client_takes(cable: Cable, way: str) -> None:
    net = network()
    nic, gateway = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.1"))
    gateway.send(gateway.ping(nic))
    nic.received()
    target = gateway.mac if way == "by the gateway" else EVERYBODY
    if way == "by ARP":
        reply = await asked(nic)
        assert reply[20:22] == b"\0\2"
        assert reply[28:32] == IPv4Address(SERVER).packed
        target = reply[22:28].hex(":")
        assert target == responder_mac(net.id)
    gateway.received()
    nic.send(request(nic, packet.REQUEST, ciaddr=nic.address, to=target))
    (ack,) = await answers(nic)
    assert read(ack)[:2] == (packet.ACK, "10.0.0.5")
    assert ack[30:34] == IPv4Address("10.0.0.5").packed
    assert len(gateway.received()) == (way == "by broadcast")


async def test_answers_go_on_with_the_next_agent(config: DataplaneConfig) -> None:
    plan = vif(network(), "10.0.0.5")
    first, second = BridgeDataplane(config), BridgeDataplane(config)
    await first.open()
    await first.ensure_groups([OPEN])
    nic = Nic(await first.plug(plan), plan)
    await first.close()
    await second.open()
    await second.ensure_groups([OPEN])
    await second.ensure([plan])
    nic.send(request(nic, packet.DISCOVER))
    assert len(await answers(nic)) == 1
    await second.unplug(plan.nic.port_id)
    await second.close()
    nic.close()


class Guest:
    """A namespace with one link `eth0`, joined to a NIC of polyport as by a cable."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.log = directory / "udhcpc.log"
        self.script = directory / "udhcpc.script"
        self.sent: list[bytes] = []
        self.script.write_text(
            "#!/bin/sh\n"
            'case "$1" in bound|renew) busybox ip addr replace "$ip/$mask" dev "$interface"\n'
            '[ -z "$router" ] || busybox ip route replace default via "$router";; esac\n'
            f'echo "$1 $ip/$mask router=$router mtu=$mtu dns=$dns server=$serverid" >> {self.log}\n'
        )
        self.script.chmod(0o755)

    async def open(self, nic: Nic) -> None:
        self._nic = nic
        self._thread = NamespaceThread(self.name)
        await self._thread.open()
        self._end = await self._thread.run(self._make_link, nic.mac)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._end, self._carry, self._end, nic.descriptor)
        loop.add_reader(nic.descriptor, self._carry, nic.descriptor, self._end)

    def _make_link(self, mac: str) -> int:
        links = Links()
        end = links.create_tap("eth0")
        links.close()
        subprocess.run(["ip", "link", "set", "eth0", "address", mac, "up"], check=True)
        return end

    def _carry(self, source: int, target: int) -> None:
        try:
            while True:
                frame = os.read(source, 70000)
                if source == self._end:
                    self.sent.append(frame[10:])
                os.write(target, frame)
        except BlockingIOError:
            pass

    async def run(self, *command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec("ip", "netns", "exec", self.name, *command)

    async def events(self, least: int) -> list[str]:
        """The lines the client's script has written, once there are that many."""
        async with asyncio.timeout(PATIENCE):
            while not self.log.exists() or len(lines := self.log.read_text().splitlines()) < least:
                await asyncio.sleep(0.02)
        return lines

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._end)
        loop.remove_reader(self._nic.descriptor)
        os.close(self._end)
        await self._thread.close()
        await (await asyncio.create_subprocess_exec("ip", "netns", "delete", self.name)).wait()


@pytest.fixture
def guest(namespace: str, tmp_path: Path) -> Guest:
    if shutil.which("busybox") is None:
        pytest.skip("needs busybox for its DHCP client")
    return Guest(namespace + "-guest", tmp_path)


@pytest.mark.parametrize("default_route", [True, False], ids=["with gateway", "without"])
async def test_a_real_client_gets_keeps_and_renews_its_address(cable: Cable, guest: Guest, default_route: bool) -> None:
    net = network(subnet("10.0.0.0/24", dns_nameservers=("10.0.0.53",)), mtu=1450)
    gateway = await cable(vif(net, "10.0.0.1"))
    nic = await cable(vif(net, "10.0.0.5", default_route=default_route))
    await guest.open(nic)
    client = await guest.run(
        "busybox", "udhcpc", "-f", "-i", "eth0", "-s", str(guest.script), "-O", "mtu", "-t", "20", "-T", "1"
    )
    try:
        lines = await guest.events(2)
        router = "10.0.0.1" if default_route else ""
        facts = f"10.0.0.5/24 router={router} mtu=1450 dns=10.0.0.53 server={SERVER}"
        assert lines[0].startswith("deconfig")
        assert lines[1] == f"bound {facts}"
        guest.sent.clear()
        gateway.received()
        client_pid = await pid_below(client.pid)
        os.kill(client_pid, 10)
        # The gateway is a guest as any other: it has to answer ARP itself.
        asked = False
        async with asyncio.timeout(PATIENCE):
            while len(lines := await guest.events(2)) < 3:
                for frame in gateway.received():
                    if frame[12:14] == b"\x08\x06" and frame[38:42] == IPv4Address("10.0.0.1").packed:
                        asked = True
                        gateway.send(
                            arp(gateway.mac, sender=gateway.address, target=nic.address, operation=2, to=nic.mac)
                        )
                await asyncio.sleep(0.01)
        assert lines[2] == f"renew {facts}"
        assert asked == default_route
        unicast = [frame for frame in guest.sent if frame[12:14] == b"\x08\0" and not frame[0] & 1]
        assert unicast, "it asked the server itself, not everybody"
    finally:
        client.terminate()
        await client.wait()
        await guest.close()


async def pid_below(pid: int) -> int:
    """The process that does the work: `ip netns exec` becomes its command, so it is the same one."""
    async with asyncio.timeout(PATIENCE):
        while b"udhcpc" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            await asyncio.sleep(0.01)
    return pid


async def test_a_client_that_thinks_of_another_address_is_set_right(cable: Cable, guest: Guest) -> None:
    await guest.open(await cable(vif(network(), "10.0.0.5")))
    client = await guest.run(
        *("busybox", "udhcpc", "-f", "-q", "-i", "eth0", "-s", str(guest.script)),
        *("-r", "10.0.0.77", "-t", "20", "-T", "1"),
    )
    try:
        assert (await guest.events(2))[1].startswith("bound 10.0.0.5/24")
        assert await client.wait() == 0
    finally:
        await guest.close()
