"""What IPv6 guests are told: by the modes of a subnet, and whatever they send."""

import struct
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.dataplane.bridge import ipv6
from polyport.dataplane.bridge import ipv6_packet as packet
from polyport.dataplane.bridge.ipv6 import STATEFUL, STATELESS, Told, answer, server_id, told_of
from tests.host.plans import network, subnet, vif

HOST = bytes.fromhex("fe0011223344")
MAC = bytes.fromhex("fa163e000005")
MINE = IPv6Address("2001:db8::5")
CLIENT = b"\x00\x03\x00\x01" + MAC


def told(ra: str | None, address: str | None, **facts: object) -> Told | None:
    home = subnet("2001:db8::/64", ipv6_ra_mode=ra, ipv6_address_mode=address, **facts)
    return told_of(vif(network(home, mtu=1400), str(MINE), mac_address=MAC.hex(":")))


def frame_of(message: int, *options: bytes, client: bytes = CLIENT, mac: bytes = MAC) -> bytes:
    """A client's message as it sends it."""
    data = bytes([message]) + b"abc" + (packet.option(packet.CLIENT_ID, client) if client else b"") + b"".join(options)
    datagram = struct.pack("!HHHH", 546, 547, 8 + len(data), 0) + data
    source = packet.link_local(mac)
    total = packet.checksum_of(source, packet.SERVERS, 17, datagram)
    datagram = datagram[:6] + struct.pack("!H", total) + datagram[8:]
    header = struct.pack("!IHBB", 6 << 28, len(datagram), 17, 1) + source.packed + packet.SERVERS.packed
    return bytes.fromhex("333300010002") + mac + b"\x86\xdd" + header + datagram


def asked(message: int, *options: bytes, client: bytes = CLIENT) -> packet.Request:
    """A client's message, by way of a frame."""
    found = packet.parse(frame_of(message, *options, client=client))
    assert isinstance(found, packet.Request)
    return found


def ia(*addresses: str, number: bytes = b"\0\0\0\1") -> bytes:
    return packet.association(number, [(IPv6Address(each), 0, 0) for each in addresses], None)


def replied(frame: bytes | None) -> tuple[int, dict[int, bytes]]:
    """Message type and options of an answer to a client."""
    assert frame is not None
    assert frame[:12] == MAC + HOST
    assert packet.checksum_of(IPv6Address(frame[22:38]), IPv6Address(frame[38:54]), frame[20], frame[54:]) == 0
    message = frame[62:]
    assert message[1:4] == b"abc"
    options = packet.parse_options(message[4:])
    assert options is not None
    found = dict(options)
    assert found[packet.SERVER_ID] == server_id(HOST)
    assert found[packet.CLIENT_ID] == CLIENT
    return message[0], found


def lifetimes(option: bytes) -> dict[IPv6Address, tuple[int, int]]:
    inner = packet.parse_options(option[12:])
    assert inner is not None
    return {IPv6Address(value[:16]): struct.unpack("!II", value[16:24]) for code, value in inner if code == 5}


FULL = (ipv6.PREFERRED_SECONDS, ipv6.VALID_SECONDS)


@pytest.mark.parametrize(
    ("mode", "flags", "prefix_flags"), [("slaac", 0, 0xC0), (STATELESS, 0x40, 0xC0), (STATEFUL, 0x80, 0x80)]
)
def test_advertisements_say_what_the_mode_says(mode: str, flags: int, prefix_flags: int) -> None:
    known = told(mode, mode, dns_nameservers=("2001:db8::53", "10.0.0.53"))
    assert known is not None
    frame = answer(packet.Solicitation(MAC, packet.link_local(MAC)), known, HOST)
    assert frame is not None
    assert frame[:12] == MAC + HOST
    assert (IPv6Address(frame[22:38]), IPv6Address(frame[38:54]), frame[21]) == (
        packet.link_local(HOST), packet.link_local(MAC), 255,
    )  # fmt: skip
    body = frame[54:]
    assert (body[0], body[5], body[6:8]) == (134, flags, b"\0\0"), "nobody's default router"
    options, place = {}, 16
    while place < len(body):
        options[body[place]] = body[place : place + 8 * body[place + 1]]
        place += 8 * body[place + 1]
    assert options[1][2:] == HOST
    assert options[5][4:] == (1400).to_bytes(4)
    assert options[3][2:4] == bytes([64, prefix_flags])
    assert options[3][16:] == IPv6Address("2001:db8::").packed
    assert options[25][8:] == IPv6Address("2001:db8::53").packed


@pytest.mark.parametrize(("ra", "address"), [(None, None), (None, "slaac")])
def test_a_subnet_without_modes_of_ours_gets_nothing(ra: str | None, address: str | None) -> None:
    assert told(ra, address) is None
    assert told("slaac", "slaac", enable_dhcp=False) is None


def test_who_only_has_a_router_elsewhere_gets_dhcp_and_no_advertisement() -> None:
    known = told(None, STATEFUL)
    assert known is not None
    assert answer(packet.Solicitation(MAC, packet.link_local(MAC)), known, HOST) is None
    assert answer(asked(packet.SOLICIT, ia()), known, HOST) is not None


def test_the_ports_address_is_offered_given_and_kept() -> None:
    known = told(STATEFUL, STATEFUL, dns_nameservers=("2001:db8::53",))
    assert known is not None
    kind, options = replied(answer(asked(packet.SOLICIT, ia()), known, HOST))
    assert (kind, lifetimes(options[packet.IA_NA])) == (packet.ADVERTISE, {MINE: FULL})
    assert options[23] == IPv6Address("2001:db8::53").packed
    mine = packet.option(packet.SERVER_ID, server_id(HOST))
    for message in (packet.REQUEST, packet.RENEW):
        kind, options = replied(answer(asked(message, mine, ia(str(MINE))), known, HOST))
        assert (kind, lifetimes(options[packet.IA_NA])) == (packet.REPLY, {MINE: FULL})
    kind, options = replied(answer(asked(packet.REBIND, ia("2001:db8::99")), known, HOST))
    assert lifetimes(options[packet.IA_NA]) == {MINE: FULL, IPv6Address("2001:db8::99"): (0, 0)}
    assert replied(answer(asked(packet.CONFIRM, ia(str(MINE))), known, HOST))[1][13] == b"\0\0"
    assert replied(answer(asked(packet.CONFIRM, ia("2001:db8::99")), known, HOST))[1][13] == b"\0\4"
    assert replied(answer(asked(packet.RELEASE, mine, ia(str(MINE))), known, HOST))[1][13] == b"\0\0"


def test_messages_for_other_servers_are_left_alone() -> None:
    known = told(STATEFUL, STATEFUL)
    assert known is not None
    other = packet.option(packet.SERVER_ID, b"somebody else")
    for message in range(256):
        assert answer(asked(message, other, ia(str(MINE))), known, HOST) is None
    for message in set(range(256)) - {packet.INFORMATION_REQUEST}:
        assert answer(asked(message, ia(), client=b""), known, HOST) is None


def test_without_addresses_of_its_own_the_rest_is_told() -> None:
    known = told(STATELESS, STATELESS, dns_nameservers=("2001:db8::53",))
    assert known is not None
    kind, options = replied(answer(asked(packet.INFORMATION_REQUEST), known, HOST))
    assert (kind, options[23]) == (packet.REPLY, IPv6Address("2001:db8::53").packed)
    assert answer(asked(packet.SOLICIT, ia()), known, HOST) is None


@given(st.binary(max_size=120), st.sampled_from([b"", b"\x86\xdd\x60\0\0\0", b"\x86\xdd"]))
def test_any_frame_is_a_question_or_none(data: bytes, start: bytes) -> None:
    packet.parse(bytes(12) + start + data)


@given(st.binary(min_size=4, max_size=300))
def test_any_message_is_answered_or_not(data: bytes) -> None:
    known = told(STATEFUL, STATEFUL)
    assert known is not None
    question = packet.parse_message(MAC, packet.link_local(MAC), data)
    if question is not None:
        frame = answer(question, known, HOST)
        assert frame is None or len(frame) <= 1514
