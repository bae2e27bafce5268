"""Guest -> the argument list QEMU is started with. Pure; `tests/golden/qemu` shows what comes out.

All file names but those of disks and kernels are relative to the server's directory, QEMU's working
directory: a Unix socket's address is too short for a long path. Devices and disks are given as JSON, so
that no character of a value has a meaning of its own; a NIC is given by the same words at start and at
hot-plug.

Reference: qemu(1); QEMU's QMP reference manual for the JSON forms.
"""

import json
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from polyport.hypervisor import Guest, GuestDisk, GuestNic
from polyport.hypervisor.qemu import console, process, qmp, slots
from polyport.ids import PortId

AGENT_PORT = "org.polyport.agent.0"
"""Name of the virtio-serial port through which a guest can be asked to run commands, where it cares to."""
AGENT_SOCKET = "agent.sock"
SERIAL_SOCKET = "serial.sock"
SOCKETS = (qmp.SOCKET, qmp.DEBUG_SOCKET, AGENT_SOCKET, SERIAL_SOCKET)
KERNEL_ARGUMENTS = "root=/dev/vda console=tty0 console=ttyS0"
"""What a kernel is told where the image says nothing."""
TRANSLATION_MB = 64
"""Cache of translated code. A Linux that boots fills 57 MiB of it; one of 32 was thrown away twice on the way. The
emulator's own default grows to hundreds of megabytes per guest."""
EMULATED_CPU = "max,la57=off"
"""All an emulated CPU can do, but for a fifth level of page tables: it makes each look-up longer, and is there for
machines with more than 64 TiB of memory."""


class Machine(Struct, frozen=True, kw_only=True):
    """What the host adds to a guest's own wishes."""

    emulator: str
    accelerator: Literal["kvm", "tcg"]
    vhost: bool = False
    """Whether the kernel carries the frames between tap and guest (it needs /dev/vhost-net)."""
    run_as: str = ""
    """`uid:gid` QEMU drops to; empty: it stays who it is."""


def nic_id(nic: GuestNic) -> str:
    """The id of a NIC's device in QEMU; `read_nic_id` reads it back."""
    return f"nic-{nic.slot}-{nic.port_id}"


def netdev_id(nic: GuestNic) -> str:
    """The id of the host's side of a NIC in QEMU, and of its descriptor while it is handed over."""
    return f"tap-{nic.slot}-{nic.port_id}"


def vhost_id(nic: GuestNic) -> str:
    """The id of a NIC's vhost-net descriptor while it is handed over."""
    return f"vhost-{nic.slot}-{nic.port_id}"


def netdev(nic: GuestNic, *, vhost: bool) -> dict[str, object]:
    """The host's side of a NIC as `netdev_add` wants it, its descriptors having been handed over."""
    found: dict[str, object] = {"type": "tap", "id": netdev_id(nic), "fd": netdev_id(nic), "vhost": vhost}
    # By force, because a QEMU that cannot have a vhost it could do without ends itself (seen with 7.2).
    return found | ({"vhostfd": vhost_id(nic), "vhostforce": True} if vhost else {})


def read_nic_id(device: str) -> tuple[int, PortId] | None:
    """Slot and port id of a device; None where it is not a NIC."""
    kind, _, rest = device.partition("-")
    slot, _, port_id = rest.partition("-")
    return (int(slot), PortId(port_id)) if kind == "nic" and slot.isdecimal() and port_id else None


def nic_device(nic: GuestNic) -> dict[str, object]:
    """A NIC as `-device` and `device_add` want it."""
    place = slots.nic_place(nic.slot)
    device: dict[str, object] = {
        "driver": "virtio-net-pci",
        "id": nic_id(nic),
        "netdev": netdev_id(nic),
        "mac": nic.mac_address,
        "bus": place.bus,
        "addr": f"{place.device:#04x}",
        "acpi-index": nic.slot,
        "disable-legacy": "on",
        "romfile": "",
    }
    if nic.mtu != 1500:
        device["host_mtu"] = nic.mtu
    return device


def argv(guest: Guest, machine: Machine, *, monitor: int, taps: Mapping[PortId, int]) -> list[str]:
    """The argument list of a guest; `monitor` is the descriptor of a listening socket, `taps` are the NICs'
    descriptors.

    Raises `NoSuchSlot` and `TooManyDisks`.
    """
    return [
        *_machine(guest, machine),
        *_identity(guest),
        *_control(monitor),
        *_bridges(guest.nic_slots),
        *_serial(),
        *(word for index, disk in enumerate(guest.disks) for word in _disk(index, disk)),
        *_kernel(guest),
        *(word for nic in guest.nics for word in _nic(nic, taps[nic.port_id], machine.vhost)),
    ]


def _machine(guest: Guest, machine: Machine) -> list[str]:
    if machine.accelerator == "kvm":
        accelerator, cpu = "kvm", "host"
    else:
        accelerator, cpu = f"tcg,tb-size={TRANSLATION_MB}", EMULATED_CPU
    # QEMU changes its user after the sandbox stands, so that one right must be left to it where it shall.
    privileges = "allow" if machine.run_as else "deny"
    return [
        machine.emulator,
        "-nodefaults",
        "-no-user-config",
        *("-machine", "q35,graphics=off"),  # no graphics: the firmware too speaks on the serial line
        *("-accel", accelerator),
        *("-cpu", cpu),
        *("-smp", str(guest.vcpus)),
        *("-m", f"{guest.memory_mb}M"),
        *("-display", "none"),
        *("-rtc", "base=utc"),
        *("-msg", "timestamp=on"),
        *("-pidfile", process.PID),
        *("-sandbox", f"on,obsolete=deny,elevateprivileges={privileges},spawn=deny,resourcecontrol=deny"),
        *(("-runas", machine.run_as) if machine.run_as else ()),
    ]


def _identity(guest: Guest) -> list[str]:
    # cloud-init looks for the metadata service only where the product has this name.
    facts = {
        "manufacturer": "OpenStack Foundation",
        "product": "OpenStack Nova",
        "serial": guest.id,
        "uuid": guest.id,
        "family": "Virtual Machine",
    }
    return [
        *("-name", f"guest={_escaped(guest.id)}"),
        *("-uuid", guest.id),
        *("-smbios", "type=1," + ",".join(f"{key}={_escaped(value)}" for key, value in facts.items())),
    ]


def _control(monitor: int) -> list[str]:
    return [
        *("-chardev", f"socket,id=monitor,fd={monitor},server=on,wait=off"),
        *("-mon", "chardev=monitor,mode=control"),
        *("-chardev", f"socket,id=debug,path={qmp.DEBUG_SOCKET},server=on,wait=off"),
        *("-mon", "chardev=debug,mode=control"),
    ]


def _bridges(nic_slots: int) -> list[str]:
    words = ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=on"]
    for number in range(1, slots.bridges_for(nic_slots) + 1):
        place = slots.port_place(number)
        port = {
            "driver": "pcie-root-port",
            "id": f"port{number}",
            "bus": place.bus,
            "addr": f"{place.device:#04x}",
            "chassis": number,
        }
        bridge = {
            "driver": "pcie-pci-bridge",
            "id": f"bridge{number}",
            "bus": f"port{number}",
            "addr": "0x00",
        }
        words += [*_device(port), *_device(bridge)]
    return words


def _serial() -> list[str]:
    port = {"driver": "virtserialport", "bus": "agents.0", "nr": 1, "chardev": "agent", "name": AGENT_PORT}
    return [
        *(
            "-chardev",
            f"socket,id=console,path={SERIAL_SOCKET},server=on,wait=off,logfile={console.LOG},logappend=on",
        ),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=agent,path={AGENT_SOCKET},server=on,wait=off"),
        *_device(_on_root({"driver": "virtio-serial-pci", "id": "agents"}, slots.SERIAL_DEVICE)),
        *_device(port),
        *("-object", "rng-builtin,id=entropy"),
        *_device(_on_root({"driver": "virtio-rng-pci", "rng": "entropy"}, slots.ENTROPY_DEVICE)),
    ]


def _disk(index: int, disk: GuestDisk) -> list[str]:
    node = {
        "node-name": f"disk{index}",
        "driver": disk.file_format,
        "read-only": disk.read_only,
        "discard": "unmap",
        "file": {"driver": "file", "filename": str(disk.path)},
    }
    device: dict[str, object] = {"driver": "virtio-blk-pci", "drive": f"disk{index}", "serial": disk.serial}
    if index == 0:
        device["bootindex"] = 1
    return ["-blockdev", _json(node), *_device(_on_root(device, slots.disk_place(index).device))]


def _kernel(guest: Guest) -> list[str]:
    if guest.kernel is None:
        return []
    return [
        *("-kernel", str(guest.kernel)),
        *(("-initrd", str(guest.ramdisk)) if guest.ramdisk else ()),
        *("-append", guest.kernel_arguments or KERNEL_ARGUMENTS),
    ]


def _nic(nic: GuestNic, tap: int, vhost: bool) -> list[str]:
    netdev = f"tap,id={_escaped(netdev_id(nic))},fd={tap},vhost={'on' if vhost else 'off'}"
    return ["-netdev", netdev, *_device(nic_device(nic))]


def _on_root(device: dict[str, object], number: int) -> dict[str, object]:
    return device | {"bus": "pcie.0", "addr": f"{number:#04x}"}


def _device(device: Mapping[str, object]) -> list[str]:
    return ["-device", _json(device)]


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _escaped(value: str) -> str:
    """A value in one of QEMU's key=value lists, where a comma ends a value and two are one."""
    return value.replace(",", ",,")
