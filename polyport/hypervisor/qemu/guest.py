"""One guest that runs: its process, its monitor, its NICs, whether it is paused.

    launch ---> live ----------------------> ended     power-off inside, crash, kill: `changed` is called
    adopt  --/   |  ^                          ^
                 |  '-- plug, unplug, pause    |
                 '--------- end ---------------'       asked for: nothing is called

A NIC is in `nics` from the moment QEMU has it until QEMU says that it is gone; the record on disk names
it a little longer on both sides. Where an answer of QEMU does not come, the connection is dropped and
made anew, and every new connection begins with asking QEMU which NICs of the record it has: nothing is
ever guessed, and a guest is never taken for dead because it does not answer.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

import msgspec

from polyport.hypervisor import FoundGuest, Guest, GuestNic, HypervisorError, UnplugRefused
from polyport.hypervisor.qemu import command, console, process, qmp, record
from polyport.hypervisor.qemu.process import GuestProcess
from polyport.hypervisor.qemu.qmp import CommandRefused, Monitor, MonitorLost
from polyport.ids import PortId

log = logging.getLogger(__name__)

QUIT_SECONDS = 5.0
TERMINATE_SECONDS = 5.0
KILL_SECONDS = 20.0
ASK_AGAIN_SECONDS = 1.0
"""A guest whose system is not up yet loses the question whether it lets a NIC go, so it is asked again."""


class StartFailed(HypervisorError):
    """The guest of server {server_id} could not be started."""


class PlugFailed(HypervisorError):
    """NIC {port_id} could not be plugged into server {server_id}."""


class PowerFailed(HypervisorError):
    """The guest of server {server_id} could not be {what}."""


class StopFailed(HypervisorError):
    """The guest of server {server_id} does not end."""


class RunningGuest:
    """See above. Calls about one guest come one at a time, but for `end`, which may come at any time.

    `changed` is called with the guest where something about it changed that nobody asked for.
    """

    def __init__(self, guest: Guest, directory: Path, changed: Callable[["RunningGuest"], None]) -> None:
        self.guest = guest
        self.directory = directory
        self.is_paused = False
        self.nics: dict[PortId, GuestNic] = {}
        self._recorded = {nic.port_id: nic for nic in guest.nics}
        self._changed = changed
        self._tells = False  # not while it is being started or ended
        self._process: GuestProcess | None = None
        self._monitor: Monitor | None = None
        self._connecting = asyncio.Lock()
        self._leaving: dict[PortId, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- it comes

    async def launch(self, machine: command.Machine, taps: Mapping[PortId, int]) -> None:
        """Start QEMU; returns when its CPUs run. Raises `StartFailed` or `RunsAlready` with nothing left
        behind."""
        try:
            lock = process.take_lock(self.directory)
        except OSError as error:
            raise StartFailed(server_id=self.guest.id) from error
        try:
            console.trim(self.directory / console.LOG)
            record.write_guest(self.directory, self.guest)
            with qmp.listen_at(self.directory, qmp.SOCKET) as listener:
                argv = command.argv(self.guest, machine, monitor=listener.fileno(), taps=taps)
                descriptors = (lock, listener.fileno(), *taps.values())
                self._process = process.spawn(argv, self.directory, descriptors, self._notice_end)
            await self._connected()
            if self.is_gone or self.is_paused:
                raise CommandRefused(command="start", reason="it does not run", kind="GenericError")
            self._tells = True
        except BaseException as error:
            await self._abandon()
            if isinstance(error, OSError | MonitorLost | CommandRefused):
                log.error("start: server %s: %s; QEMU said: %s", self.guest.id, error, self._last_words())
                raise StartFailed(server_id=self.guest.id) from error
            raise
        finally:
            os.close(lock)

    async def adopt(self) -> bool:
        """Find the QEMU that runs in the directory; False, and the directory tidied, where there is none."""
        self._process = await process.find(self.directory, self._notice_end)
        if self._process is None:
            self._tidy()
            return False
        self.nics = dict(self._recorded)
        try:
            await self._connected()
        except HypervisorError:
            log.exception("adopt: server %s runs and does not answer: its record is believed", self.guest.id)
        self._tells = True
        return not self.is_gone

    # --- it goes

    @property
    def is_gone(self) -> bool:
        return self._process is None or self._process.ended.is_set()

    @property
    def death(self) -> str | None:
        """How QEMU died, with what it said last; None where it ended as its guest powered off."""
        if self._process is None or self._process.died_of is None:
            return None
        return f"{self._process.died_of}; QEMU said: {self._last_words()}"

    async def end(self, grace: float) -> None:
        """End the guest, with more and more force. Raises `StopFailed` where even a kill does not do it."""
        running = self._process
        if running is None:
            return
        self._tells = False
        try:
            if grace > 0 and await self._try("cont") and await self._try("system_powerdown"):
                await running.wait(grace)
            if not self.is_gone and self._is_live:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(QUIT_SECONDS):
                        await self._try("quit")
                        await running.ended.wait()
            for number, seconds in ((signal.SIGTERM, TERMINATE_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
                if not self.is_gone:
                    running.signal(number)
                    await running.wait(seconds)
            if not self.is_gone:
                raise StopFailed(server_id=self.guest.id)
        finally:
            self._tells = True
            if self.is_gone:
                await self.close()

    async def close(self) -> None:
        """Let go of the guest, which lives on if it lives."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._disconnect()
        if self._process:
            self._process.close()

    async def _abandon(self) -> None:
        """Undo a start."""
        self._tells = False
        if self._process:
            self._process.signal(signal.SIGKILL)
            await self._process.wait(KILL_SECONDS)
        if self.is_gone:
            self._tidy()
        await self.close()

    def _notice_end(self) -> None:
        for left in self._leaving.values():
            left.set()
        self._tidy()
        self._tell()

    def _last_words(self) -> str:
        return console.tail(self.directory / process.LOG, 2000).decode(errors="replace").strip() or "nothing"

    def _tidy(self) -> None:
        """Remove what a QEMU that is gone left in the directory; the logs stay."""
        for name in (record.NAME, process.PID, process.LOCK, *command.SOCKETS):
            with contextlib.suppress(OSError):
                (self.directory / name).unlink()

    # --- it lives

    def found(self) -> FoundGuest:
        if not self._is_live and not self.is_gone and not self._connecting.locked():
            self._run(self._reconnect())
        return FoundGuest(
            id=self.guest.id,
            power="paused" if self.is_paused else "running",
            boot=self.guest.boot,
            nic_slots=self.guest.nic_slots,
            nics=tuple(sorted(self.nics.values(), key=lambda nic: nic.slot)),
        )

    def trim_logs(self) -> None:
        """Keep what the guest makes QEMU write within bounds."""
        for name in (console.LOG, process.LOG):
            console.trim(self.directory / name)

    async def pause(self, paused: bool) -> None:
        """Stop or continue its CPUs. Raises `PowerFailed`."""
        before, self.is_paused = self.is_paused, paused
        try:
            await self._execute("stop" if paused else "cont")
        except HypervisorError as error:
            self.is_paused = before
            raise PowerFailed(server_id=self.guest.id, what="paused" if paused else "resumed") from error

    async def plug(self, nic: GuestNic, tap: int, vhost: int | None = None) -> None:
        """Add a NIC; `vhost`: a descriptor of the kernel's vhost-net, where that carries the frames. Raises
        `PlugFailed` with nothing of it left."""
        try:
            monitor = await self._connected()
        except HypervisorError as error:
            raise PlugFailed(server_id=self.guest.id, port_id=nic.port_id) from error
        try:
            self._recorded[nic.port_id] = nic
            self._write()
            await monitor.send_descriptor(command.netdev_id(nic), tap)
            if vhost is not None:
                await monitor.send_descriptor(command.vhost_id(nic), vhost)
            await monitor.execute("netdev_add", command.netdev(nic, vhost=vhost is not None))
            await monitor.execute("device_add", command.nic_device(nic))
        except (OSError, CommandRefused) as error:
            await self._drop(nic, monitor)
            raise PlugFailed(server_id=self.guest.id, port_id=nic.port_id) from error
        except BaseException as error:
            # Whether QEMU did it is not known; the next connection asks.
            await self._disconnect()
            if isinstance(error, HypervisorError):
                raise PlugFailed(server_id=self.guest.id, port_id=nic.port_id) from error
            raise
        self.nics[nic.port_id] = nic

    async def unplug(self, port_id: PortId, patience: float) -> None:
        """Take a NIC away and wait, for `patience` seconds at most, until the guest let it go. Raises
        `UnplugRefused`."""
        nic = self.nics[port_id]
        if self.is_paused:
            raise UnplugRefused(server_id=self.guest.id, port_id=port_id, reason="it is paused")
        left = self._leaving[port_id] = asyncio.Event()
        refusal: CommandRefused | None = None
        try:
            async with asyncio.timeout(patience):
                while not left.is_set():
                    try:
                        await self._execute("device_del", {"id": command.nic_id(nic)})
                    except CommandRefused as error:
                        if error.is_not_found:
                            await self._drop(nic, await self._connected())
                            return
                        refusal = error  # it is being asked already
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(ASK_AGAIN_SECONDS):
                            await left.wait()
        except TimeoutError as error:
            reason = f"it did not within {patience:g} seconds"
            raise UnplugRefused(server_id=self.guest.id, port_id=port_id, reason=reason) from refusal or error
        finally:
            del self._leaving[port_id]

    def _receive(self, event: Mapping[str, object]) -> None:
        data = event.get("data")
        match event["event"]:
            case "DEVICE_DELETED" if isinstance(data, dict) and "device" in data:
                # Told twice for a NIC: the other time, without a device, of its inner half.
                found = command.read_nic_id(data["device"])
                if found and (nic := self.nics.get(found[1])):
                    self._run(self._lose(nic))
            case "STOP" | "RESUME" as name if self.is_paused != (name == "STOP"):
                self.is_paused = name == "STOP"
                self._tell()

    async def _lose(self, nic: GuestNic) -> None:
        """Clean up after a NIC that went, asked for or not (a guest may let go late, or of its own)."""
        with contextlib.suppress(HypervisorError):
            await self._drop(nic, await self._connected())
        if left := self._leaving.get(nic.port_id):
            left.set()
        else:
            self._tell()

    async def _drop(self, nic: GuestNic, monitor: Monitor) -> None:
        """Forget a NIC that has no device: its netdev or, where there is none, the descriptors that were for it; then
        its place on record."""
        try:
            try:
                await monitor.execute("netdev_del", {"id": command.netdev_id(nic)})
            except CommandRefused:
                for name in (command.netdev_id(nic), command.vhost_id(nic)):
                    with contextlib.suppress(CommandRefused):
                        await monitor.execute("closefd", {"fdname": name})
        except MonitorLost:
            await self._disconnect()
            return
        self.nics.pop(nic.port_id, None)
        self._recorded.pop(nic.port_id, None)
        if not self.is_gone:
            try:
                self._write()
            except OSError:
                # A record that names too much does no harm: whoever reads it asks QEMU.
                log.exception("record: server %s", self.guest.id)

    def _write(self) -> None:
        nics = tuple(self._recorded.values())
        record.write_guest(self.directory, msgspec.structs.replace(self.guest, nics=nics))

    # --- it is spoken to

    @property
    def _is_live(self) -> bool:
        return self._monitor is not None and self._monitor.is_live

    async def _connected(self) -> Monitor:
        """The monitor, connected anew where it was lost. Raises `MonitorLost`."""
        async with self._connecting:
            if self._monitor is None or not self._monitor.is_live:
                await self._disconnect()
                monitor = await Monitor.connect(self.directory, self._receive)
                try:
                    await self._learn(monitor)
                except BaseException:
                    await monitor.close()
                    raise
                self._monitor = monitor
            return self._monitor

    async def _learn(self, monitor: Monitor) -> None:
        """Ask QEMU whether it runs and which NICs of the record it has; drop the rest of the others."""
        # Both on their way at once: a QEMU whose guest boots takes its time for each answer.
        status, devices = await asyncio.gather(
            monitor.execute("query-status"), monitor.execute("qom-list", {"path": "/machine/peripheral"})
        )
        assert isinstance(status, dict)
        assert isinstance(devices, list)
        self.is_paused = not status["running"]
        has = {found[1] for device in devices if (found := command.read_nic_id(device["name"]))}
        self.nics = {port_id: nic for port_id, nic in self._recorded.items() if port_id in has}
        for nic in [nic for port_id, nic in self._recorded.items() if port_id not in has]:
            await self._drop(nic, monitor)

    async def _reconnect(self) -> None:
        with contextlib.suppress(HypervisorError):
            await self._connected()
            self._tell()

    async def _disconnect(self) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor:
            await monitor.close()

    async def _execute(self, name: str, arguments: Mapping[str, object] | None = None) -> object:
        return await (await self._connected()).execute(name, arguments)

    async def _try(self, name: str) -> bool:
        try:
            await self._execute(name)
        except (MonitorLost, CommandRefused):
            return False
        return True

    def _tell(self) -> None:
        if self._tells:
            self._changed(self)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
