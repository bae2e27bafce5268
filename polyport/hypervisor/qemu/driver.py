"""The QEMU driver: the guests of this host, each in its own directory below `servers`.

Calls about one server come one at a time, as the agent makes them; only `stop` may overtake a call that
is under way, which then fails. Calls about different servers run side by side.
"""

import asyncio
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from polyport.config import HypervisorConfig
from polyport.hypervisor import (
    FoundGuest,
    Guest,
    GuestNic,
    HypervisorError,
    HypervisorFacts,
    NotRunning,
    OtherBoot,
)
from polyport.hypervisor.nics import MOST_NICS_PER_VCPU, NicsRefused, check_nics
from polyport.hypervisor.qemu import console, kvm, process, record, slots
from polyport.hypervisor.qemu.command import Machine
from polyport.hypervisor.qemu.guest import PlugFailed, RunningGuest
from polyport.ids import PortId, ServerId

log = logging.getLogger(__name__)

VHOST = "/dev/vhost-net"
UNPLUG_SECONDS = 30.0
LOG_SECONDS = 2.0
"""Time between two looks at the size of the logs: a guest was seen to write 30 MB to its console in a second."""


class EmulatorMissing(HypervisorError):
    """The emulator {emulator} cannot be run on this host; `polyport check` says what is missing."""


class QemuHypervisor:
    """The `Hypervisor` protocol over QEMU. `unplug_seconds`: how long a guest is asked to let a NIC go."""

    def __init__(self, config: HypervisorConfig, servers: Path, *, unplug_seconds: float = UNPLUG_SECONDS) -> None:
        self._config = config
        self._servers = servers
        self._unplug_seconds = unplug_seconds
        self._machine = Machine(emulator=config.emulator, accelerator="tcg")
        self._guests: dict[ServerId, RunningGuest] = {}
        self._changed: Callable[[ServerId], None] = lambda _: None
        self._closing: set[asyncio.Task[None]] = set()
        self._trimming: asyncio.Task[None] | None = None

    async def open(self, changed: Callable[[ServerId], None]) -> HypervisorFacts:
        version = await asyncio.to_thread(emulator_version, self._config.emulator)
        accelerator = await kvm.choose_accelerator(self._config.emulator, self._config.acceleration)
        self._machine = Machine(
            emulator=self._config.emulator,
            accelerator=accelerator,
            vhost=accelerator == "kvm" and os.access(VHOST, os.R_OK | os.W_OK),
            run_as=self._config.run_as if os.geteuid() == 0 else "",
        )
        self._changed = changed
        await asyncio.gather(*(self._adopt(directory) for directory in directories(self._servers)))
        self._trimming = asyncio.create_task(self._trim_logs())
        return HypervisorFacts(
            name="qemu",
            version=version,
            accelerator=accelerator,
            most_nics_per_vcpu=MOST_NICS_PER_VCPU,
            most_nic_slots=slots.MOST_SLOTS,
            wants_disks=True,
        )

    async def close(self) -> None:
        if self._trimming:
            self._trimming.cancel()
            await asyncio.gather(self._trimming, return_exceptions=True)
            self._trimming = None
        guests, self._guests = self._guests, {}
        await asyncio.gather(*(guest.close() for guest in guests.values()), *self._closing)

    async def guests(self) -> Mapping[ServerId, FoundGuest]:
        return {server_id: guest.found() for server_id, guest in self._guests.items()}

    async def start(self, guest: Guest, directory: Path, taps: Mapping[PortId, int]) -> None:
        if running := self._guests.get(guest.id):
            if running.guest.boot == guest.boot:
                return
            raise OtherBoot(server_id=guest.id, boot=running.guest.boot)
        self._check(guest, guest.nics)
        if missing := [nic.port_id for nic in guest.nics if nic.port_id not in taps]:
            raise NicsRefused(server_id=guest.id, reason=f"no tap came for port {missing[0]}")
        running = self._guests[guest.id] = RunningGuest(guest, directory, self._notice)
        try:
            await running.launch(self._machine, {nic.port_id: taps[nic.port_id] for nic in guest.nics})
        except BaseException:
            self._forget(running)
            raise

    async def stop(self, server_id: ServerId, *, grace: float = 0.0) -> None:
        if running := self._guests.get(server_id):
            await running.end(grace)
            self._forget(running)

    async def pause(self, server_id: ServerId) -> None:
        await self._running(server_id).pause(True)

    async def resume(self, server_id: ServerId) -> None:
        await self._running(server_id).pause(False)

    async def plug(self, server_id: ServerId, nic: GuestNic, tap: int) -> None:
        running = self._running(server_id)
        if running.nics.get(nic.port_id) == nic:
            return
        self._check(running.guest, (*running.nics.values(), nic))
        if not self._machine.vhost:
            await running.plug(nic, tap)
            return
        # Opened here: QEMU may have dropped to a user that may not.
        try:
            vhost = os.open(VHOST, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise PlugFailed(server_id=server_id, port_id=nic.port_id) from error
        try:
            await running.plug(nic, tap, vhost)
        finally:
            os.close(vhost)

    async def unplug(self, server_id: ServerId, port_id: PortId) -> None:
        running = self._guests.get(server_id)
        if running and port_id in running.nics:
            await running.unplug(port_id, self._unplug_seconds)

    def nic_address(self, slot: int) -> str | None:
        return slots.nic_address(slot)

    async def console_log(self, server_id: ServerId, directory: Path, most: int) -> bytes:
        return await asyncio.to_thread(console.tail, directory / console.LOG, most)

    def _check(self, guest: Guest, nics: tuple[GuestNic, ...]) -> None:
        check_nics(
            guest.id,
            vcpus=guest.vcpus,
            nic_slots=guest.nic_slots,
            most_nic_slots=slots.MOST_SLOTS,
            nics=nics,
        )

    def _running(self, server_id: ServerId) -> RunningGuest:
        running = self._guests.get(server_id)
        if running is None:
            raise NotRunning(server_id=server_id)
        return running

    async def _adopt(self, directory: Path) -> None:
        guest = record.read_guest(directory)
        if guest is None:
            if process.is_running(directory):
                log.error("adopt: a QEMU runs in %s, and nothing on record says what it is", directory)
            return
        running = RunningGuest(guest, directory, self._notice)
        # In the table before the first question, so that an end in between is noticed.
        self._guests[guest.id] = running
        try:
            is_here = await running.adopt()
        except HypervisorError:
            log.exception("adopt: server %s runs and cannot be had", guest.id)
            is_here = False
        if is_here:
            log.info("adopt: server %s runs with boot number %d", guest.id, guest.boot)
        else:
            self._forget(running)

    def _notice(self, running: RunningGuest) -> None:
        """Something changed about a guest that nobody asked for."""
        if self._guests.get(running.guest.id) is not running:
            return
        if running.is_gone:
            if running.death:
                log.error("end: server %s died of %s", running.guest.id, running.death)
            else:
                log.warning("end: server %s ended by itself", running.guest.id)
            self._forget(running)
            task = asyncio.create_task(running.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._changed(running.guest.id)

    async def _trim_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_SECONDS)
            for guest in self._guests.values():
                try:
                    guest.trim_logs()
                except OSError:
                    log.exception("trim: server %s", guest.guest.id)

    def _forget(self, running: RunningGuest) -> None:
        if self._guests.get(running.guest.id) is running:
            del self._guests[running.guest.id]


def emulator_version(emulator: str) -> str:
    """The version of QEMU, such as `7.2.22`. Raises `EmulatorMissing`."""
    path = shutil.which(emulator)
    if path is None:
        raise EmulatorMissing(emulator=emulator)
    try:
        ended = subprocess.run([path, "--version"], capture_output=True, timeout=30, check=True, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise EmulatorMissing(emulator=emulator) from error
    # "QEMU emulator version 7.2.22 (Debian ...)"
    words = ended.stdout.split()
    return words[3] if len(words) > 3 else "unknown"


def directories(servers: Path) -> list[Path]:
    """The server directories there are."""
    return [path for path in servers.iterdir() if path.is_dir()] if servers.is_dir() else []
