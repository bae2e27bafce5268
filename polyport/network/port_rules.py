"""The rules of a port's attributes: MAC addresses, allowed address pairs, DHCP options. Pure."""

import re
import secrets
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from msgspec import Struct

from polyport.errors import Invalid
from polyport.network import InvalidInput
from polyport.plan import AddressPair

MAC_PREFIX = "fa:16:3e"
VNIC_TYPES = ("normal",)
"""What ports there are: NICs emulated on the host's own bridge. Others (SR-IOV) are refused, not pretended."""

MOST_ADDRESS_PAIRS = 128
MOST_DHCP_OPTIONS = 64

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


class AddressPairMissingIP(Invalid):
    """AddressPair must contain ip_address."""


class DuplicateAddressPairInRequest(Invalid):
    """Request contains duplicate address pair: mac_address {mac_address} ip_address {ip_address}."""


class AllowedAddressPairExhausted(Invalid):
    """The number of allowed address pairs exceeds the maximum {most}."""


class WantedPair(Struct, frozen=True, kw_only=True):
    """One entry of `allowed_address_pairs`; without a MAC the port's own is meant."""

    ip_address: str | None = None
    mac_address: str | None = None


class WantedOption(Struct, frozen=True, kw_only=True):
    """One entry of `extra_dhcp_opts`. In an update a value of None takes the option away."""

    opt_name: str
    opt_value: str | None = None
    ip_version: int = 4


def random_macs(count: int) -> list[str]:
    """MAC addresses of OpenStack's own block, which no vendor uses. They count up from one that is drawn: neighbours
    are cheaper to store, and many of them likelier to be free than as many drawn one by one."""
    first = secrets.randbits(24)
    tails = [f"{(first + number) % (1 << 24):06x}" for number in range(count)]
    return [f"{MAC_PREFIX}:{tail[0:2]}:{tail[2:4]}:{tail[4:6]}" for tail in tails]


def checked_mac(text: str, field: str = "mac_address") -> str:
    """A unicast MAC address in lower case with colons. Raises `InvalidInput`."""
    mac = text.lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise InvalidInput(reason=f"{field} '{text[:50]}' is not a valid MAC address")
    if int(mac[:2], 16) & 1:
        raise InvalidInput(reason=f"{field} '{mac}' is a multicast address")
    if mac == "00:00:00:00:00:00":
        raise InvalidInput(reason=f"{field} '{mac}' is not an address of a NIC")
    return mac


def checked_pairs(pairs: Sequence[WantedPair], mac_address: str) -> tuple[AddressPair, ...]:
    """Address pairs with every MAC filled in. Raises errors that say which one is wrong."""
    if len(pairs) > MOST_ADDRESS_PAIRS:
        raise AllowedAddressPairExhausted(most=MOST_ADDRESS_PAIRS)
    found: list[AddressPair] = []
    for at, pair in enumerate(pairs):
        if not pair.ip_address:
            raise AddressPairMissingIP
        try:
            if "/" in pair.ip_address:
                address = str(ip_network(pair.ip_address, strict=False))
            else:
                address = str(ip_address(pair.ip_address))
        except ValueError as error:
            reason = f"allowed_address_pairs[{at}]: '{pair.ip_address[:100]}' is not a valid IP address or CIDR"
            raise InvalidInput(reason=reason) from error
        if "%" in address:
            raise InvalidInput(reason=f"allowed_address_pairs[{at}]: an address with a scope is not allowed")
        given = pair.mac_address
        mac = mac_address if given is None else checked_mac(given, f"allowed_address_pairs[{at}].mac_address")
        entry = AddressPair(mac_address=mac, ip_address=address)
        if entry in found:
            raise DuplicateAddressPairInRequest(mac_address=mac, ip_address=address)
        found.append(entry)
    return tuple(found)


def checked_options(
    options: Sequence[WantedOption], before: Sequence[tuple[str, str, int]] = ()
) -> tuple[tuple[str, str, int], ...]:
    """The DHCP options of a port after `options` were laid over those it had `before`. Raises `InvalidInput`."""
    found = {(name, version): value for name, value, version in before}
    seen = set()
    for at, option in enumerate(options):
        key = (option.opt_name, option.ip_version)
        if not _OPTION.fullmatch(option.opt_name):
            raise InvalidInput(reason=f"extra_dhcp_opts[{at}]: opt_name is not the name of a DHCP option")
        if option.ip_version not in (4, 6):
            raise InvalidInput(reason=f"extra_dhcp_opts[{at}]: ip_version is neither 4 nor 6")
        if key in seen:
            raise InvalidInput(reason=f"extra_dhcp_opts[{at}]: '{option.opt_name}' is there twice")
        seen.add(key)
        if option.opt_value is None:
            found.pop(key, None)
        elif len(option.opt_value) > 255 or not option.opt_value.isprintable():
            raise InvalidInput(reason=f"extra_dhcp_opts[{at}]: opt_value is not text of 255 characters at most")
        else:
            found[key] = option.opt_value
    if len(found) > MOST_DHCP_OPTIONS:
        raise InvalidInput(reason=f"A port may have at most {MOST_DHCP_OPTIONS} extra_dhcp_opts")
    return tuple((name, value, version) for (name, version), value in found.items())
