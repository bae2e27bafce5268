"""What the emulator itself takes for a start, with nobody's help: from its first instruction to its first answer."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from polyport.config import DataplaneConfig
from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.hypervisor import Guest, GuestDisk, GuestNic
from polyport.hypervisor.qemu import command, qmp
from polyport.ids import ServerId, new_id


async def own_start(files: Path, vifs: Sequence[VifPlan], namespace: str, times: int) -> float:
    """The least number of milliseconds of several starts with these NICs, kernel and disk."""
    dataplane = BridgeDataplane(DataplaneConfig(namespace=namespace))
    await dataplane.open()
    spent = []
    try:
        for _ in range(times):
            taps = await dataplane.plug_all(vifs)
            directory = Path(tempfile.mkdtemp(prefix="polyport-"))
            try:
                spent.append(await asyncio.to_thread(_start, files, vifs, taps, directory))
            finally:
                shutil.rmtree(directory)
                for tap in taps:
                    os.close(tap)
            await dataplane.sweep({})
    finally:
        await dataplane.close()
    return min(spent) * 1000


def _start(files: Path, vifs: Sequence[VifPlan], taps: Sequence[int], directory: Path) -> float:
    nics = tuple(
        GuestNic(port_id=vif.nic.port_id, slot=vif.nic.slot, mac_address=vif.nic.mac_address, mtu=vif.network.mtu)
        for vif in vifs
    )
    guest = Guest(
        id=ServerId(new_id()),
        name="g",
        boot=1,
        vcpus=1,
        memory_mb=160,
        disks=(GuestDisk(path=files / "disk.qcow2", file_format="qcow2", serial="root", read_only=True),),
        kernel=files / "vmlinuz",
        ramdisk=files / "initrd",
        nic_slots=30,
        nics=nics,
    )
    machine = command.Machine(emulator="qemu-system-x86_64", accelerator="tcg")
    with qmp.listen_at(directory, qmp.SOCKET) as listener:
        ports = [nic.port_id for nic in nics]
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
