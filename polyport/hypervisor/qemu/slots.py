"""NIC slot -> PCI place. Pure, and for life: a slot's place depends on nothing but its number.

    pcie.0 -+- 02.0 port1 --- bridge1 -+- device  1: slot  1
            |                          +- ...
            |                          +- device 31: slot 31
            +- 03.0 port2 --- bridge2 -+- device  1: slot 32 ...
            +- ...          up to bridge8: slot 248
            +- 18.0 ... 1b.0 disks, 1c.0 virtio-serial, 1d.0 entropy

A bridge with 31 free places costs a guest no boot time, where 31 spare root ports would; and Linux visits
the devices in the order of buses and device numbers, so the order of slots is the order of NICs in the
guest. Nothing but NICs stands behind the bridges, and all else stands on the root bus above them, so that
no disk can move a NIC.
"""

from typing import NamedTuple

from polyport.hypervisor import HypervisorError

SLOTS_PER_BRIDGE = 31
"""Device numbers 1 to 31; the bridge keeps 0 for its own hot-plug controller."""
MOST_BRIDGES = 8
MOST_SLOTS = MOST_BRIDGES * SLOTS_PER_BRIDGE
MOST_DISKS = 4
FIRST_PORT_DEVICE = 0x02
FIRST_DISK_DEVICE = 0x18
SERIAL_DEVICE = 0x1C
ENTROPY_DEVICE = 0x1D


class NoSuchSlot(HypervisorError):
    """There is no NIC slot {slot}: slots are 1 to {most}."""


class TooManyDisks(HypervisorError):
    """A guest has {most} disks at most, not {count}."""


class Place(NamedTuple):
    """Where a device sits: the id of its bus and its device number there (function 0 always)."""

    bus: str
    device: int


def bridges_for(nic_slots: int) -> int:
    """How many bridges give this many slots. Raises `NoSuchSlot` beyond the most there can be."""
    if nic_slots > MOST_SLOTS:
        raise NoSuchSlot(slot=nic_slots, most=MOST_SLOTS)
    return -(-nic_slots // SLOTS_PER_BRIDGE)


def port_place(bridge: int) -> Place:
    """Where the root port of a bridge sits; bridges count from 1."""
    return Place("pcie.0", FIRST_PORT_DEVICE + bridge - 1)


def nic_place(slot: int) -> Place:
    """Where the NIC of a slot sits; slots count from 1. Raises `NoSuchSlot`."""
    if not 1 <= slot <= MOST_SLOTS:
        raise NoSuchSlot(slot=slot, most=MOST_SLOTS)
    bridge, device = divmod(slot - 1, SLOTS_PER_BRIDGE)
    return Place(f"bridge{bridge + 1}", device + 1)


def nic_address(slot: int) -> str:
    """The PCI address of the NIC of a slot in the guest. Raises `NoSuchSlot`.

    Root ports and bridges are numbered by the firmware as it finds them, each port followed by its bridge: 1 and 2,
    3 and 4, and so on. Nothing else in the machine takes a bus number.
    """
    place = nic_place(slot)
    return f"0000:{2 * int(place.bus.removeprefix('bridge')):02x}:{place.device:02x}.0"


def disk_place(index: int) -> Place:
    """Where a disk sits; disks count from 0. Raises `TooManyDisks`."""
    if not 0 <= index < MOST_DISKS:
        raise TooManyDisks(most=MOST_DISKS, count=index + 1)
    return Place("pcie.0", FIRST_DISK_DEVICE + index)
