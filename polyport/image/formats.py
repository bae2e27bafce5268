"""What the bytes of an image are, read from its beginning and end, and whether they may be booted.

A pure parser of bytes that a client chose: it trusts no number in them. A format that can name other files on the host
(qcow2 with a backing or data file, VMDK, VHD parents), hides what it is, or needs a key, is refused: a guest must
never read the host through its own image. Sources: QEMU's description of qcow2 (docs/interop/qcow2), and the
published magic numbers of the other formats.
"""

import struct
from typing import Literal

from msgspec import Struct

from polyport.errors import Invalid

HEAD_BYTES = 2 * 1024 * 1024
"""How much of the beginning `inspect` wants to see: the largest cluster of a qcow2 file, its header's place."""
TAIL_BYTES = 512

FileFormat = Literal["qcow2", "raw"]

DISK_FORMATS = ("raw", "qcow2", "iso", "ami", "aki", "ari")
CONTAINER_FORMATS = ("bare", "ami", "aki", "ari")

_QCOW_MAGIC = b"QFI\xfb"
_MOST_VIRTUAL_BYTES = 2**50
_KNOWN_INCOMPATIBLE = 0b11001  # dirty, compression type, extended L2 entries
_EXTERNAL_DATA = 0b100
_CORRUPT = 0b10
_END_OF_EXTENSIONS = 0
_REFUSED_EXTENSIONS = {
    0xE2792ACA: "it names the format of a backing file",
    0x44415441: "it names an external data file",
    0x0537BE77: "it is encrypted",
}

_AT_START: tuple[tuple[bytes, str], ...] = (
    (_QCOW_MAGIC, "qcow2"),
    (b"KDMV", "vmdk"),
    (b"COWD", "vmdk"),
    (b"# Disk DescriptorFile", "vmdk"),
    (b"conectix", "vhd"),
    (b"cxsparse", "vhd"),
    (b"vhdxfile", "vhdx"),
    (b"LUKS\xba\xbe", "luks"),
    (b"SKUL\xba\xbe", "luks"),
    (b"QED\0", "qed"),
    (b"WithoutFreeSpace", "ploop"),
    (b"WithouFreSpacExt", "ploop"),
    (b"Bochs Virtual HD Image", "bochs"),
    (b"#!/bin/sh\n#V2.0 Format", "cloop"),
    (b"OOOM\0OOOM\0", "uml"),
)
_VDI_MAGIC, _VDI_AT = b"\x7f\x10\xda\xbe", 64
_ISO_MAGIC, _ISO_AT = b"CD001", 0x8001


class UnusableData(Invalid):
    """The image data cannot be used: {reason}."""


class Found(Struct, frozen=True):
    """What an image file is."""

    file_format: FileFormat
    virtual_size: int
    """Bytes of the disk a guest sees."""


def inspect(disk_format: str, head: bytes, tail: bytes, size: int) -> Found:
    """What a file is whose first `HEAD_BYTES` are `head`, whose last `TAIL_BYTES` are `tail` and which is `size` bytes
    long (both parts are shorter where the file is). Raises `UnusableData` where it is not what `disk_format` says, or
    is not to be booted.
    """
    found = _format_of(head, tail)
    if disk_format == "qcow2":
        if found != "qcow2":
            raise UnusableData(reason=f"it was declared qcow2 but is {found}")
        return Found("qcow2", _check_qcow2(head))
    if disk_format == "iso" and found != "iso":
        raise UnusableData(reason=f"it was declared iso but is {found}")
    if found not in ("raw", "iso"):
        raise UnusableData(reason=f"it was declared {disk_format} but is {found}")
    return Found("raw", size)


def _format_of(head: bytes, tail: bytes) -> str:
    for magic, name in _AT_START:
        if head.startswith(magic):
            return name
    if head[_VDI_AT : _VDI_AT + 4] == _VDI_MAGIC:
        return "vdi"
    if len(tail) == TAIL_BYTES:
        if tail.startswith(b"conectix"):
            return "vhd"
        if tail.startswith(b"koly"):
            return "dmg"
    if head[_ISO_AT : _ISO_AT + len(_ISO_MAGIC)] == _ISO_MAGIC:
        return "iso"
    return "raw"


def _check_qcow2(head: bytes) -> int:
    """The virtual size of a qcow2 file that stands on its own. Raises `UnusableData`."""
    if len(head) < 72:
        raise UnusableData(reason="its qcow2 header is cut short")
    version, backing_at, backing_bytes, cluster_bits, virtual, crypt = struct.unpack_from(">IQIIQI", head, 4)
    if version not in (2, 3):
        raise UnusableData(reason=f"qcow2 version {version} is not known")
    if backing_at or backing_bytes:
        raise UnusableData(reason="it has a backing file")
    if crypt:
        raise UnusableData(reason="it is encrypted")
    if not 9 <= cluster_bits <= 21:
        raise UnusableData(reason=f"a cluster of 2^{cluster_bits} bytes is not possible")
    if not 0 < virtual <= _MOST_VIRTUAL_BYTES:
        raise UnusableData(reason=f"a disk of {virtual} bytes is not possible")
    cluster = 1 << cluster_bits
    header = 72 if version == 2 else _check_version_3(head, cluster)
    _check_extensions(head, header, cluster)
    return int(virtual)


def _check_version_3(head: bytes, cluster: int) -> int:
    """The length of a version 3 header."""
    if len(head) < 104:
        raise UnusableData(reason="its qcow2 header is cut short")
    (incompatible,) = struct.unpack_from(">Q", head, 72)
    (length,) = struct.unpack_from(">I", head, 100)
    if incompatible & _EXTERNAL_DATA:
        raise UnusableData(reason="it has an external data file")
    if incompatible & _CORRUPT:
        raise UnusableData(reason="it is marked as corrupt")
    if incompatible & ~_KNOWN_INCOMPATIBLE:
        raise UnusableData(reason=f"its incompatible features {incompatible:#x} are not known")
    if not 104 <= length <= min(cluster, len(head)) or length % 8:
        raise UnusableData(reason=f"a qcow2 header of {length} bytes is not possible")
    if length > 104 and head[104] > 1:
        raise UnusableData(reason=f"its compression type {head[104]} is not known")
    return int(length)


def _check_extensions(head: bytes, at: int, cluster: int) -> None:
    """Walk the header extensions as QEMU does: up to an end mark or the end of the first cluster."""
    end = min(cluster, len(head))
    while at + 8 <= end:
        kind, length = struct.unpack_from(">II", head, at)
        if kind == _END_OF_EXTENSIONS:
            return
        if kind in _REFUSED_EXTENSIONS:
            raise UnusableData(reason=_REFUSED_EXTENSIONS[kind])
        at += 8
        if length > end - at:
            raise UnusableData(reason="an extension of its qcow2 header is longer than the header's place")
        at += -(-length // 8) * 8
