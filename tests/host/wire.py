"""The guest's end of a tap, and the frames a guest may send.

What is written to a tap's descriptor enters the bridge before the write returns, and what a bridge sends to a tap can
be read from it at once: so a test may look what has arrived without waiting for what has not.
"""

import os
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.dhcp_packet import checksum

OFFLOAD_HEADER = 10
"""Octets of struct virtio_net_hdr, which stands before each frame on the descriptor."""

EVERYBODY = "ff:ff:ff:ff:ff:ff"


class Nic:
    """A guest's NIC. Closes the descriptor it is given."""

    def __init__(self, descriptor: int, vif: VifPlan) -> None:
        self.descriptor = descriptor
        self.vif = vif
        self.mac = vif.nic.mac_address
        self.addresses = [fixed.ip_address for fixed in vif.nic.fixed_ips]
        os.set_blocking(descriptor, False)

    @property
    def address(self) -> str:
        return self.addresses[0]

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            os.write(self.descriptor, bytes(OFFLOAD_HEADER) + frame)

    def received(self) -> list[bytes]:
        """The frames that have arrived since the last look, except for probes of the host's own."""
        return [frame for frame in self.heard() if not is_probe(frame)]

    def heard(self) -> list[bytes]:
        """All of them."""
        frames = []
        while True:
            try:
                frames.append(os.read(self.descriptor, 70000)[OFFLOAD_HEADER:])
            except BlockingIOError:
                return frames

    def ping(self, other: "Nic", mark: bytes = b"hello") -> bytes:
        """A unicast frame to another NIC, as a guest that minds its manners sends it."""
        return udp(self.mac, other.mac, self.address, other.address, data=mark)

    def shout(self, mark: bytes = b"hello") -> bytes:
        """A broadcast that a guest may send."""
        return udp(self.mac, EVERYBODY, self.address, "255.255.255.255", data=mark)


def is_probe(frame: bytes) -> bool:
    return frame[12:14] == b"\x88\xb5"


def ethernet(source: str, target: str, kind: int, data: bytes) -> bytes:
    return _mac(target) + _mac(source) + struct.pack("!H", kind) + data


def arp(
    source: str, *, sender_mac: str | None = None, sender: str, target: str, operation: int = 1, to: str = EVERYBODY
) -> bytes:
    data = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + _mac(sender_mac or source)
    data += IPv4Address(sender).packed + bytes(6) + IPv4Address(target).packed
    return ethernet(source, to, 0x0806, data)


def udp(
    source: str, target: str, sender: str, receiver: str, *, ports: tuple[int, int] = (7, 7), data: bytes = b""
) -> bytes:
    datagram = struct.pack("!HHHH", *ports, 8 + len(data), 0) + data
    return ethernet(source, target, *ip(sender, receiver, 17, datagram))


def icmp6(source: str, target: str, sender: str, receiver: str, kind: int, body: bytes) -> bytes:
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = IPv6Address(sender).packed + IPv6Address(receiver).packed + struct.pack("!II", len(message), 58)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    return ethernet(source, target, *ip(sender, receiver, 58, message))


def neighbor(source: str, sender: str, about: str, *, kind: int = 136) -> bytes:
    """A neighbour advertisement (kind 136) or solicitation (135)."""
    body = bytes(4) + IPv6Address(about).packed
    return icmp6(source, "33:33:00:00:00:01", sender, "ff02::1", kind, body)


def tagged(frame: bytes, vlan: int = 7, *, kind: int = 0x8100) -> bytes:
    """The frame in a VLAN of the guest's own."""
    return frame[:12] + struct.pack("!HH", kind, vlan) + frame[12:]


def ip(sender: str, receiver: str, protocol: int, data: bytes) -> tuple[int, bytes]:
    source, target = ip_address(sender).packed, ip_address(receiver).packed
    if len(source) == 16:
        return 0x86DD, struct.pack("!IHBB", 6 << 28, len(data), protocol, 255) + source + target + data
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 0, 0, 64, protocol, 0, source, target)
    return 0x0800, header[:10] + struct.pack("!H", checksum(header)) + header[12:] + data


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
