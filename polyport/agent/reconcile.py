"""What to do about one server: pure decisions.

    wanted     what is there       steps
    running    no guest            Start, if this boot was not carried out yet, or the machine restarted since
                                   Note(ended), if it was: the guest ended by itself and stays down
               guest, older boot   Stop, Clear, Start                 (soft or hard, as the plan says)
               guest               Resume, UnplugNic.. PlugNic.. UpdateVifs
    paused     (as running)        ..., Pause
    stopped    guest               Stop, Clear, Note(ended)
    gone       anything            Clear, Stop, Remove                (so too a leftover, which no plan knows)

The slot of a NIC decides its place in the guest. A NIC in the wrong slot was detached and attached again in
the meantime: it is unplugged and plugged, never moved, and no other NIC is touched.
"""

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polyport.dataplane import VifPlan
from polyport.hypervisor import FoundGuest, GuestNic
from polyport.ids import PortId
from polyport.plan import ServerPlan


class Record(Struct, frozen=True, kw_only=True):
    """What is written down in a server's directory, so that an agent that comes later knows it."""

    boot: int
    """The highest boot number that was carried out."""
    machine: str
    """Which life of the machine that was in (`inventory.machine`)."""
    ended: bool = False
    """Whether the guest of that boot has ended, by itself or by a stop: a restart of the machine does not
    revive it."""


class Seen(Struct, frozen=True, kw_only=True):
    """What there is of one server on this host."""

    guest: FoundGuest | None = None
    vifs: Mapping[PortId, VifPlan | None] = {}
    """Host sides that exist or are being made; None where it is not known what they were made to be."""
    record: Record | None = None
    directory: bool = False


class Stop(Struct, frozen=True):
    """End the guest, waiting `grace` seconds for it to power off by itself."""

    grace: float


class Start(Struct, frozen=True):
    """Make disk, vifs and config drive, and start the guest. `again`: this boot ran before the machine
    restarted."""

    again: bool = False


class Note(Struct, frozen=True):
    """Write the record."""

    record: Record


class Clear(Struct, frozen=True):
    """Remove vifs that no guest holds, or whose guest is never to be had again."""

    ports: tuple[PortId, ...]


class UnplugNic(Struct, frozen=True):
    """Take a NIC from the running guest, then its vif."""

    port_id: PortId
    slot: int


class PlugNic(Struct, frozen=True):
    """Make a vif and add its NIC to the running guest."""

    vif: VifPlan


class UpdateVifs(Struct, frozen=True):
    """Bring vifs of the running guest to their plan."""

    vifs: tuple[VifPlan, ...]


class Pause(Struct, frozen=True):
    """Halt the guest's CPUs."""


class Resume(Struct, frozen=True):
    """Let the guest's CPUs run."""


class Remove(Struct, frozen=True):
    """Delete the server's directory and all in it."""


Step: TypeAlias = Stop | Start | Note | Clear | UnplugNic | PlugNic | UpdateVifs | Pause | Resume | Remove


def decide(
    wanted: ServerPlan | None, vifs: tuple[VifPlan, ...], seen: Seen, *, machine: str, grace: float
) -> tuple[Step, ...]:
    """The steps that turn `seen` into `wanted` (None: no plan knows this server); none where it is so
    already.

    `vifs` are the plan's NICs, `machine` is this life of the machine, `grace` how long a guest that is
    asked to power off is waited for, in seconds.
    """
    if wanted is None or wanted.wanted == "gone":
        return _removal(seen)
    guest = seen.guest
    if wanted.wanted == "stopped":
        return (*_stop(seen, grace), *_ended(seen.record))
    pause: tuple[Step, ...] = (Pause(),) if wanted.wanted == "paused" else ()
    if guest is None:
        start = _start(wanted, seen.record, machine)
        if start is not None:
            return (*_clear(seen.vifs), start, *pause)
        return (*_clear(seen.vifs), *_ended(seen.record))
    if guest.boot < wanted.boot:
        return (*_stop(seen, grace if wanted.restart == "soft" else 0.0), Start(), *pause)
    note = _note(guest, seen.record, machine)
    # A halted guest cannot let go of a NIC: it is resumed first, paused last, and keeps what it has while it is to stay
    # halted.
    halted = guest.power == "paused"
    nics = _nic_steps(guest, vifs, seen, keeps=halted and wanted.wanted == "paused")
    if halted and wanted.wanted == "running":
        return (*note, Resume(), *nics)
    return (*note, *nics, *(() if halted else pause))


def _removal(seen: Seen) -> tuple[Step, ...]:
    # The kernel takes many taps away in the time of one; a guest that ends lets go of its taps one by one. A guest that
    # is to come back keeps them until it has ended: where that fails, it goes on as it was.
    return (*_clear(seen.vifs), *_end(seen.guest, 0.0), *((Remove(),) if seen.directory else ()))


def _stop(seen: Seen, grace: float) -> tuple[Step, ...]:
    return (*_end(seen.guest, grace), *_clear(seen.vifs))


def _end(guest: FoundGuest | None, grace: float) -> tuple[Step, ...]:
    return (Stop(grace),) if guest is not None else ()


def _clear(vifs: Mapping[PortId, object]) -> tuple[Step, ...]:
    return (Clear(tuple(vifs)),) if vifs else ()


def _start(wanted: ServerPlan, record: Record | None, machine: str) -> Start | None:
    if record is None or record.boot < wanted.boot:
        return Start()
    if record.machine != machine and not record.ended:
        return Start(again=True)
    return None


def _ended(record: Record | None) -> tuple[Step, ...]:
    if record is None or record.ended:
        return ()
    return (Note(replace(record, ended=True)),)


def _note(guest: FoundGuest, record: Record | None, machine: str) -> tuple[Step, ...]:
    """The record an agent that died right after the start could not write any more."""
    if record is not None and record.boot >= guest.boot and record.machine == machine and not record.ended:
        return ()
    return (Note(Record(boot=guest.boot, machine=machine)),)


def _nic_steps(guest: FoundGuest, vifs: tuple[VifPlan, ...], seen: Seen, *, keeps: bool) -> tuple[Step, ...]:
    """`keeps`: the guest lets no NIC go now, and what would take the place of one waits too."""
    planned = {vif.nic.port_id: vif for vif in vifs}
    inside = {nic.port_id: nic for nic in guest.nics}
    stays = {port_id for port_id, nic in inside.items() if _fits(nic, planned.get(port_id))}
    goes = tuple(nic for nic in guest.nics if nic.port_id not in stays)
    kept = goes if keeps else ()
    taken = {nic.port_id for nic in kept} | {nic.slot for nic in kept}
    comes = tuple(vif for vif in vifs if taken.isdisjoint((vif.nic.port_id, vif.nic.slot)))
    leftover = tuple(port_id for port_id in seen.vifs if port_id not in inside)
    changed = tuple(vif for vif in vifs if vif.nic.port_id in stays and seen.vifs.get(vif.nic.port_id) != vif)
    return (
        *((Clear(leftover),) if leftover else ()),
        *(UnplugNic(nic.port_id, nic.slot) for nic in goes if not keeps),
        *(PlugNic(vif) for vif in comes if vif.nic.port_id not in stays),
        *((UpdateVifs(changed),) if changed else ()),
    )


def _fits(nic: GuestNic, vif: VifPlan | None) -> bool:
    return vif is not None and (nic.slot, nic.mac_address) == (vif.nic.slot, vif.nic.mac_address)
