"""The steps of `reconcile`, carried out on the host.

Each step ends whole or leaves nothing of itself, and what is known of the server (`Server.seen`) follows
each thing done. A vif is noted before it is made: a sweep that comes in between spares it, and one that
could not be made whole is cleared by name.
"""

import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from polyport.agent import config_drive, disks, drive_image, records
from polyport.agent.disks import ImageCache
from polyport.agent.reconcile import (
    Clear,
    Note,
    Pause,
    PlugNic,
    Record,
    Remove,
    Resume,
    Seen,
    Start,
    Step,
    Stop,
    UnplugNic,
    UpdateVifs,
)
from polyport.agent.undo import Undo, finished, off_loop, together
from polyport.dataplane import Dataplane, VifPlan
from polyport.hypervisor import FoundGuest, Guest, GuestDisk, GuestNic, Hypervisor, HypervisorFacts
from polyport.ids import PortId, ServerId
from polyport.plan import ImagePlan, ServerPlan

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Host:
    """What steps are carried out with."""

    hypervisor: Hypervisor
    dataplane: Dataplane
    facts: HypervisorFacts
    servers: Path
    images: ImageCache
    machine: str
    policy_routing: bool = True
    """Whether guests are told to route each NIC's traffic by itself."""

    def directory(self, server_id: ServerId) -> Path:
        return records.directory(self.servers, server_id)

    async def files(self, call: Callable[..., T], *arguments: object) -> T:
        """Small file work. Where guests have disks it may wait for a busy disk, so it stays off the event
        loop; where they have none (the fake), a thread would cost more than the work."""
        return await off_loop(call, *arguments) if self.facts.wants_disks else call(*arguments)


class Server:
    """One server on this host: what there is of it. Only the task that has the server in hand changes it."""

    def __init__(self, server_id: ServerId, seen: Seen) -> None:
        self.id = server_id
        self.seen = seen

    def see(self, **changes: object) -> None:
        self.seen = msgspec.structs.replace(self.seen, **changes)

    def see_guest(self, **changes: object) -> None:
        if self.seen.guest is not None:
            self.see(guest=msgspec.structs.replace(self.seen.guest, **changes))

    def see_vif(self, port_id: PortId, vif: VifPlan) -> None:
        self.see(vifs={**self.seen.vifs, port_id: vif})

    def forget_vif(self, port_id: PortId) -> None:
        self.see(vifs={known: vif for known, vif in self.seen.vifs.items() if known != port_id})


async def carry_out(
    host: Host, server: Server, plan: ServerPlan | None, vifs: tuple[VifPlan, ...], steps: tuple[Step, ...]
) -> None:
    """Carry out steps in order.

    Steps on single NICs do not depend on each other: one that fails is left out, the others are still done,
    and the first error is raised in the end. Any other failure ends the row at once. A NIC that would not
    leave the guest blocks the plug of the same port or into the same slot: the vif is in use.
    """
    failure: Exception | None = None
    blocked: set[object] = set()
    for step in steps:
        if isinstance(step, PlugNic) and not blocked.isdisjoint((step.vif.nic.port_id, step.vif.nic.slot)):
            continue
        try:
            await _carry_out_one(host, server, plan, vifs, step)
        except Exception as error:
            if not isinstance(step, UnplugNic | PlugNic | UpdateVifs | Clear):
                raise
            log.warning("step failed: %s", error, extra={"action": type(step).__name__.lower(), "server": server.id})
            failure = failure or error
            if isinstance(step, UnplugNic):
                blocked |= {step.port_id, step.slot}
    if failure is not None:
        raise failure


async def _carry_out_one(
    host: Host, server: Server, plan: ServerPlan | None, vifs: tuple[VifPlan, ...], step: Step
) -> None:
    log.debug("step", extra={"action": type(step).__name__.lower(), "server": server.id})
    match step:
        case Start():
            assert plan is not None, "only a planned server is started"
            await start(host, server, plan, vifs)
        case Stop(grace=grace):
            await stop(host, server, grace)
        case Note(record=record):
            await _note(host, server, record)
        case Clear(ports=ports):
            await _clear(host, server, ports)
        case UnplugNic(port_id=port_id):
            await unplug(host, server, port_id)
        case PlugNic(vif=vif):
            await plug(host, server, vif)
        case UpdateVifs(vifs=changed):
            await host.dataplane.ensure(changed)
            for vif in changed:
                server.see_vif(vif.nic.port_id, vif)
        case Pause():
            await finished(host.hypervisor.pause(server.id))
            server.see_guest(power="paused")
        case Resume():
            await finished(host.hypervisor.resume(server.id))
            server.see_guest(power="running")
        case Remove():
            await _remove_directory(host, server)


async def start(host: Host, server: Server, plan: ServerPlan, vifs: tuple[VifPlan, ...]) -> None:
    """Start a guest with all its NICs, or leave nothing that was not there before."""
    if server.seen.guest is not None and server.seen.guest.boot == plan.boot:
        return
    directory = host.directory(plan.id)
    taps = _Taps()
    try:
        async with Undo() as undo:
            if await host.files(records.make_directory, directory):
                undo.push("remove directory", _remove_directory, host, server)
            server.see(directory=True)
            image, kernel, ramdisk = await _images(host, plan)
            making: list[Coroutine[object, object, GuestDisk | None]] = [_make_vifs(host, server, vifs, taps, undo)]
            if host.facts.wants_disks:
                making = [_make_root_disk(host, plan, image, undo), _make_config_drive(host, plan, vifs), *making]
            drives = await together(*making)
            guest = Guest(
                id=plan.id,
                name=plan.name,
                boot=plan.boot,
                vcpus=plan.vcpus,
                memory_mb=plan.memory_mb,
                disks=tuple(drive for drive in drives if drive is not None),
                kernel=kernel,
                ramdisk=ramdisk,
                kernel_arguments=plan.kernel_arguments,
                nic_slots=plan.nic_slots,
                nics=tuple(map(_guest_nic, vifs)),
            )
            await finished(host.hypervisor.start(guest, directory, taps.open))
            undo.push("stop guest", stop, host, server, 0.0)
            server.see(
                guest=FoundGuest(id=plan.id, power="running", boot=plan.boot, nic_slots=plan.nic_slots, nics=guest.nics)
            )
            await _note(host, server, Record(boot=plan.boot, machine=host.machine))
    finally:
        taps.close_all()
    disk = disks.root_disk(directory, plan)
    if host.facts.wants_disks and disk is not None:
        await disks.remove_other_disks(disk)
    log.info("started", extra={"action": "start", "server": plan.id, "boot": plan.boot})


async def bring_images(host: Host, plan: ServerPlan | None) -> None:
    """Have the images of a server on this host before its start, which then takes no time of others for
    that."""
    if plan is not None:
        await _images(host, plan)


async def stop(host: Host, server: Server, grace: float) -> None:
    """End a guest; its vifs are left without a tap, to be cleared."""
    await host.hypervisor.stop(server.id, grace=grace)
    server.see(guest=None)
    log.info("stopped", extra={"action": "stop", "server": server.id})


async def plug(host: Host, server: Server, vif: VifPlan) -> None:
    """Add a NIC to a running guest, or leave nothing of it."""
    taps = _Taps()
    nic = _guest_nic(vif)
    guest = server.seen.guest
    inside = guest.nics if guest is not None else ()
    if nic in inside:
        return
    try:
        async with Undo() as undo:
            server.see_vif(nic.port_id, vif)
            taps.open[nic.port_id] = await finished(host.dataplane.plug(vif))
            undo.push("remove vif", _remove_vifs, host, server, nic.port_id)
            undo.push("close tap", taps.close_all)
            await finished(host.hypervisor.plug(server.id, nic, taps.open[nic.port_id]))
    finally:
        taps.close_all()
    server.see_guest(nics=tuple(sorted((*inside, nic), key=lambda each: each.slot)))
    log.info("plugged", extra={"action": "plug", "server": server.id, "port": nic.port_id, "slot": nic.slot})


async def unplug(host: Host, server: Server, port_id: PortId) -> None:
    """Take a NIC from a running guest; its vif goes only when the guest has let go of it."""
    # The guest may take its time to agree, and an agent that is stopped does not wait for it: the next one looks.
    await host.hypervisor.unplug(server.id, port_id)
    guest = server.seen.guest
    inside = guest.nics if guest is not None else ()
    server.see_guest(nics=tuple(nic for nic in inside if nic.port_id != port_id))
    await _remove_vifs(host, server, port_id)
    log.info("unplugged", extra={"action": "unplug", "server": server.id, "port": port_id})


class _Taps:
    """Open tap descriptors, each closed once whatever happens."""

    def __init__(self) -> None:
        self.open: dict[PortId, int] = {}

    def close_all(self) -> None:
        while self.open:
            os.close(self.open.popitem()[1])


async def _make_vifs(host: Host, server: Server, vifs: Sequence[VifPlan], taps: _Taps, undo: Undo) -> None:
    ports = [vif.nic.port_id for vif in vifs]
    for vif in vifs:
        server.see_vif(vif.nic.port_id, vif)
    made = await finished(host.dataplane.plug_all(vifs))
    taps.open |= dict(zip(ports, made, strict=True))
    undo.push("remove vifs", _remove_vifs, host, server, *ports)
    undo.push("close taps", taps.close_all)


async def _remove_vifs(host: Host, server: Server, *ports: PortId) -> None:
    await finished(host.dataplane.unplug(*ports))
    for port_id in ports:
        server.forget_vif(port_id)


async def _clear(host: Host, server: Server, ports: tuple[PortId, ...]) -> None:
    """Remove vifs together; where that fails, each whether or not others fail. Raises the first error then."""
    try:
        await _remove_vifs(host, server, *ports)
        return
    except Exception as error:
        log.warning("vifs not removed together: %s", error, extra={"action": "clear", "server": server.id})
    failure: Exception | None = None
    for port_id in ports:
        try:
            await _remove_vifs(host, server, port_id)
        except Exception as error:
            log.warning("vif stays: %s", error, extra={"action": "clear", "server": server.id, "port": port_id})
            failure = failure or error
    if failure is not None:
        raise failure


async def _note(host: Host, server: Server, record: Record) -> None:
    await host.files(_write_record, host.directory(server.id), record)
    server.see(record=record, directory=True)


def _write_record(directory: Path, record: Record) -> None:
    try:
        records.write_record(directory, record)
    except FileNotFoundError:
        records.make_directory(directory)
        records.write_record(directory, record)


async def _remove_directory(host: Host, server: Server) -> None:
    await host.files(records.remove_directory, host.directory(server.id))
    server.see(record=None, directory=False)


async def _images(host: Host, plan: ServerPlan) -> list[Path | None]:
    """Where the bytes of a server's image, kernel and ramdisk are, fetched where they were not here."""
    if not host.facts.wants_disks:
        return [None, None, None]
    return await together(*(_image(host, image) for image in (plan.image, plan.kernel, plan.ramdisk)))


async def _image(host: Host, image: ImagePlan | None) -> Path | None:
    return await host.images.path(image) if image is not None else None


async def _make_root_disk(host: Host, plan: ServerPlan, image: Path | None, undo: Undo) -> GuestDisk | None:
    disk = disks.root_disk(host.directory(plan.id), plan)
    if disk is None:
        return None
    if await disks.make_root_disk(disk, plan, image):
        undo.push("remove disk", host.files, disk.unlink)
    return GuestDisk(path=disk, file_format="qcow2", serial="root")


async def _make_config_drive(host: Host, plan: ServerPlan, vifs: tuple[VifPlan, ...]) -> GuestDisk | None:
    """Made anew at each start, from the NICs of this start. It replaces the one before, so there is nothing
    to undo."""
    if not plan.config_drive:
        return None
    path = host.directory(plan.id) / "config.iso"
    networks = {vif.network.id: vif.network for vif in vifs}

    def write() -> None:
        files = config_drive.drive_files(
            plan,
            networks,
            nic_address=host.hypervisor.nic_address,
            random_seed=os.urandom(512),
            policy_routing=host.policy_routing,
        )
        drive_image.write_drive(path, files)

    await host.files(write)
    return GuestDisk(path=path, file_format="raw", serial="config", read_only=True)


def _guest_nic(vif: VifPlan) -> GuestNic:
    nic = vif.nic
    return GuestNic(port_id=nic.port_id, slot=nic.slot, mac_address=nic.mac_address, mtu=vif.network.mtu)
