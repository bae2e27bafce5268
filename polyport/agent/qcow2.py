"""Empty qcow2 disks, as the few clusters they begin with.

    header, backing file's name | reference counts, 1st level | 2nd level | table of data clusters, all absent

A tool that is started for these bytes takes longer than all else that is done to a disk before its guest starts.
The layout: "qcow2 image format", docs/interop in QEMU's sources.
"""

import struct
from pathlib import Path
from typing import Literal

MAGIC = b"QFI\xfb"
SECTOR = 512
MOST_SIZE = 1 << 51
"""In bytes: the table of a larger disk QEMU would refuse."""
MOST_NAME = 1023
"""Octets of a backing file's name."""

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_BYTES_PER_ENTRY = _CLUSTER * _CLUSTER // 8
"""What one entry of the table stands for: a cluster of entries of 8 octets, each standing for a cluster of data."""
_VERSION = 3
_REFERENCE_BITS = 4
"""The logarithm of a reference count's width."""
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_BACKING_FORMAT = 0xE2792ACA


def empty_disk(size: int, backing: tuple[Path, Literal["qcow2", "raw"]] | None) -> bytes:
    """The whole file of a disk of `size` bytes, nothing written yet, on a backing file and its format.

    Raises ValueError where the format cannot hold that.
    """
    if size > MOST_SIZE:
        raise ValueError(f"{size} bytes are more than {MOST_SIZE}")
    name, extension = b"", b""
    if backing is not None:
        name, file_format = bytes(backing[0]), backing[1].encode()
        extension = struct.pack(">II8s", _BACKING_FORMAT, len(file_format), file_format)
    if len(name) > MOST_NAME:
        raise ValueError(f"the backing file's name has more than {MOST_NAME} octets")
    extension += bytes(8)
    entries = -(-size // _BYTES_PER_ENTRY)
    clusters = 3 + -(-entries * 8 // _CLUSTER)
    header = _HEADER.pack(
        MAGIC,
        _VERSION,
        _HEADER.size + len(extension) if name else 0,
        len(name),
        _CLUSTER_BITS,
        -(-size // SECTOR) * SECTOR,
        0,  # not encrypted
        entries,
        3 * _CLUSTER,
        1 * _CLUSTER,
        1,
        0,  # no snapshots
        0,
        0,  # no features beyond
        0,
        0,
        _REFERENCE_BITS,
        _HEADER.size,
    )
    return b"".join(
        (
            (header + extension + name).ljust(_CLUSTER, b"\0"),
            struct.pack(">Q", 2 * _CLUSTER).ljust(_CLUSTER, b"\0"),
            (struct.pack(">H", 1) * clusters).ljust(_CLUSTER, b"\0"),
            bytes((clusters - 3) * _CLUSTER),
        )
    )
