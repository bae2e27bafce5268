"""Router solicitations and advertisements, and DHCPv6, bytes <-> values (RFC 4861, 8106, 8415). Pure.

Nothing a guest sends makes it raise: a frame that is not exactly what it should be parses to None.
"""

import struct
from collections.abc import Iterable
from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple

from polyport.dataplane.bridge.dhcp_packet import checksum

CLIENT_PORT, SERVER_PORT = 546, 547
EVERY_NODE = IPv6Address("ff02::1")
SERVERS = IPv6Address("ff02::1:2")

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION_REQUEST = 11

CLIENT_ID, SERVER_ID, IA_NA = 1, 2, 3
_IA_ADDRESS, _STATUS, _DNS_SERVERS = 5, 13, 23
SUCCESS, NO_ADDRESSES, NOT_ON_LINK = 0, 2, 4

_ETHERNET, _HEADER = 14, 40
_ICMP, _UDP = 58, 17
_SOLICITATION, _ADVERTISEMENT = 133, 134


class Solicitation(NamedTuple):
    """A guest looks for routers."""

    mac: bytes
    source: IPv6Address


class Association(NamedTuple):
    """Addresses a client asks for together (IA_NA); those it believes it has or would like."""

    number: bytes
    addresses: tuple[IPv6Address, ...]


class Request(NamedTuple):
    """A client's DHCPv6 message."""

    mac: bytes
    source: IPv6Address
    message: int
    transaction: bytes
    client: bytes
    """Its DUID; empty where it told none."""
    server: bytes | None
    associations: tuple[Association, ...]


def link_local(mac: bytes) -> IPv6Address:
    """The address every IPv6 host gives itself, by the modified EUI-64 of RFC 4291."""
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:])


def parse(frame: bytes) -> Solicitation | Request | None:
    """What an Ethernet frame asks of a router or DHCPv6 server; None for everything else."""
    if len(frame) < _ETHERNET + _HEADER or frame[12:14] != b"\x86\xdd" or frame[14] >> 4 != 6:
        return None
    length, kind, hops = struct.unpack_from("!HBB", frame, 18)
    source, target = IPv6Address(frame[22:38]), IPv6Address(frame[38:54])
    data = frame[54 : 54 + length]
    if len(data) != length or checksum_of(source, target, kind, data) != 0:
        return None
    if kind == _ICMP and hops == 255 and length >= 8 and data[0] == _SOLICITATION and data[1] == 0:
        return Solicitation(frame[6:12], source)
    if kind == _UDP and length >= 12 and target == SERVERS and source.is_link_local:
        ports = struct.unpack_from("!HHH", data)
        if ports == (CLIENT_PORT, SERVER_PORT, length):
            return parse_message(frame[6:12], source, data[8:])
    return None


def parse_message(mac: bytes, source: IPv6Address, data: bytes) -> Request | None:
    """A DHCPv6 message of four octets at least; None where it is malformed."""
    options = parse_options(data[4:])
    if options is None:
        return None
    clients = [value for code, value in options if code == CLIENT_ID]
    servers = [value for code, value in options if code == SERVER_ID]
    associations = [_association(value) for code, value in options if code == IA_NA]
    known = tuple(each for each in associations if each is not None)
    if len(clients) > 1 or len(servers) > 1 or len(known) != len(associations):
        return None
    client = clients[0] if clients else b""
    # RFC 8415, section 11.1: a DUID has 128 octets and its type at most.
    if len(client) > 130:
        return None
    return Request(mac, source, data[0], data[1:4], client, servers[0] if servers else None, known)


def _association(data: bytes) -> Association | None:
    options = parse_options(data[12:]) if len(data) >= 12 else None
    if options is None:
        return None
    addresses = [value for code, value in options if code == _IA_ADDRESS]
    if any(len(value) < 24 for value in addresses):
        return None
    return Association(data[:4], tuple(IPv6Address(value[:16]) for value in addresses))


def parse_options(data: bytes) -> list[tuple[int, bytes]] | None:
    """(code, value) of each option; None where they are malformed."""
    options, place = [], 0
    while place < len(data):
        if place + 4 > len(data):
            return None
        code, length = struct.unpack_from("!HH", data, place)
        place += 4
        if place + length > len(data):
            return None
        options.append((code, data[place : place + length]))
        place += length
    return options


class Prefix(NamedTuple):
    """A prefix that is on the link; `autonomous`: guests may make addresses in it of their own."""

    network: IPv6Network
    autonomous: bool


def build_advertisement(
    *,
    mac: bytes,
    target_mac: bytes,
    target: IPv6Address,
    managed: bool,
    other: bool,
    mtu: int,
    prefixes: Iterable[Prefix],
    servers: Iterable[IPv6Address],
    valid: int,
    preferred: int,
) -> bytes:
    """A router advertisement of somebody who is no default router: its router lifetime is 0."""
    body = struct.pack("!BBHBBHII", _ADVERTISEMENT, 0, 0, 64, managed << 7 | other << 6, 0, 0, 0)
    body += b"\x01\x01" + mac + struct.pack("!BBHI", 5, 1, 0, mtu)
    for prefix in prefixes:
        flags = 0x80 | prefix.autonomous << 6
        body += struct.pack("!BBBBIII", 3, 4, prefix.network.prefixlen, flags, valid, preferred, 0)
        body += prefix.network.network_address.packed
    if names := b"".join(server.packed for server in servers):
        body += struct.pack("!BBHI", 25, 1 + len(names) // 8, 0, valid) + names
    return _frame(mac, target_mac, link_local(mac), target, _ICMP, body)


def association(number: bytes, addresses: Iterable[tuple[IPv6Address, int, int]], status: int | None) -> bytes:
    """The option that answers an association: (address, preferred, valid) in seconds, or why there is none."""
    known = list(addresses)
    shortest = min((preferred for _, preferred, _ in known if preferred), default=0)
    data = number + struct.pack("!II", shortest // 2, shortest * 4 // 5)
    for address, preferred, valid in known:
        data += option(_IA_ADDRESS, address.packed + struct.pack("!II", preferred, valid))
    return option(IA_NA, data + (b"" if status is None else status_of(status)))


def status_of(code: int) -> bytes:
    return option(_STATUS, struct.pack("!H", code))


def dns_servers(servers: Iterable[IPv6Address]) -> bytes:
    names = b"".join(server.packed for server in servers)
    return option(_DNS_SERVERS, names) if names else b""


def option(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value


def build_reply(request: Request, *, message: int, mac: bytes, server: bytes, options: bytes) -> bytes:
    """The frame that answers a client, from a server whose MAC is `mac` and whose DUID is `server`."""
    data = bytes([message]) + request.transaction + option(SERVER_ID, server)
    data += (option(CLIENT_ID, request.client) if request.client else b"") + options
    datagram = struct.pack("!HHHH", SERVER_PORT, CLIENT_PORT, 8 + len(data), 0) + data
    return _frame(mac, request.mac, link_local(mac), request.source, _UDP, datagram)


def _frame(mac: bytes, target_mac: bytes, source: IPv6Address, target: IPv6Address, kind: int, data: bytes) -> bytes:
    place = 2 if kind == _ICMP else 6
    total = checksum_of(source, target, kind, data) or 0xFFFF
    data = data[:place] + struct.pack("!H", total) + data[place + 2 :]
    header = struct.pack("!IHBB", 6 << 28, len(data), kind, 255) + source.packed + target.packed
    return target_mac + mac + b"\x86\xdd" + header + data


def checksum_of(source: IPv6Address, target: IPv6Address, kind: int, data: bytes) -> int:
    """The Internet checksum with IPv6's pseudo-header; 0 of data that has the right one in it."""
    return checksum(source.packed + target.packed + struct.pack("!II", len(data), kind) + data)
