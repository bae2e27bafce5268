"""The rules of a subnet's addresses: CIDR, gateway, allocation pools, IPv6 modes. Pure; numbers are addresses."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import pairwise

from polyport.errors import Conflict, Invalid
from polyport.network import InvalidInput
from polyport.network.ipam import number_of

Net = IPv4Network | IPv6Network

AUTOMATIC_MODES = ("slaac", "dhcpv6-stateless")
MODES = (*AUTOMATIC_MODES, "dhcpv6-stateful")
MOST_POOLS = 256

_NOT_FOR_HOSTS: tuple[Net, ...] = (
    *(IPv4Network(cidr) for cidr in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4")),
    IPv4Network("255.255.255.255/32"),
    *(IPv6Network(cidr) for cidr in ("::/8", "fe80::/10", "ff00::/8")),
)
"""Addresses that no host has, or that each link has for itself (RFC 6890, RFC 4291)."""


class InvalidAllocationPool(Invalid):
    """The allocation pool {pool} is not valid."""


class OutOfBoundsAllocationPool(Invalid):
    """The allocation pool {pool} spans beyond the subnet cidr {cidr}."""


class OverlappingAllocationPools(Conflict):
    """Found overlapping allocation pools: {one} {other} for subnet {cidr}."""


class GatewayConflictWithAllocationPools(Conflict):
    """Gateway ip {gateway} conflicts with allocation pool {pool}."""


def cidr_of(text: str) -> Net:
    """A CIDR, its host bits cleared. Raises `ValueError`, also where Python's own reading would keep a scope
    (`fe80::%anything at all/64`)."""
    if "%" in text:
        raise ValueError(text)
    return ip_network(text, strict=False)


def net_of(cidr: str, version: int) -> Net:
    """The network of a CIDR, its host bits cleared as Neutron does. Raises `InvalidInput`."""
    try:
        net = cidr_of(cidr)
    except ValueError as error:
        raise InvalidInput(reason=f"'{cidr[:100]}' is not a valid CIDR") from error
    if "/" not in cidr:
        raise InvalidInput(reason=f"'{cidr[:100]}' is not a valid CIDR: it has no prefix length")
    if net.version != version:
        raise InvalidInput(reason=f"cidr '{cidr}' does not match the ip_version '{version}'")
    if net.prefixlen == 0:
        raise InvalidInput(reason="0 is not allowed as CIDR prefix length")
    for other in _NOT_FOR_HOSTS:
        if other.version == version and net.overlaps(other):
            raise InvalidInput(reason=f"cidr '{cidr}' has addresses that ports may not have: those of {other}")
    return net


def check_dhcp(net: Net, enable_dhcp: bool) -> None:
    """Refuse DHCP on a subnet without room for a server and a client."""
    if enable_dhcp and net.max_prefixlen - net.prefixlen < 2:
        raise InvalidInput(reason="Subnet has a prefix length that is incompatible with DHCP service enabled")


def check_modes(net: Net, enable_dhcp: bool, ra_mode: str | None, address_mode: str | None) -> None:
    """The IPv6 modes against the rest. Raises `InvalidInput`."""
    if ra_mode is None and address_mode is None:
        return
    if net.version == 4:
        raise InvalidInput(reason="ipv6_ra_mode and ipv6_address_mode are for subnets with ip_version 6 only")
    for name, mode in (("ipv6_ra_mode", ra_mode), ("ipv6_address_mode", address_mode)):
        if mode is not None and mode not in MODES:
            raise InvalidInput(reason=f"{name} '{mode[:50]}' is not one of {', '.join(MODES)}")
    if not enable_dhcp:
        raise InvalidInput(reason="ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
    if ra_mode is not None and address_mode is not None and ra_mode != address_mode:
        raise InvalidInput(
            reason=f"ipv6_ra_mode set to '{ra_mode}' with ipv6_address_mode set to '{address_mode}' is not valid"
        )
    if is_automatic(ra_mode, address_mode) and net.prefixlen != 64:
        raise InvalidInput(reason=f"cidr {net} has no prefix of /64, which addresses made from MACs need")


def is_automatic(ra_mode: str | None, address_mode: str | None) -> bool:
    """Whether the addresses of a subnet follow from MAC addresses."""
    return ra_mode in AUTOMATIC_MODES or address_mode in AUTOMATIC_MODES


def bounds_of(net: Net) -> tuple[int, int]:
    """The first and the last address ports may have in a network."""
    first, last = int(net.network_address), int(net.broadcast_address)
    if last - first < 2:
        return first, last
    return first + 1, last - 1 if net.version == 4 else last


def default_gateway(net: Net) -> str | None:
    """The lowest usable address; none where that is all there is."""
    if net.prefixlen == net.max_prefixlen:
        return None
    return str(net.network_address if net.max_prefixlen - net.prefixlen < 2 else net.network_address + 1)


def check_gateway(net: Net, gateway: str) -> str:
    """The gateway in its usual notation. It may lie outside of the subnet, as in Neutron, and be link-local where it is
    IPv6; but it must be an address that a host can have. Raises `InvalidInput`."""
    number = number_of(gateway)
    if number is None:
        raise InvalidInput(reason=f"gateway_ip '{gateway[:100]}' is not a valid IP address")
    if number[0] != net.version:
        raise InvalidInput(reason=f"gateway_ip '{gateway}' does not match the ip_version '{net.version}'")
    address = ip_address(gateway)
    if address in net:
        # The first address of an IPv6 network is every router's (RFC 4291, 2.6.1).
        first, last = bounds_of(net)
        usable = address.version == 6 or first <= number[1] <= last
    else:
        usable = (address.version == 6 and address.is_link_local) or not any(address in net for net in _NOT_FOR_HOSTS)
    if not usable:
        raise InvalidInput(reason=f"Gateway is not valid on subnet: gateway_ip '{gateway}', cidr '{net}'")
    return str(address)


def default_pools(net: Net, gateway: str | None) -> list[tuple[int, int]]:
    """All usable addresses but the gateway's."""
    first, last = bounds_of(net)
    number = int(ip_address(gateway)) if gateway is not None else None
    if number is None or not first <= number <= last:
        return [(first, last)]
    return [(low, high) for low, high in ((first, number - 1), (number + 1, last)) if low <= high]


def checked_pools(net: Net, pools: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Pools a user gave, ascending. Raises the error that names the pool."""
    if len(pools) > MOST_POOLS:
        raise InvalidInput(reason=f"A subnet may have at most {MOST_POOLS} allocation_pools")
    first, last = bounds_of(net)
    found = []
    for start, end in pools:
        name = f"{start[:50]}-{end[:50]}"
        low, high = number_of(start), number_of(end)
        if low is None or high is None or low[0] != net.version or high[0] != net.version or low[1] > high[1]:
            raise InvalidAllocationPool(pool=name)
        if low[1] < first or high[1] > last:
            raise OutOfBoundsAllocationPool(pool=name, cidr=net)
        found.append((low[1], high[1]))
    found.sort()
    for one, other in pairwise(found):
        if other[0] <= one[1]:
            raise OverlappingAllocationPools(one=_name(net, one), other=_name(net, other), cidr=net)
    return found


def check_gateway_outside(net: Net, gateway: str | None, pools: Sequence[tuple[int, int]]) -> None:
    """Raises `GatewayConflictWithAllocationPools` where the gateway would be handed out."""
    if gateway is None:
        return
    number = int(ip_address(gateway))
    for pool in pools:
        if pool[0] <= number <= pool[1]:
            raise GatewayConflictWithAllocationPools(gateway=gateway, pool=_name(net, pool))


def texts_of(net: Net, pools: Sequence[tuple[int, int]]) -> list[list[str]]:
    """As the table keeps them: first and last address of each in text."""
    kind = type(net.network_address)
    return [[str(kind(first)), str(kind(last))] for first, last in pools]


def _name(net: Net, pool: tuple[int, int]) -> str:
    kind = type(net.network_address)
    return f"{kind(pool[0])}-{kind(pool[1])}"
