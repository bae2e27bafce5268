"""Hosts to tell stories of: one with the fake hypervisor, one with QEMU.

QEMU's guests have no disk and no kernel here: the firmware alone runs, and lets no NIC go. Taps live in network
namespaces without a name, each gone with its last descriptor.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from polyport.config import HypervisorConfig
from polyport.hypervisor import Guest, GuestNic, Hypervisor
from polyport.hypervisor.fake import FakeHost, FakeHypervisor
from polyport.hypervisor.qemu.driver import QemuHypervisor
from polyport.ids import PortId, ServerId, new_id

PATIENCE = 60.0
"""Seconds a busy machine may take; a test that passes waits for much less."""


class House:
    """A host with its agent's driver. `hypervisor` is the driver of now; `restart` brings its successor."""

    def __init__(self, servers: Path) -> None:
        self.servers = servers
        self.changes: asyncio.Queue[ServerId] = asyncio.Queue()
        self.hypervisor: Hypervisor
        self._descriptors: list[int] = []

    def make(self) -> Hypervisor:
        raise AssertionError("a house is of one kind or the other")

    def crash(self, server_id: ServerId) -> None:
        raise AssertionError("a house is of one kind or the other")

    def harden(self, server_id: ServerId) -> None:
        """Make the guest keep its NICs."""

    def tap(self) -> int:
        descriptor = os.open("/dev/null", os.O_RDWR)
        self._descriptors.append(descriptor)
        return descriptor

    def directory(self, server_id: ServerId) -> Path:
        directory = self.servers / server_id
        directory.mkdir(exist_ok=True)
        return directory

    async def start(self, guest: Guest) -> None:
        taps = {nic.port_id: self.tap() for nic in guest.nics}
        await self.hypervisor.start(guest, self.directory(guest.id), taps)

    async def restart(self) -> None:
        await self.hypervisor.close()
        self.hypervisor = self.make()
        await self.hypervisor.open(self.changes.put_nowait)

    async def wait_changed(self) -> ServerId:
        return await asyncio.wait_for(self.changes.get(), PATIENCE)

    async def close(self) -> None:
        for server_id in await self.hypervisor.guests():
            await self.hypervisor.stop(server_id)
        await self.hypervisor.close()
        for descriptor in self._descriptors:
            os.close(descriptor)


class FakeHouse(House):
    def __init__(self, servers: Path) -> None:
        super().__init__(servers)
        self.host = FakeHost()
        self.hypervisor: FakeHypervisor = self.make()

    def make(self) -> FakeHypervisor:
        return FakeHypervisor(host=self.host)

    def crash(self, server_id: ServerId) -> None:
        self.hypervisor.crash(server_id)

    def harden(self, server_id: ServerId) -> None:
        self.host.stubborn.add(server_id)


class QemuHouse(House):
    def __init__(self, servers: Path) -> None:
        super().__init__(servers)
        self.hypervisor: QemuHypervisor = self.make()

    def make(self) -> QemuHypervisor:
        return QemuHypervisor(HypervisorConfig(acceleration="tcg"), self.servers, unplug_seconds=1.5)

    def pid(self, server_id: ServerId) -> int:
        return int((self.servers / server_id / "qemu.pid").read_text())

    def crash(self, server_id: ServerId) -> None:
        os.kill(self.pid(server_id), signal.SIGKILL)

    def tap(self) -> int:
        descriptor = open_tap()
        self._descriptors.append(descriptor)
        return descriptor

    def null(self) -> int:
        """A descriptor that is no tap."""
        return super().tap()


def open_tap() -> int:
    """A tap in a network namespace of its own."""
    descriptors: list[int] = []

    def in_a_thread() -> None:
        assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0  # CLONE_NEWNET
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        # TUNSETIFF with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", b"tap0", 0x0002 | 0x1000 | 0x4000))
        descriptors.append(descriptor)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    return descriptors[0]


def nic(slot: int, *, mtu: int = 1500) -> GuestNic:
    return GuestNic(port_id=PortId(new_id()), slot=slot, mac_address=f"fa:16:3e:00:00:{slot:02x}", mtu=mtu)


def guest(*nics: GuestNic, boot: int = 1, vcpus: int = 1, nic_slots: int = 31) -> Guest:
    return Guest(
        id=ServerId(new_id()),
        name="a name, with 'things' in it",
        boot=boot,
        vcpus=vcpus,
        memory_mb=32,
        nic_slots=nic_slots,
        nics=nics,
    )


def processes_of(server_id: ServerId) -> list[int]:
    """The QEMU processes whose arguments name this server."""

    def lives() -> Iterator[int]:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if b"-uuid" in words and words[words.index(b"-uuid") + 1] == server_id.encode():
                    yield int(process.name)

    return list(lives())


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def debug(house: QemuHouse, server_id: ServerId, command: str, **arguments: object) -> object:
    """Speak to QEMU as a person who debugs it does, on the second socket."""
    directory = os.open(house.servers / server_id, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(f"/proc/self/fd/{directory}/qmp-debug.sock")
            with stream.makefile("rw") as lines:
                json.loads(lines.readline())
                for words in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    lines.write(json.dumps(words) + "\n")
                    lines.flush()
                    while "event" in (answer := json.loads(lines.readline())):
                        pass
                return answer["return"]
    finally:
        os.close(directory)


def netdevs(house: QemuHouse, server_id: ServerId) -> set[str]:
    """The ids of the host sides of NICs QEMU has."""
    told = debug(house, server_id, "human-monitor-command", **{"command-line": "info network"})
    words = str(told).replace("\\", " ").replace(":", " ").split()
    return {word for word in words if word.startswith("tap-")}
