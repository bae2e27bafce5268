"""Connections as two guests have them: first packets, answers, and what belongs to them, with right checksums."""

import struct
from ipaddress import ip_address

from polyport.dataplane.bridge.dhcp_packet import checksum
from tests.host.wire import Nic, ethernet, ip

SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10
ECHO_REQUEST, ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}


def addresses(me: Nic, you: Nic, version: int) -> tuple[str, str]:
    """Their addresses of one IP version."""
    return (
        next(each for each in me.addresses if ip_address(each).version == version),
        next(each for each in you.addresses if ip_address(each).version == version),
    )


def tcp(
    me: Nic, you: Nic, ports: tuple[int, int], flags: int = SYN, *, version: int = 4, numbers: tuple[int, int] = (1, 0)
) -> bytes:
    segment = struct.pack("!HHIIBBHHH", *ports, *numbers, 5 << 4, flags, 65000, 0, 0)
    return _frame(me, you, version, 6, segment, 16)


def udp(me: Nic, you: Nic, ports: tuple[int, int], *, version: int = 4, data: bytes = b"data") -> bytes:
    return _frame(me, you, version, 17, struct.pack("!HHHH", *ports, 8 + len(data), 0) + data, 6)


def echo(me: Nic, you: Nic, *, answer: bool = False, version: int = 4, number: int = 7) -> bytes:
    kind = (ECHO_REPLY if answer else ECHO_REQUEST)[version]
    return icmp(me, you, kind, 0, struct.pack("!HH", number, 1), version=version)


def icmp(me: Nic, you: Nic, kind: int, code: int, body: bytes, *, version: int = 4) -> bytes:
    message = struct.pack("!BBH", kind, code, 0) + body
    return _frame(me, you, version, 1 if version == 4 else 58, message, 2, pseudo=version == 6)


def protocol(me: Nic, you: Nic, number: int, *, version: int = 4) -> bytes:
    """A packet of a protocol without ports."""
    return ethernet(me.mac, you.mac, *ip(*addresses(me, you, version), number, bytes(16)))


def fragments(frame: bytes, size: int) -> list[bytes]:
    """An IPv4 packet in pieces of so many octets, a multiple of 8."""
    data, pieces = frame[34:], []
    for start in range(0, len(data), size):
        part = data[start : start + size]
        more = 0x2000 if start + size < len(data) else 0
        head = frame[14:16] + struct.pack("!HHH", 20 + len(part), 7, start // 8 | more) + frame[22:24] + bytes(2)
        head += frame[26:34]
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        pieces.append(frame[:14] + head + part)
    return pieces


def passes(me: Nic, you: Nic, *frames: bytes) -> bool:
    """Whether all of these, sent by one, arrive at the other; none of them may, or all."""
    # What was flooded while the bridge did not know yet where to go.
    you.received()
    me.send(*frames)
    arrived = you.received()
    assert arrived in ([], list(frames))
    return bool(arrived)


def connected(me: Nic, you: Nic, ports: tuple[int, int], *, version: int = 4) -> bool:
    """Whether a TCP connection can be opened."""
    back = (ports[1], ports[0])
    return (
        passes(me, you, tcp(me, you, ports, SYN, version=version))
        and passes(you, me, tcp(you, me, back, SYN_ACK, version=version, numbers=(1, 2)))
        and passes(me, you, tcp(me, you, ports, ACK, version=version, numbers=(2, 2)))
    )


def _frame(me: Nic, you: Nic, version: int, number: int, message: bytes, place: int, *, pseudo: bool = True) -> bytes:
    sender, receiver = addresses(me, you, version)
    head = ip_address(sender).packed + ip_address(receiver).packed + struct.pack("!II", len(message), number)
    total = checksum((head if pseudo else b"") + message)
    message = message[:place] + struct.pack("!H", total) + message[place + 2 :]
    return ethernet(me.mac, you.mac, *ip(sender, receiver, number, message))
