"""Just enough of rtnetlink to make, change, list and remove links (linux/rtnetlink.h, linux/if_link.h).

A general library spends four times as long on one of these messages as the kernel, and a second on listing
thousands of links; a plug is a handful of messages, and is waited for.
"""

import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER = 1, 3, 4, 10
IFLA_LINKINFO, IFLA_STATS64, IFLA_GROUP, IFLA_EXT_MASK = 18, 23, 27, 29
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_BR_MCAST_SNOOPING = 23

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, _RTM_NEWADDR = 16, 17, 18, 20
NLM_F_CREATE, NLM_F_EXCL, _NLM_F_REPLACE = 0x400, 0x200, 0x100

_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
NLM_F_DUMP_INTR, _ACK_HAS_ATTRIBUTES = 0x10, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
_SKIP_STATS = 1 << 3
_IFF_UP = 1
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_ACK_TEXT = 1

HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_IFA_LOCAL = 2
_SCOPE_LINK = 253


class Link(NamedTuple):
    number: int
    name: str
    master: int
    """The number of the bridge it is on; 0 for none."""


def attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode("ascii") + b"\0")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, place)
        yield kind & 0x3FFF, data[place + 4 : place + size]
        place += (max(size, 4) + 3) & ~3


def messages(sock: socket.socket, sequence: int) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and body of each message that comes in answer to the request of this number. It is the caller's to
    end at `NLMSG_DONE` or `NLMSG_ERROR`: more is waited for."""
    while True:
        data = sock.recv(1 << 18)
        place = 0
        while place < len(data):
            size, kind, flags, answered, _ = HEADER.unpack_from(data, place)
            part = data[place + HEADER.size : place + size]
            place += (size + 3) & ~3
            if answered == sequence:
                yield kind, flags, part


class Route:
    """A netlink socket in the network namespace of the current thread. Its calls raise OSError as the kernel does."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        # Answers without the request in them, and with the kernel's own words where it has some.
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def change(self, kind: int, *details: bytes, index: int = 0, up: bool | None = None, flags: int = 0) -> None:
        """Do something to a link: `kind` is RTM_NEWLINK (make, with NLM_F_CREATE, or change) or RTM_DELLINK."""
        head = _LINK.pack(0, 0, index, _IFF_UP if up else 0, 0 if up is None else _IFF_UP)
        for _ in self._ask(kind, _ACK | flags, head + b"".join(details)):
            pass

    def address(self, index: int, address: bytes) -> None:
        """Give a link an IPv4 address, alone in its network; nothing where it has it."""
        head = _ADDRESS.pack(socket.AF_INET, 32, 0, _SCOPE_LINK, index)
        flags = _ACK | NLM_F_CREATE | _NLM_F_REPLACE
        self._ask(_RTM_NEWADDR, flags, head + attribute(_IFA_LOCAL, address))

    def links(self) -> list[Link]:
        """Every link there is."""
        while True:
            found: list[Link] = []
            whole = True
            request = _LINK.pack(0, 0, 0, 0, 0) + number(IFLA_EXT_MASK, _SKIP_STATS)
            for flags, body in self._ask(RTM_GETLINK, _DUMP, request):
                whole = whole and not flags & NLM_F_DUMP_INTR
                details = dict(attributes(body[_LINK.size :]))
                name = details[IFLA_IFNAME].rstrip(b"\0").decode("ascii", "replace")
                master = int.from_bytes(details.get(IFLA_MASTER, b""), "little")
                found.append(Link(_LINK.unpack_from(body)[2], name, master))
            # Links came or went meanwhile, and some may have been passed over.
            if whole:
                return found

    def statistics(self, index: int) -> tuple[int, int, int, int, int]:
        """Packets received and sent, octets received and sent, packets that were not sent for want of room."""
        for _, body in self._ask(RTM_GETLINK, _ACK, _LINK.pack(0, 0, index, 0, 0)):
            for kind, value in attributes(body[_LINK.size :]):
                if kind == IFLA_STATS64:
                    packets_in, packets_out, octets_in, octets_out, *_, dropped_out = struct.unpack_from("=8Q", value)
                    return packets_in, packets_out, octets_in, octets_out, dropped_out
        raise OSError(f"the kernel tells no statistics of link {index}")

    def _ask(self, kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
        """Flags and body of every message that answers."""
        self._sequence += 1
        self._socket.send(HEADER.pack(HEADER.size + len(body), kind, _REQUEST | flags, self._sequence, 0) + body)
        answers: list[tuple[int, bytes]] = []
        for kind, flags, part in messages(self._socket, self._sequence):
            if kind == NLMSG_ERROR:
                _raise(part, flags)
            if kind in (NLMSG_ERROR, NLMSG_DONE):
                break
            answers.append((flags, part))
        return answers


def _raise(part: bytes, flags: int) -> None:
    (code,) = struct.unpack_from("=i", part)
    if code == 0:
        return
    words = os.strerror(-code)
    if flags & _ACK_HAS_ATTRIBUTES:
        for kind, value in attributes(part[4 + HEADER.size :]):
            if kind == _ACK_TEXT:
                words += ": " + value.rstrip(b"\0").decode("utf-8", "replace")
    raise OSError(-code, words)
