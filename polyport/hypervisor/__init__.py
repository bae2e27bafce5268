"""What a hypervisor driver must do, and the table of the drivers there are.

A driver runs guests; it knows nothing of networks, plans or the API. Calls are idempotent by server id and raise
`HypervisorError` when the thing asked for could not be had; after an error nothing of that call is left.

    start ----> running <--- resume          A guest that ends by itself (power-off inside, crash) is noticed:
      ^            |  \\-- pause --> paused   the `changed` callback given to `open` is called with its server id,
      |            v                         and `guests` tells the new state.
    (nothing) <-- stop

Guests outlive the agent. `open` finds them again; `guests` is the whole truth about them at any time.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from polyport.errors import HostError
from polyport.ids import PortId, ServerId


class HypervisorError(HostError):
    """The hypervisor could not do what was asked of it."""


class NotRunning(HypervisorError):
    """Server {server_id} does not run on this host."""


class OtherBoot(HypervisorError):
    """Server {server_id} still runs with boot number {boot}."""


class UnplugRefused(HypervisorError):
    """The guest of server {server_id} does not let go of NIC {port_id}: {reason}."""


class GuestNic(Struct, frozen=True, kw_only=True):
    """A NIC as the guest sees it. `slot` decides its PCI place and its acpi-index, and nothing else does."""

    port_id: PortId
    slot: int
    mac_address: str
    mtu: int = 1500


class GuestDisk(Struct, frozen=True, kw_only=True):
    path: Path
    file_format: Literal["qcow2", "raw"]
    serial: str
    """What the guest reads as the disk's serial number: `root` or `config`."""
    read_only: bool = False


class Guest(Struct, frozen=True, kw_only=True):
    """Everything a guest is started with."""

    id: ServerId
    name: str
    boot: int
    """The plan's boot number; kept with the guest, so that an agent which adopts it knows what it runs."""
    vcpus: int
    memory_mb: int
    disks: tuple[GuestDisk, ...] = ()
    kernel: Path | None = None
    ramdisk: Path | None = None
    kernel_arguments: str = ""
    nic_slots: int
    nics: tuple[GuestNic, ...] = ()


class FoundGuest(Struct, frozen=True, kw_only=True):
    """A guest that exists on this host now."""

    id: ServerId
    power: Literal["running", "paused"]
    boot: int
    nic_slots: int
    nics: tuple[GuestNic, ...]
    """In slot order; the truth of the running guest (a NIC whose removal the guest has not yet agreed to is in it)."""


class HypervisorFacts(Struct, frozen=True, kw_only=True):
    """What this hypervisor is and can do."""

    name: str
    version: str
    accelerator: str
    most_nics_per_vcpu: int
    """Interrupt vectors bound this on x86: about 48 virtio NICs for each vCPU."""
    most_nic_slots: int
    wants_disks: bool
    """False where guests need no bytes (the fake): the agent then prepares no disk and no config drive."""


class Hypervisor(Protocol):
    """A driver. `directory` is the server's own directory, made by the agent and removed by it after `stop`."""

    async def open(self, changed: Callable[[ServerId], None]) -> HypervisorFacts:
        """Get ready, and adopt the guests that run already. Called once, before anything else."""

    async def close(self) -> None:
        """Let go of the guests without stopping them."""

    async def guests(self) -> Mapping[ServerId, FoundGuest]:
        """The guests that exist now."""

    async def start(self, guest: Guest, directory: Path, taps: Mapping[PortId, int]) -> None:
        """Start a guest; `taps` holds an open tap descriptor for each NIC, which stays the caller's to close.

        Returns when the guest's CPUs run. Does nothing where the guest runs with this `boot` number already.
        """

    async def stop(self, server_id: ServerId, *, grace: float = 0.0) -> None:
        """End a guest, asking its system to power off first and waiting `grace` seconds where that is above zero."""

    async def pause(self, server_id: ServerId) -> None: ...

    async def resume(self, server_id: ServerId) -> None: ...

    async def plug(self, server_id: ServerId, nic: GuestNic, tap: int) -> None:
        """Add a NIC to a running guest; `tap` stays the caller's to close. No-op where it is there already."""

    async def unplug(self, server_id: ServerId, port_id: PortId) -> None:
        """Take a NIC from a running guest and wait until it is gone. No-op where it is not there.

        The guest has to agree; a guest that does not raises `HypervisorError`, and the NIC stays whole.
        """

    def nic_address(self, slot: int) -> str | None:
        """Where a guest sees the NIC of a slot (`0000:02:01.0`); None where that is not known beforehand."""

    async def console_log(self, server_id: ServerId, directory: Path, most: int) -> bytes:
        """The last `most` bytes the guest wrote to its console, also of a stopped guest."""


DRIVERS = {
    "qemu": "polyport.hypervisor.qemu.driver:QemuHypervisor",
    "fake": "polyport.hypervisor.fake:FakeHypervisor",
}
"""Driver name -> where its class is. Chosen here, in the open, by the configuration's `hypervisor.driver`."""
