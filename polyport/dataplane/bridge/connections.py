"""Just enough of ctnetlink to list and to cut tracked connections (linux/netfilter/nfnetlink_conntrack.h)."""

import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from polyport.dataplane import DataplaneError
from polyport.dataplane.bridge.rtnetlink import attribute, attributes

_NETFILTER = 12
_GET, _DELETE, _GET_STATISTICS = (1 << 8) | 1, (1 << 8) | 2, (1 << 8) | 5
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_TUPLE, _ID, _ZONE = 1, 12, 18
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_IP4, _IP6 = (1, 2), (3, 4)
_NUMBER, _TARGET_PORT = 1, 3
_COUNT = 1
_ICMP, _ICMP6 = (5, 6), (8, 9)

_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=BBH")

Address = IPv4Address | IPv6Address


class ConnectionsUnknown(DataplaneError):
    """The kernel does not tell which connections it tracks (Linux: CONFIG_NF_CT_NETLINK): {reason}."""


class Connection(NamedTuple):
    """A connection, as its first packet was."""

    source: Address
    target: Address
    protocol: int
    port: int
    """The target's port; the type, for ICMP."""
    code: int
    family: int
    key: bytes
    """By which the kernel knows it."""


class Connections:
    """Those of the network namespace of the current thread."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def of_zone(self, zone: int) -> list[Connection]:
        """Raises `ConnectionsUnknown`."""
        wanted = zone.to_bytes(2, "big")
        try:
            # For a list the kernel walks the whole machine's table: 15 ms, also where nothing in it is ours.
            if not self._count():
                return []
            # Kernels before 6.8 tell of every zone, whichever is asked for.
            answers = self._ask(_GET, _DUMP, 0, attribute(_ZONE, wanted))
        except OSError as error:
            raise ConnectionsUnknown(reason=error.strerror or error) from error
        found = []
        for body in answers:
            details = dict(attributes(body[_FAMILY.size :]))
            if details.get(_ZONE, b"\0\0") == wanted and (connection := _read(body[0], details)) is not None:
                found.append(connection)
        return found

    def cut(self, connections: list[Connection]) -> int:
        """Forget these; how many there still were. Raises `ConnectionsUnknown`."""
        count = 0
        for connection in connections:
            try:
                self._ask(_DELETE, _ACK, connection.family, connection.key)
                count += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ConnectionsUnknown(reason=error.strerror or error) from error
        return count

    def _count(self) -> int:
        """How many connections of this namespace are tracked, in all zones."""
        (answer,) = self._ask(_GET_STATISTICS, _ACK, 0, b"")
        return int.from_bytes(dict(attributes(answer[_FAMILY.size :]))[_COUNT], "big")

    def _ask(self, kind: int, flags: int, family: int, body: bytes) -> list[bytes]:
        self._sequence += 1
        body = _FAMILY.pack(family, 0, 0) + body
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, self._sequence, 0) + body)
        answers: list[bytes] = []
        while True:
            for kind, part in self._parts(self._socket.recv(1 << 18)):
                if kind == _ERROR:
                    (code,) = struct.unpack_from("=i", part)
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return answers
                if kind == _DONE:
                    return answers
                answers.append(part)

    def _parts(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        place = 0
        while place < len(data):
            size, kind, _, sequence, _ = _HEADER.unpack_from(data, place)
            if sequence == self._sequence:
                yield kind, data[place + _HEADER.size : place + size]
            place += (size + 3) & ~3


def _read(family: int, details: dict[int, bytes]) -> Connection | None:
    parts = dict(attributes(details[_TUPLE]))
    ip, protocol = dict(attributes(parts[_TUPLE_IP])), dict(attributes(parts[_TUPLE_PROTOCOL]))
    source, target = _IP4 if family == socket.AF_INET else _IP6
    if source not in ip or target not in ip:
        return None
    kind, code = next((pair for pair in (_ICMP, _ICMP6) if pair[0] in protocol), (_TARGET_PORT, 0))
    key = attribute(_TUPLE | _NESTED, details[_TUPLE]) + attribute(_ZONE, details.get(_ZONE, b"\0\0"))
    return Connection(
        source=_address(ip[source]),
        target=_address(ip[target]),
        protocol=protocol[_NUMBER][0],
        port=int.from_bytes(protocol.get(kind, b""), "big"),
        code=int.from_bytes(protocol.get(code, b""), "big"),
        family=family,
        key=key + (attribute(_ID, details[_ID]) if _ID in details else b""),
    )


def _address(octets: bytes) -> Address:
    return IPv4Address(octets) if len(octets) == 4 else IPv6Address(octets)
