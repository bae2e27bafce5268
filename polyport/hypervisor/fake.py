"""A hypervisor without guests: the whole contract in memory, for tests of what is above it and for load.

    FakeHost        the machine: holds the guests, and outlives the agent
    FakeHypervisor  the driver: a new one over the same host finds the guests of the one before

It keeps every rule of the contract (the contract tests run on it too) and knows nothing of descriptors,
files or time.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from polyport.hypervisor import (
    FoundGuest,
    Guest,
    GuestNic,
    HypervisorFacts,
    NotRunning,
    OtherBoot,
    UnplugRefused,
)
from polyport.hypervisor.nics import MOST_NICS_PER_VCPU, NicsRefused, check_nics
from polyport.ids import PortId, ServerId

MOST_SLOTS = 248
MOST_CONSOLE_BYTES = 1 << 16


class FakeHost:
    """The guests, what each was started with, and what they wrote."""

    def __init__(self) -> None:
        self.guests: dict[ServerId, FoundGuest] = {}
        self.started: dict[ServerId, Guest] = {}
        self.consoles: dict[ServerId, bytes] = {}
        self.stubborn: set[ServerId] = set()
        """Servers whose guests do not let go of a NIC."""


class FakeHypervisor:
    """The `Hypervisor` protocol over a `FakeHost`.

    `before` is called first in every call, with the call's name; what it raises is what the call raises,
    and nothing has been done then.
    """

    def __init__(
        self,
        before: Callable[[str], Awaitable[None] | None] | None = None,
        *,
        host: FakeHost | None = None,
    ) -> None:
        self.host = host or FakeHost()
        self._before = before
        self._changed: Callable[[ServerId], None] | None = None

    async def open(self, changed: Callable[[ServerId], None]) -> HypervisorFacts:
        await self._call("open")
        self._changed = changed
        return HypervisorFacts(
            name="fake",
            version="1",
            accelerator="none",
            most_nics_per_vcpu=MOST_NICS_PER_VCPU,
            most_nic_slots=MOST_SLOTS,
            wants_disks=False,
        )

    async def close(self) -> None:
        await self._call("close")
        self._changed = None

    async def guests(self) -> Mapping[ServerId, FoundGuest]:
        await self._call("guests")
        return dict(self.host.guests)

    async def start(self, guest: Guest, directory: Path, taps: Mapping[PortId, int]) -> None:
        await self._call("start")
        if found := self.host.guests.get(guest.id):
            if found.boot == guest.boot:
                return
            raise OtherBoot(server_id=guest.id, boot=found.boot)
        self._check(guest, guest.nics)
        if missing := [nic.port_id for nic in guest.nics if nic.port_id not in taps]:
            raise NicsRefused(server_id=guest.id, reason=f"no tap came for port {missing[0]}")
        self.host.started[guest.id] = guest
        self.host.guests[guest.id] = FoundGuest(
            id=guest.id,
            power="running",
            boot=guest.boot,
            nic_slots=guest.nic_slots,
            nics=_in_slot_order(guest.nics),
        )
        line = f"guest {guest.id} started, boot {guest.boot}\r\n".encode()
        self.host.consoles[guest.id] = (self.host.consoles.get(guest.id, b"") + line)[-MOST_CONSOLE_BYTES:]

    async def stop(self, server_id: ServerId, *, grace: float = 0.0) -> None:
        await self._call("stop")
        self._end(server_id)

    async def pause(self, server_id: ServerId) -> None:
        await self._call("pause")
        self._power(server_id, "paused")

    async def resume(self, server_id: ServerId) -> None:
        await self._call("resume")
        self._power(server_id, "running")

    async def plug(self, server_id: ServerId, nic: GuestNic, tap: int) -> None:
        await self._call("plug")
        found = self._running(server_id)
        if nic in found.nics:
            return
        nics = (*found.nics, nic)
        self._check(self.host.started[server_id], nics)
        self.host.guests[server_id] = replace(found, nics=_in_slot_order(nics))

    async def unplug(self, server_id: ServerId, port_id: PortId) -> None:
        await self._call("unplug")
        found = self.host.guests.get(server_id)
        if found is None or all(nic.port_id != port_id for nic in found.nics):
            return
        if server_id in self.host.stubborn or found.power == "paused":
            reason = "it is paused" if found.power == "paused" else "it does not want to"
            raise UnplugRefused(server_id=server_id, port_id=port_id, reason=reason)
        nics = tuple(nic for nic in found.nics if nic.port_id != port_id)
        self.host.guests[server_id] = replace(found, nics=nics)

    def nic_address(self, slot: int) -> str | None:
        return None

    async def console_log(self, server_id: ServerId, directory: Path, most: int) -> bytes:
        await self._call("console_log")
        log = self.host.consoles.get(server_id, b"")
        return log[max(0, len(log) - most) :]

    def crash(self, server_id: ServerId) -> None:
        """End a guest as a power-off inside or a crash would; an agent that is there is told."""
        self._end(server_id)
        if self._changed:
            self._changed(server_id)

    async def _call(self, name: str) -> None:
        if self._before and (waiting := self._before(name)) is not None:
            await waiting

    def _end(self, server_id: ServerId) -> None:
        self.host.guests.pop(server_id, None)
        self.host.started.pop(server_id, None)

    def _power(self, server_id: ServerId, power: Literal["running", "paused"]) -> None:
        self.host.guests[server_id] = replace(self._running(server_id), power=power)

    def _running(self, server_id: ServerId) -> FoundGuest:
        found = self.host.guests.get(server_id)
        if found is None:
            raise NotRunning(server_id=server_id)
        return found

    def _check(self, guest: Guest, nics: tuple[GuestNic, ...]) -> None:
        check_nics(
            guest.id,
            vcpus=guest.vcpus,
            nic_slots=guest.nic_slots,
            most_nic_slots=MOST_SLOTS,
            nics=nics,
        )


def _in_slot_order(nics: tuple[GuestNic, ...]) -> tuple[GuestNic, ...]:
    return tuple(sorted(nics, key=lambda nic: nic.slot))
