"""DHCPv4 options by name: what `extra_dhcp_opts` of a port may say, and the bytes it becomes.

The names are those of the DHCP options list OpenStack users know (dnsmasq's), or an option's number.
"""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

NETMASK = 1
ROUTER = 3
DNS_SERVER = 6
HOSTNAME = 12
DOMAIN_NAME = 15
MTU = 26
BROADCAST = 28
LEASE_TIME = 51
RENEWAL_TIME = 58
REBINDING_TIME = 59
TFTP_SERVER = 66
BOOTFILE = 67
CLASSLESS_ROUTES = 121

SERVER_ADDRESS = "server-ip-address"
"""No option: the address of the next server, in the header of the message."""


def addresses(text: str) -> bytes:
    """`10.0.0.1,10.0.0.2`, also in brackets, as OpenStack users write it."""
    return b"".join(IPv4Address(part.strip()).packed for part in text.strip("[] ").split(","))


def address(text: str) -> bytes:
    return IPv4Address(text.strip()).packed


def words(text: str) -> bytes:
    return text.encode("utf-8")


def whole(octets: int) -> Callable[[str], bytes]:
    """A number of this many octets."""
    return lambda text: int(text).to_bytes(octets)


def flag(text: str) -> bytes:
    return bytes([{"0": 0, "false": 0, "1": 1, "true": 1}[text.strip().lower()]])


def domains(text: str) -> bytes:
    """Names to search in, uncompressed (RFC 3397)."""
    packed = b""
    for name in text.split(","):
        for label in name.strip().strip(".").split("."):
            data = label.encode("idna")
            packed += whole(1)(str(len(data))) + data
        packed += b"\0"
    return packed


def routes(text: str) -> bytes:
    """`10.1.0.0/16,10.0.0.9,10.2.0.0/16,10.0.0.8`: destinations and their routers in turn (RFC 3442)."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) % 2:
        raise ValueError(text)
    return classless(zip(parts[::2], parts[1::2], strict=True))


def classless(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Routes in the form of RFC 3442: prefix length, the octets of the destination that count, router."""
    packed = b""
    for destination, router in pairs:
        network = IPv4Network(destination)
        kept = (network.prefixlen + 7) // 8
        packed += bytes([network.prefixlen]) + network.network_address.packed[:kept] + IPv4Address(router).packed
    return packed


OPTIONS: Mapping[str, tuple[int, Callable[[str], bytes]]] = {
    "netmask": (NETMASK, address),
    "time-offset": (2, whole(4)),
    "router": (ROUTER, addresses),
    "time-server": (4, addresses),
    "dns-server": (DNS_SERVER, addresses),
    "log-server": (7, addresses),
    "lpr-server": (9, addresses),
    "hostname": (HOSTNAME, words),
    "boot-file-size": (13, whole(2)),
    "domain-name": (DOMAIN_NAME, words),
    "swap-server": (16, address),
    "root-path": (17, words),
    "extension-path": (18, words),
    "ip-forward-enable": (19, flag),
    "default-ttl": (23, whole(1)),
    "mtu": (MTU, whole(2)),
    "broadcast": (BROADCAST, address),
    "static-route": (33, addresses),
    "arp-timeout": (35, whole(4)),
    "nis-domain": (40, words),
    "nis-server": (41, addresses),
    "ntp-server": (42, addresses),
    "netbios-ns": (44, addresses),
    "netbios-nodetype": (46, whole(1)),
    "netbios-scope": (47, words),
    "lease-time": (LEASE_TIME, whole(4)),
    "T1": (RENEWAL_TIME, whole(4)),
    "T2": (REBINDING_TIME, whole(4)),
    "vendor-class": (60, words),
    "tftp-server": (TFTP_SERVER, words),
    "bootfile-name": (BOOTFILE, words),
    "smtp-server": (69, addresses),
    "pop3-server": (70, addresses),
    "irc-server": (74, addresses),
    "posix-timezone": (100, words),
    "tzdb-timezone": (101, words),
    "domain-search": (119, domains),
    "sip-server": (120, lambda text: b"\1" + addresses(text)),
    "classless-static-route": (CLASSLESS_ROUTES, routes),
    "tftp-server-address": (150, addresses),
    "wpad": (252, words),
}
"""Name -> code and encoder. An encoder raises ValueError or KeyError on a value it cannot take."""

SETTLED = frozenset({0, 50, 52, 53, 54, 55, 56, 57, 61, 255})
"""Codes that make up the protocol itself; nobody sets them from outside."""


def encode(name: str, value: str) -> tuple[int, bytes | None] | None:
    """Code and bytes of an option; bytes None takes the option away (an empty value); None where it is not understood.

    An option given by number is taken for addresses where it reads so, and for text otherwise.
    """
    if name in OPTIONS:
        code, encoder = OPTIONS[name]
    elif name.isascii() and name.isdecimal() and int(name) < 255 and int(name) not in SETTLED:
        code, encoder = int(name), _guess
        for known, its_encoder in OPTIONS.values():
            if known == code:
                encoder = its_encoder
    else:
        return None
    if not value.strip():
        return code, None
    try:
        return code, encoder(value)
    except (ValueError, KeyError, OverflowError, AddressValueError, NetmaskValueError):
        return None


def _guess(text: str) -> bytes:
    try:
        return addresses(text)
    except ValueError:
        return words(text)
