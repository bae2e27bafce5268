"""Which NICs a guest may have: the checks every driver makes before it touches anything.

The cloud half makes them too, when it takes a request; here they keep a host from trying what cannot work.
"""

from collections.abc import Iterable

from polyport.hypervisor import GuestNic, HypervisorError
from polyport.ids import ServerId

MOST_NICS_PER_VCPU = 48
"""Each virtio NIC takes 4 interrupt vectors, and an x86 CPU has about 200 for devices: the 49th NIC of a
guest with one vCPU is there, but its driver fails (Linux: "probe failed with error -28")."""


class NicsRefused(HypervisorError):
    """Server {server_id} cannot have these NICs: {reason}."""


def check_nics(
    server_id: ServerId, *, vcpus: int, nic_slots: int, most_nic_slots: int, nics: Iterable[GuestNic]
) -> None:
    """Raise `NicsRefused` unless a guest with this many vCPUs and NIC slots can have these NICs, all
    together."""

    def refuse(reason: str) -> NicsRefused:
        return NicsRefused(server_id=server_id, reason=reason)

    if not 0 <= nic_slots <= most_nic_slots:
        raise refuse(f"{nic_slots} NIC slots were asked for, and 0 to {most_nic_slots} can be had")
    slots: set[int] = set()
    ports: set[str] = set()
    for nic in nics:
        if not 1 <= nic.slot <= nic_slots:
            raise refuse(f"slot {nic.slot} is not one of its {nic_slots} slots")
        if nic.slot in slots:
            raise refuse(f"slot {nic.slot} is taken")
        if nic.port_id in ports:
            raise refuse(f"port {nic.port_id} is there already")
        slots.add(nic.slot)
        ports.add(nic.port_id)
    most = MOST_NICS_PER_VCPU * vcpus
    if len(slots) > most:
        raise refuse(f"{len(slots)} NICs need more than its {vcpus} vCPUs, which serve {most} NICs at most")
