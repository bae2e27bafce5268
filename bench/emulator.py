"""What the emulator itself takes for a start, with nobody's help: from its first instruction to its first answer."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from bench.ports import network, vif
from polyport.config import DataplaneConfig
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.hypervisor import Guest
from polyport.hypervisor.qemu import command, qmp


def copied(guest: Guest, directory: Path) -> Guest:
    """A guest with the same disks, as copies in a directory."""
    copies = [Path(shutil.copy(disk.path, directory)) for disk in guest.disks]
    disks = tuple(replace(disk, path=path) for disk, path in zip(guest.disks, copies, strict=True))
    return replace(guest, disks=disks)


def own_start(guest: Guest, directory: Path, namespace: str) -> float:
    """Milliseconds of one start of a guest in a directory, with taps in a network namespace that is there for it."""
    try:
        return asyncio.run(_own_start(guest, directory, namespace)) * 1000
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], check=False)


async def _own_start(guest: Guest, directory: Path, namespace: str) -> float:
    dataplane = BridgeDataplane(DataplaneConfig(namespace=namespace))
    await dataplane.open()
    try:
        bridged = network()
        taps = await dataplane.plug_all([vif(bridged, number) for number in range(len(guest.nics))])
        try:
            return await asyncio.to_thread(_start, guest, directory, taps)
        finally:
            await dataplane.sweep({})
            for tap in taps:
                os.close(tap)
    finally:
        await dataplane.close()


def _start(guest: Guest, directory: Path, taps: Sequence[int]) -> float:
    machine = command.Machine(emulator="qemu-system-x86_64", accelerator="tcg")
    with qmp.listen_at(directory, qmp.SOCKET) as listener:
        ports = [nic.port_id for nic in guest.nics]
        argv = command.argv(guest, machine, monitor=listener.fileno(), taps=dict(zip(ports, taps, strict=True)))
        begin = time.perf_counter()
        emulator = subprocess.Popen(argv, cwd=directory, pass_fds=(listener.fileno(), *taps), stdin=subprocess.DEVNULL)
    try:
        with contextlib.closing(qmp.connect_to(directory, qmp.SOCKET)) as stream:
            stream.setblocking(True)
            _ask(stream)
            return time.perf_counter() - begin
    finally:
        emulator.kill()
        emulator.wait()


def _ask(stream: socket.socket) -> None:
    with stream.makefile("rw") as lines:
        lines.readline()
        for name in ("qmp_capabilities", "query-status"):
            lines.write(json.dumps({"execute": name}) + "\n")
            lines.flush()
            answer = json.loads(lines.readline())
            if "error" in answer:
                raise RuntimeError(f"{name}: {answer}")
