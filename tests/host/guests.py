"""Namespaces that stand in for guests: their links are joined to NICs of polyport as by cables."""

import asyncio
import os
import socket
from collections.abc import Callable

from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.namespace import NamespaceThread
from tests.host.wire import OFFLOAD_HEADER

RESPONDER = "169.254.169.254"


class Guest:
    """A namespace with a link `eth<slot>` for each NIC, with the NIC's addresses, in the order they are plugged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._thread = NamespaceThread(name)
        self._cables: list[tuple[int, int]] = []

    async def open(self, *, ipv6: bool = False) -> None:
        await self._thread.open()
        await self.run("ip", "link", "set", "lo", "up")
        if ipv6:
            await self.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0")

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        for pair in self._cables:
            for end in pair:
                loop.remove_reader(end)
                os.close(end)
        self._cables.clear()
        await self._thread.close()

    async def plug(self, descriptor: int, vif: VifPlan, *, addresses: bool = True) -> str:
        """Join a NIC, whose descriptor is the guest's from here on; the name of its link."""
        name = f"eth{vif.nic.slot}"
        end = await self._thread.run(_make_link, name, vif.nic.mac_address)
        loop = asyncio.get_running_loop()
        for source, target in ((descriptor, end), (end, descriptor)):
            os.set_blocking(source, False)
            loop.add_reader(source, _carry, source, target)
        self._cables.append((descriptor, end))
        await self.run("ip", "link", "set", name, "mtu", str(vif.network.mtu), "up")
        subnets = {subnet.id: subnet for subnet in vif.network.subnets}
        for fixed in vif.nic.fixed_ips if addresses else ():
            length = subnets[fixed.subnet_id].cidr.partition("/")[2]
            nodad = ["nodad"] if ":" in fixed.ip_address else []
            await self.run("ip", "address", "replace", f"{fixed.ip_address}/{length}", "dev", name, *nodad)
        return name

    async def run(self, *command: str) -> str:
        """Run a command in the guest; what it printed. It has to succeed."""
        process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", self.name, *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, complaint = await process.communicate()
        assert process.returncode == 0, f"{command}: {process.returncode} {output!r} {complaint!r}"
        return output.decode()

    async def try_run(self, *command: str) -> int:
        process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", self.name, *command),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait()

    async def get(self, path: str) -> str:
        return await self.run("curl", "-sS", "--max-time", "10", f"http://{RESPONDER}{path}")

    async def try_get(self, path: str) -> str | None:
        try:
            return await self.run("curl", "-sS", "--max-time", "2", f"http://{RESPONDER}{path}")
        except AssertionError:
            return None

    async def status(self, path: str, *options: str) -> str:
        words = ("curl", "-sS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}")
        return await self.run(*words, *options, f"http://{RESPONDER}{path}")

    async def inside(self, function: Callable[[], socket.socket]) -> socket.socket:
        """A socket made in the guest."""
        return await self._thread.run(function)

    async def connect(self) -> socket.socket:
        """A connection to the metadata service."""

        def make() -> socket.socket:
            made = socket.create_connection((RESPONDER, 80), timeout=10)
            made.setblocking(False)
            return made

        # The guest's cables are carried by the loop, so the thread has to wait beside it.
        return await self.inside(make)

    async def ear(self, link: str) -> socket.socket:
        """A socket that hears every frame of a link."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
            made.bind((link, 3))
            return made

        return await self.inside(make)


def _make_link(name: str, mac: str) -> int:
    from polyport.dataplane.bridge import rtnetlink
    from polyport.dataplane.bridge.netlink import Links

    links = Links()
    descriptor = links.create_tap(name)
    links.close()
    route = rtnetlink.Route()
    address = rtnetlink.attribute(rtnetlink.IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    route.change(rtnetlink.RTM_NEWLINK, address, index=socket.if_nametoindex(name))
    route.close()
    return descriptor


def _carry(source: int, target: int) -> None:
    """Both ends are taps with the same offload header: a frame is carried as it is."""
    for _ in range(64):
        try:
            frame = os.read(source, 70000 + OFFLOAD_HEADER)
        except OSError:
            return
        try:
            os.write(target, frame)
        except OSError:
            return
