"""Frames of a port as somebody looks at them, and the form they are handed out in: a classic pcap stream.

    header | record | record | ...        header: 24 octets; record: 16 octets and the frame, cut to the snaplen

Times are in nanoseconds (magic 0xa1b23c4d), the link type is Ethernet. Source: the Internet-Draft "PCAP Capture File
Format" (draft-ietf-opsawg-pcap).
"""

import struct
from typing import Literal, NamedTuple, Protocol, TypeAlias

MEDIA_TYPE = "application/vnd.tcpdump.pcap"
"""As IANA has it."""

Direction: TypeAlias = Literal["ingress", "egress"]
"""As in rules of security groups: ingress goes to the guest, egress comes from it."""

HEADER_SIZE = 24

_MAGIC_NANOSECONDS = 0xA1B23C4D
_VERSION = (2, 4)
_LINKTYPE_ETHERNET = 1
_SECOND = 1_000_000_000
_HEADER = struct.Struct("<IHHiIII")
_RECORD = struct.Struct("<IIII")


class Frame(NamedTuple):
    time: int
    """Nanoseconds since 1970."""
    data: bytes
    """From the Ethernet header on, cut to the capture's snaplen."""
    length: int
    """Octets of the whole frame."""
    direction: Direction


class Capture(Protocol):
    """Frames of one port, from the moment it was opened. Whoever opened it closes it."""

    async def read(self) -> list[Frame]:
        """Wait for frames and return some, in their order; none when the port is not plugged any more: the end."""

    def lost(self) -> int:
        """How many frames could not be kept until they were read, since the last call."""

    def close(self) -> None:
        """Let go at once. No-op where it was closed before."""


def header(snaplen: int) -> bytes:
    """What a stream begins with. No frame in it may have more than `snaplen` octets."""
    return _HEADER.pack(_MAGIC_NANOSECONDS, *_VERSION, 0, 0, snaplen, _LINKTYPE_ETHERNET)


def record(frame: Frame) -> bytes:
    """One frame in the stream."""
    seconds, nanoseconds = divmod(frame.time, _SECOND)
    return _RECORD.pack(seconds & 0xFFFFFFFF, nanoseconds, len(frame.data), frame.length) + frame.data
