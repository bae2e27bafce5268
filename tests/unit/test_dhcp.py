"""DHCP without a network: what is understood, what is answered, and that nothing a guest sends is an error."""

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.dataplane import VifPlan
from polyport.dataplane.bridge import dhcp_options as options
from polyport.dataplane.bridge import dhcp_packet as packet
from polyport.dataplane.bridge.dhcp import NOBODY, SERVER, Lease, answer, lease_of
from polyport.ids import NetworkId, PortId, ServerId, SubnetId
from polyport.plan import FixedIp, NetworkPlan, NicPlan, SubnetPlan

MAC = bytes.fromhex("fa163e000005")
HOST = bytes.fromhex("fe0000000001")
SUBNET = SubnetId("22222222-0000-4000-8000-000000000000")
NETWORK = NetworkId("33333333-0000-4000-8000-000000000000")


def plan(*extra: tuple[str, str, int], default_route: bool = True, hostname: str = "vnf", **subnet: object) -> VifPlan:
    facts: dict[str, object] = {"cidr": "10.0.0.0/24", "ip_version": 4, "gateway_ip": "10.0.0.1", **subnet}
    return VifPlan(
        server_id=ServerId("44444444-0000-4000-8000-000000000000"),
        hostname=hostname,
        default_route=default_route,
        network=NetworkPlan(id=NETWORK, name="net", subnets=(SubnetPlan(id=SUBNET, **facts),)),  # type: ignore[arg-type]
        nic=NicPlan(
            port_id=PortId("55555555-0000-4000-8000-000000000000"),
            slot=1,
            network_id=NETWORK,
            mac_address="fa:16:3e:00:00:05",
            fixed_ips=(FixedIp(subnet_id=SUBNET, ip_address="10.0.0.5"),),
            extra_dhcp_opts=extra,
        ),
    )


def lease(*extra: tuple[str, str, int], **facts: object) -> Lease:
    found = lease_of(plan(*extra, **facts))  # type: ignore[arg-type]
    assert found is not None
    return found


def told(*extra: tuple[str, str, int], **facts: object) -> dict[int, bytes]:
    return dict(lease(*extra, **facts).options)


def frame(message: bytes, *, mac: bytes = MAC, ports: tuple[int, int] = (68, 67), size: int | None = None) -> bytes:
    length = 8 + len(message) if size is None else size
    datagram = struct.pack("!HHHH", *ports, length, 0) + message
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    return b"\xff" * 6 + mac + b"\x08\0" + header + datagram


def message(kind: int, *parts: tuple[int, bytes], ciaddr: str = "0.0.0.0", flags: int = 0, **odd: bytes) -> bytes:
    head = struct.pack("!BBBBIHH4s", 1, 1, 6, 0, 7, 0, flags, IPv4Address(ciaddr).packed)
    head += bytes(8) + odd.get("relay", bytes(4)) + odd.get("hardware", MAC).ljust(16, b"\0") + bytes(192)
    return head + packet.COOKIE + packet.build_options([(packet.MESSAGE_TYPE, bytes([kind])), *parts], 1000)


def asked(kind: int, *parts: tuple[int, bytes], ciaddr: str = "0.0.0.0", flags: int = 0) -> packet.Request:
    request = packet.parse(frame(message(kind, *parts, ciaddr=ciaddr, flags=flags)))
    assert isinstance(request, packet.Request)
    return request


def replied(reply: bytes | None) -> tuple[int, str, str, dict[int, bytes]]:
    """Message type, your address, IP destination and options."""
    assert reply is not None
    assert packet.checksum(reply[14:34]) == 0
    pseudo = reply[26:34] + struct.pack("!HH", 17, len(reply) - 34)
    assert packet.checksum(pseudo + reply[34:]) == 0
    found, place, body = {}, 240, reply[42:]
    while body[place] != 255:
        code, length = body[place], body[place + 1]
        found[code] = found.get(code, b"") + body[place + 2 : place + 2 + length]
        place += 2 + length
    return found[53][0], str(IPv4Address(body[16:20])), str(IPv4Address(reply[30:34])), found


@given(st.binary(max_size=700))
def test_garbage_is_not_answered_and_is_no_error(data: bytes) -> None:
    packet.parse(data)


@given(st.binary(max_size=400), st.booleans())
def test_garbage_in_good_wrapping_is_no_error(data: bytes, with_head: bool) -> None:
    request = packet.parse(frame((message(packet.DISCOVER)[:240] if with_head else b"") + data))
    if isinstance(request, packet.Request):
        answer(request, lease(), HOST)


@given(st.integers(0, 600), st.integers(0, 255), st.integers(0, 255))
def test_a_good_request_with_one_octet_wrong_is_no_error(place: int, value: int, cut: int) -> None:
    good = bytearray(frame(message(packet.REQUEST, (packet.REQUESTED_ADDRESS, bytes(4)), (55, b"\1\3\6"))))
    good[place % len(good)] = value
    for data in (bytes(good), bytes(good[: len(good) - cut])):
        if isinstance(request := packet.parse(data), packet.Request):
            answer(request, lease(), HOST)


@pytest.mark.parametrize(
    "odd",
    [
        frame(message(packet.DISCOVER), ports=(67, 67)),
        frame(message(packet.DISCOVER), ports=(68, 69)),
        frame(message(packet.DISCOVER), mac=b"\xfa\x16\x3e\0\0\6"),
        frame(message(packet.DISCOVER, hardware=b"\xfa\x16\x3e\0\0\6")),
        frame(message(packet.DISCOVER, relay=b"\x0a\0\0\1")),
        frame(message(packet.DISCOVER), size=4000),
        frame(message(packet.DISCOVER), size=7),
        frame(message(9)),
        frame(message(packet.DISCOVER)[:-1] + b"\x0c\xff"),
        frame(message(packet.DISCOVER)[:236] + b"\0\0\0\0"),
        b"\xff" * 12 + b"\x08\6" + bytes(28),
    ],
    ids=["relay", "port", "MAC", "hardware", "relayed", "long", "short", "type", "option", "cookie", "ARP"],
)
def test_what_is_not_quite_a_request_is_none(odd: bytes) -> None:
    assert packet.parse(frame(message(packet.DISCOVER))) is not None
    assert packet.parse(odd) is None


METADATA = b"\x20\xa9\xfe\xa9\xfe\0\0\0\0"
"""The route to the metadata service: on the link itself."""


def test_options_of_a_subnet() -> None:
    options = told(dns_nameservers=("10.0.0.53", "2001:db8::53", "10.0.0.54"))
    assert options == {
        1: b"\xff\xff\xff\0",
        3: b"\x0a\0\0\1",
        6: b"\x0a\0\0\x35\x0a\0\0\x36",
        12: b"vnf",
        26: b"\x05\xdc",
        28: b"\x0a\0\0\xff",
        51: b"\0\1\x51\x80",
        121: METADATA + b"\0\x0a\0\0\1",
    }


def test_only_one_nic_has_the_default_route() -> None:
    routes = (("10.7.0.0/16", "10.0.0.9"),)
    assert told(host_routes=routes)[121] == METADATA + b"\x10\x0a\7\x0a\0\0\x09" + b"\0\x0a\0\0\1"
    without = told(host_routes=routes, default_route=False)
    assert without[121] == METADATA + b"\x10\x0a\7\x0a\0\0\x09"
    assert 3 not in without
    assert 3 not in told(gateway_ip=None)


@pytest.mark.parametrize("name", ["", "-x", "a" * 64, "a.b", "ä", "a b", "a\n"])
def test_a_name_that_is_no_host_name_is_not_told(name: str) -> None:
    assert 12 not in told(hostname=name)


def test_without_dhcp_there_is_no_lease() -> None:
    assert lease_of(plan(enable_dhcp=False)) is None


def test_extra_options_by_name_and_number() -> None:
    extra = (
        ("bootfile-name", "pxelinux.0", 4),
        ("tftp-server", "10.0.0.8", 4),
        ("dns-server", "10.0.0.60", 4),
        ("router", "", 4),
        ("mtu", "9000", 4),
        ("domain-name", "example.org", 4),
        ("ntp-server", "[10.0.0.3, 10.0.0.4]", 4),
        ("classless-static-route", "10.7.0.0/16,10.0.0.9,0.0.0.0/0,10.0.0.2", 4),
        ("150", "10.0.0.8", 4),
        ("224", "anything", 4),
        ("42", "10.0.0.5", 4),
        ("dns-server", "2001:db8::1", 6),
    )
    facts = lease(*extra)
    found = dict(facts.options)
    assert found[67] == b"pxelinux.0"
    assert found[66] == b"10.0.0.8"
    assert found[6] == b"\x0a\0\0\x3c"
    assert 3 not in found
    assert found[26] == (9000).to_bytes(2)
    assert found[15] == b"example.org"
    assert found[42] == b"\x0a\0\0\5"
    assert found[121] == b"\x10\x0a\7\x0a\0\0\x09" + b"\0\x0a\0\0\2"
    assert found[150] == b"\x0a\0\0\x08"
    assert found[224] == b"anything"
    assert facts.bootfile == b"pxelinux.0"
    assert facts.next_server == IPv4Address("10.0.0.8")
    assert lease(("server-ip-address", "10.0.0.9", 4), *extra).next_server == IPv4Address("10.0.0.9")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("mtu", "many"), ("mtu", "70000"), ("mtu", "-1"), ("router", "10.0.0.300"), ("router", "x")),
        *(("classless-static-route", "10.7.0.0/16"), ("classless-static-route", "10.7.0.1/16,10.0.0.1")),
        *(("no-such-option", "x"), ("53", "1"), ("54", "10.0.0.1"), ("255", "x"), ("0", "x"), ("²", "x")),
        *(("domain-search", "a" * 64), ("ip-forward-enable", "perhaps"), ("server-ip-address", "x")),
    ],
)
def test_an_extra_option_that_is_not_understood_changes_nothing(name: str, value: str) -> None:
    assert lease((name, value, 4)) == lease()


@given(st.sampled_from([*options.OPTIONS, "7", "250", options.SERVER_ADDRESS]), st.text(max_size=60))
def test_no_value_of_an_extra_option_is_an_error(name: str, value: str) -> None:
    answer(asked(packet.DISCOVER), lease((name, value, 4)), HOST)


def test_a_client_without_an_address_is_offered_its_own() -> None:
    kind, address, to, found = replied(answer(asked(packet.DISCOVER), lease(), HOST))
    assert (kind, address, to) == (packet.OFFER, "10.0.0.5", "10.0.0.5")
    assert found[54] == SERVER.packed
    assert replied(answer(asked(packet.DISCOVER, flags=0x8000), lease(), HOST))[2] == "255.255.255.255"


def address(text: str) -> tuple[int, bytes]:
    return packet.REQUESTED_ADDRESS, IPv4Address(text).packed


def server(text: str) -> tuple[int, bytes]:
    return packet.SERVER_ID, IPv4Address(text).packed


@pytest.mark.parametrize(
    ("request_", "kind", "to"),
    [
        (asked(packet.REQUEST, address("10.0.0.5"), server(str(SERVER))), packet.ACK, "10.0.0.5"),
        (asked(packet.REQUEST, address("10.0.0.6"), server(str(SERVER))), packet.NAK, "255.255.255.255"),
        (asked(packet.REQUEST, address("10.0.0.5")), packet.ACK, "10.0.0.5"),
        (asked(packet.REQUEST, address("10.0.0.6")), packet.NAK, "255.255.255.255"),
        (asked(packet.REQUEST, ciaddr="10.0.0.5"), packet.ACK, "10.0.0.5"),
        (asked(packet.REQUEST, ciaddr="10.0.0.6"), packet.NAK, "255.255.255.255"),
        (asked(packet.REQUEST, address("10.0.0.5"), server("10.0.0.2")), None, None),
        (asked(packet.REQUEST), None, None),
        (asked(packet.DECLINE, address("10.0.0.5"), server(str(SERVER))), None, None),
        (asked(packet.RELEASE, server(str(SERVER)), ciaddr="10.0.0.5"), None, None),
        (asked(packet.ACK), None, None),
    ],
    ids=[
        *("selecting", "selecting another", "init-reboot", "init-reboot another", "renewing", "renewing another"),
        *("another server's", "of nothing", "decline", "release", "answer"),
    ],
)
def test_requests(request_: packet.Request, kind: int | None, to: str | None) -> None:
    reply = answer(request_, lease(), HOST)
    if kind is None:
        assert reply is None
    else:
        found = replied(reply)
        assert (found[0], found[2]) == (kind, to)
        assert found[1] == ("10.0.0.5" if kind == packet.ACK else str(NOBODY))
        assert (51 in found[3]) == (kind == packet.ACK)


def test_a_client_that_only_informs_itself_gets_options_and_no_lease() -> None:
    kind, given_address, to, found = replied(answer(asked(packet.INFORM, ciaddr="10.0.0.5"), lease(), HOST))
    assert (kind, given_address, to) == (packet.ACK, "0.0.0.0", "10.0.0.5")
    assert 51 not in found
    assert found[3] == b"\x0a\0\0\1"


def test_long_options_are_split_and_joined() -> None:
    routes = tuple((f"10.{number}.0.0/24", "10.0.0.9") for number in range(60))
    large = asked(packet.DISCOVER, (packet.MOST_MESSAGE, (1500).to_bytes(2)))
    assert len(replied(answer(large, lease(host_routes=routes), HOST))[3][121]) == 60 * 8 + 9 + 5


def test_a_reply_is_no_longer_than_its_client_takes() -> None:
    routes = tuple((f"10.{number}.0.0/24", "10.0.0.9") for number in range(60))
    small = answer(asked(packet.DISCOVER), lease(host_routes=routes), HOST)
    found = replied(small)[3]
    assert small is not None
    assert len(small) <= 14 + 576
    assert 121 not in found
    assert found[1] == b"\xff\xff\xff\0", "what does not fit is left out, not cut"


@given(st.binary(max_size=4))
def test_a_client_may_say_any_size(size: bytes) -> None:
    reply = answer(asked(packet.DISCOVER, (packet.MOST_MESSAGE, size)), lease(), HOST)
    assert replied(reply)[0] == packet.OFFER
