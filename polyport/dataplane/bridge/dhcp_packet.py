"""DHCPv4 packets, bytes <-> values (RFC 951, 2131, 2132, 3396). Pure.

Nothing a guest sends makes it raise: a frame that is not exactly what it should be parses to None.
"""

import struct
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import NamedTuple

SERVER_PORT = 67
CLIENT_PORT = 68
COOKIE = b"\x63\x82\x53\x63"

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)

MESSAGE_TYPE = 53
SERVER_ID = 54
REQUESTED_ADDRESS = 50
MOST_MESSAGE = 57

_ETHERNET = 14
_IPV4 = 0x0800
_HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
LEAST_MESSAGE = 300
"""Octets; BOOTP clients and some relays drop shorter messages."""


class Request(NamedTuple):
    """A client's message. `message` is one of DISCOVER ... INFORM."""

    mac: bytes
    """Of the frame and of the client hardware address field, which are the same."""
    message: int
    transaction: int
    seconds: int
    flags: int
    client: IPv4Address
    """The address the client says it has (0.0.0.0: none)."""
    options: Mapping[int, bytes]

    @property
    def requested(self) -> IPv4Address | None:
        return _address(self.options.get(REQUESTED_ADDRESS))

    @property
    def server(self) -> IPv4Address | None:
        return _address(self.options.get(SERVER_ID))


def parse(frame: bytes) -> Request | None:
    """What an Ethernet frame asks of a DHCP server; None for everything else."""
    if len(frame) < _ETHERNET + 28 or struct.unpack_from("!H", frame, 12) != (_IPV4,):
        return None
    return _parse_ipv4(frame)


def _parse_ipv4(frame: bytes) -> Request | None:
    packet = frame[_ETHERNET:]
    size = (packet[0] & 0x0F) * 4
    (total,) = struct.unpack_from("!H", packet, 2)
    (fragment,) = struct.unpack_from("!H", packet, 6)
    if packet[0] >> 4 != 4 or size < 20 or packet[9] != 17 or fragment & 0x3FFF:
        return None
    if not size + 8 <= total <= len(packet):
        return None
    source, target, length = struct.unpack_from("!HHH", packet, size)
    if (source, target) != (CLIENT_PORT, SERVER_PORT) or not 8 <= length <= total - size:
        return None
    return _parse_message(packet[size + 8 : size + length], frame[6:12])


def _parse_message(data: bytes, mac: bytes) -> Request | None:
    if len(data) < _HEADER.size:
        return None
    op, htype, hlen, _, transaction, seconds, flags, client, _, _, relay, hardware, _, _, cookie = _HEADER.unpack_from(
        data
    )
    if (op, htype, hlen, relay, cookie) != (1, 1, 6, bytes(4), COOKIE) or hardware[:6] != mac:
        return None
    options = _parse_options(data[_HEADER.size :])
    message = options.get(MESSAGE_TYPE, b"") if options is not None else b""
    if options is None or len(message) != 1 or not DISCOVER <= message[0] <= INFORM:
        return None
    return Request(mac, message[0], transaction, seconds, flags, IPv4Address(client), options)


def _parse_options(data: bytes) -> dict[int, bytes] | None:
    """Options by code, the parts of a split one joined; None where one runs over the end."""
    options: dict[int, bytes] = {}
    place = 0
    while place < len(data) and (code := data[place]) != 255:
        if code == 0:
            place += 1
            continue
        if place + 2 > len(data):
            return None
        end = place + 2 + data[place + 1]
        if end > len(data):
            return None
        options[code] = options.get(code, b"") + data[place + 2 : end]
        place = end
    return options


def _address(value: bytes | None) -> IPv4Address | None:
    return IPv4Address(value) if value is not None and len(value) == 4 else None


def build_options(options: Iterable[tuple[int, bytes]], room: int) -> bytes:
    """Options in this order, long ones split (RFC 3396); those for which there is no room are left out."""
    packed = b""
    for code, value in options:
        parts = [value[place : place + 255] for place in range(0, len(value), 255)] or [b""]
        one = b"".join(bytes([code, len(part)]) + part for part in parts)
        if len(packed) + len(one) + 1 <= room:
            packed += one
    return packed + b"\xff"


def build_reply(
    request: Request,
    *,
    your: IPv4Address,
    next_server: IPv4Address,
    bootfile: bytes,
    options: Iterable[tuple[int, bytes]],
) -> bytes:
    """The DHCP message that answers `request`, no longer than its client takes."""
    most = request.options.get(MOST_MESSAGE, b"")
    # The client counts the IP and UDP headers in; every client takes 576, and more than 1500 would not fit a frame.
    size = min(max(int.from_bytes(most) if len(most) == 2 else 576, 576), 1500) - 28
    header = _HEADER.pack(
        2,
        1,
        6,
        0,
        request.transaction,
        0,
        request.flags,
        request.client.packed,
        your.packed,
        next_server.packed,
        bytes(4),
        request.mac,
        b"",
        bootfile[:127],
        COOKIE,
    )
    return (header + build_options(options, size - len(header))).ljust(LEAST_MESSAGE, b"\0")


def build_frame(
    *, source_mac: bytes, target_mac: bytes, source: IPv4Address, target: IPv4Address, message: bytes
) -> bytes:
    """A DHCP message of the server in UDP, IPv4 and Ethernet."""
    length = 8 + len(message)
    datagram = struct.pack("!HHHH", SERVER_PORT, CLIENT_PORT, length, 0) + message
    pseudo = source.packed + target.packed + struct.pack("!HH", 17, length)
    datagram = datagram[:6] + struct.pack("!H", checksum(pseudo + datagram) or 0xFFFF) + datagram[8:]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0x10, 20 + length, 0, 0, 64, 17, 0, source.packed, target.packed)
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return target_mac + source_mac + struct.pack("!H", _IPV4) + header + datagram


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
