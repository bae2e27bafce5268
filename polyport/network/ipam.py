"""Addresses: which ones a port gets, for many ports at once and in few statements.

Addresses are integers here and 32 hexadecimal digits in the database. A subnet hands out its pools in a circle that
goes on where it last stopped (`next_address`), so that an address which has just become free rests for as long
as possible, and the search stays cheap however many are in use: it reads those in use from there on, and no others.
"""

import socket
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv6Address, ip_address

import sqlalchemy as sa
from msgspec import Struct

from polyport.db.engine import Tx
from polyport.db.tables.network import addresses, subnets
from polyport.errors import Conflict, Invalid
from polyport.ids import NetworkId, SubnetId
from polyport.network import InvalidInput
from polyport.plan import FixedIp

MOST_FIXED_IPS = 64
"""Addresses one port may ask for."""

_IPV4_ZEROS = "0" * 24
_MOST_ROWS = 8192


class IpAddressGenerationFailure(Conflict):
    """No more IP addresses available on network {network_id}."""


class IpAddressInUse(Conflict):
    """Unable to complete operation for network {network_id}. The IP address {ip_address} is in use."""


class InvalidIpForNetwork(Invalid):
    """IP address {ip_address} is not a valid IP for any of the subnets on network {network_id}."""


class InvalidIpForSubnet(Invalid):
    """IP address {ip_address} is not a valid IP for subnet {subnet_id}."""


class AllocationOnAutoAddressSubnet(Invalid):
    """IPv6 address {ip_address} cannot be assigned to a port on subnet {subnet_id}: its addresses are automatic."""


class Space(Struct, frozen=True, kw_only=True):
    """What the choice of addresses needs to know of a subnet."""

    subnet_id: SubnetId
    network_id: NetworkId
    version: int
    first: int
    """The network's own address."""
    last: int
    """The highest address, for IPv4 the broadcast address."""
    pools: tuple[tuple[int, int], ...]
    """First and last address of each, ascending; the gateway is in none of them."""
    automatic: bool = False
    """Whether addresses follow from MAC addresses (SLAAC and stateless DHCPv6)."""
    cursor: int | None = None

    def holds(self, address: int) -> bool:
        """Whether a port may have this address at all."""
        if not self.first <= address <= self.last:
            return False
        if self.last - self.first < 2:
            return True
        return self.first < address and (self.version == 6 or address < self.last)


class WantedIp(Struct, frozen=True, kw_only=True):
    """One entry of a port's `fixed_ips` as asked for: an address, a subnet to take one from, or both."""

    subnet_id: SubnetId | None = None
    ip_address: str | None = None


class Want(Struct, frozen=True, kw_only=True):
    """What one port wants: `fixed_ips` is None for one address of each version the network has."""

    network_id: NetworkId
    mac_address: str
    fixed_ips: tuple[WantedIp, ...] | None = None


class _Place(Struct, frozen=True):
    """One address to be: `address` of `spaces[0]`, or, where that is None, any free one of the first with room."""

    spaces: tuple[Space, ...]
    address: int | None = None


def hex_of(address: int) -> str:
    """As it is stored: sorts as the number does."""
    return f"{address:032x}"


def text_of(stored: str) -> str:
    """A stored address in its usual notation. (No subnet may be in `::/8`, so leading zeros mean IPv4.)"""
    if stored.startswith(_IPV4_ZEROS):
        return socket.inet_ntoa(bytes.fromhex(stored[24:]))
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(stored))


def number_of(text: str) -> tuple[int, int] | None:
    """(version, number) of an address in text; None where it is none. Scopes (`%eth0`) and spaces make it none."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.scope_id is not None:
        return None
    return found.version, int(found)


def eui64(space: Space, mac_address: str) -> int:
    """The address a guest with this MAC makes for itself in a /64 (RFC 4291, appendix A)."""
    mac = int(mac_address.replace(":", ""), 16)
    return space.first | ((mac >> 24) << 40 | 0xFFFE << 24 | mac & 0xFFFFFF) ^ (1 << 57)


def rotated(pools: Iterable[tuple[int, int]], cursor: int | None) -> list[tuple[int, int]]:
    """The pools as they are searched: from the cursor up, then those below it."""
    ranges = list(pools)
    if cursor is None:
        return ranges
    above = [(max(first, cursor), last) for first, last in ranges if last >= cursor]
    below = [(first, min(last, cursor - 1)) for first, last in ranges if first < cursor]
    return above + below


def free_between(first: int, last: int, taken: Collection[int], most: int) -> list[int]:
    """The lowest free addresses of a range, `most` at most."""
    found: list[int] = []
    at = first
    while at <= last and len(found) < most:
        if at not in taken:
            found.append(at)
        at += 1
    return found


def allocate(tx: Tx, spaces: Mapping[NetworkId, Sequence[Space]], wanted: Sequence[Want]) -> list[tuple[FixedIp, ...]]:
    """The addresses of each port of `wanted`, in its order. Moves cursors, writes no addresses.

    What is asked for by name is set aside before anything is chosen. Every error's facts carry `index`, the place in
    `wanted` of the entry that cannot be had.
    """
    places = [_places(want, spaces.get(want.network_id, ()), index) for index, want in enumerate(wanted)]
    named = _named(tx, wanted, places)
    found = _chosen(tx, wanted, places, named)
    result = []
    for index, entry in enumerate(places):
        ips = []
        for at, place in enumerate(entry):
            if place.address is not None:
                space, address = place.spaces[0], place.address
            else:
                space, address = found[index, at]
            ips.append(FixedIp(space.subnet_id, text_of(hex_of(address))))
        result.append(tuple(ips))
    return result


def _places(want: Want, spaces: Sequence[Space], index: int) -> list[_Place]:
    """What an entry comes to, before looking at what is in use."""
    places: list[_Place] = []
    if want.fixed_ips is None:
        for version in (4, 6):
            candidates = tuple(space for space in spaces if space.version == version and not space.automatic)
            if candidates:
                places.append(_Place(candidates))
    else:
        if len(want.fixed_ips) > MOST_FIXED_IPS:
            raise InvalidInput(reason=f"A port may have at most {MOST_FIXED_IPS} fixed_ips", index=index)
        for fixed in want.fixed_ips:
            if (place := _place_of(want, fixed, spaces, index)) is not None:
                places.append(place)
    for space in spaces:
        if space.automatic:
            address = eui64(space, want.mac_address)
            if not any(place.address == address for place in places):
                places.append(_Place((space,), address))
    return places


def _place_of(want: Want, fixed: WantedIp, spaces: Sequence[Space], index: int) -> _Place | None:
    """One entry of `fixed_ips`; None where the automatic addresses, which every port gets, are all it asks for."""
    number = None
    if fixed.ip_address is not None:
        number = number_of(fixed.ip_address)
        if number is None:
            raise InvalidInput(reason=f"'{fixed.ip_address[:100]}' is not a valid IP address", index=index)
    if fixed.subnet_id is not None:
        space = next((space for space in spaces if space.subnet_id == fixed.subnet_id), None)
        if space is None:
            reason = f"subnet {fixed.subnet_id} is not on network {want.network_id}"
            raise InvalidInput(reason=reason, index=index)
        if number is not None and (number[0] != space.version or not space.holds(number[1])):
            raise InvalidIpForSubnet(ip_address=fixed.ip_address, subnet_id=fixed.subnet_id, index=index)
    elif number is not None:
        space = next((space for space in spaces if space.version == number[0] and space.holds(number[1])), None)
        if space is None:
            raise InvalidIpForNetwork(ip_address=fixed.ip_address, network_id=want.network_id, index=index)
    else:
        raise InvalidInput(reason="An entry of fixed_ips needs subnet_id or ip_address", index=index)
    if number is None:
        return None if space.automatic else _Place((space,))
    if space.automatic and number[1] != eui64(space, want.mac_address):
        raise AllocationOnAutoAddressSubnet(ip_address=fixed.ip_address, subnet_id=space.subnet_id, index=index)
    return _Place((space,), number[1])


def _named(tx: Tx, wanted: Sequence[Want], places: Sequence[Sequence[_Place]]) -> dict[SubnetId, set[int]]:
    """The addresses asked for by name, each once and free."""
    owners: dict[tuple[str, str], tuple[int, Space, int]] = {}
    for index, entry in enumerate(places):
        for place in entry:
            if place.address is None:
                continue
            space = place.spaces[0]
            key = (space.subnet_id, hex_of(place.address))
            if key in owners:
                reason = f"IP address {text_of(key[1])} is asked for twice"
                raise InvalidInput(reason=reason, index=index, ip_address=text_of(key[1]))
            owners[key] = (index, space, place.address)
    if not owners:
        return {}
    rows = tx.all(_IN_USE, {"subnets": list({key[0] for key in owners}), "addresses": [key[1] for key in owners]})
    for row in rows:
        if (row.subnet_id, row.address) in owners:
            index, space, _ = owners[row.subnet_id, row.address]
            raise IpAddressInUse(network_id=space.network_id, ip_address=text_of(row.address), index=index)
    named: dict[SubnetId, set[int]] = defaultdict(set)
    for _, space, address in owners.values():
        named[space.subnet_id].add(address)
    return named


def _chosen(
    tx: Tx, wanted: Sequence[Want], places: Sequence[Sequence[_Place]], named: Mapping[SubnetId, set[int]]
) -> dict[tuple[int, int], tuple[Space, int]]:
    """A free address for each place that asked for any: (entry, place) -> where.

    Those who name their subnet are served first, so that nobody who could do with another takes their last address.
    """
    groups: dict[tuple[SubnetId, ...], list[tuple[int, int]]] = defaultdict(list)
    for index, entry in enumerate(places):
        for at, place in enumerate(entry):
            if place.address is None:
                groups[tuple(space.subnet_id for space in place.spaces)].append((index, at))
    found: dict[tuple[int, int], tuple[Space, int]] = {}
    reserved = {subnet_id: set(numbers) for subnet_id, numbers in named.items()}
    for _, keys in sorted(groups.items(), key=lambda group: len(group[0])):
        left = list(keys)
        for space in places[keys[0][0]][keys[0][1]].spaces:
            if not left:
                break
            mine = reserved.setdefault(space.subnet_id, set())
            free = _take(tx, space, len(left), mine)
            mine.update(free)
            for address in free:
                found[left.pop(0)] = (space, address)
        if left:
            index = left[0][0]
            raise IpAddressGenerationFailure(network_id=wanted[index].network_id, index=index)
    return found


def _take(tx: Tx, space: Space, most: int, reserved: Collection[int]) -> list[int]:
    """Up to `most` free addresses of a subnet, moving its cursor behind them."""
    found: list[int] = []
    rows_wanted = most + 32
    counted = False
    for first, last in rotated(space.pools, space.cursor):
        at = first
        while at <= last and len(found) < most:
            values = {"subnet": space.subnet_id, "first": hex_of(at), "last": hex_of(last), "most": rows_wanted}
            taken = [int(row[0], 16) for row in tx.all(_TAKEN, values)]
            whole = len(taken) < rows_wanted
            end = last if whole else taken[-1]
            found += free_between(at, end, {*taken, *reserved}, most - len(found))
            at = end + 1
            if len(found) < most and not whole and not counted:
                counted = True
                if _is_full(tx, space):
                    return []
            rows_wanted = min(rows_wanted * 8, _MOST_ROWS)
    if found:
        tx.execute(_MOVE_CURSOR, {"subnet": space.subnet_id, "at": hex_of(found[-1] + 1)})
    return found


def _is_full(tx: Tx, space: Space) -> bool:
    """Counting is many times cheaper than walking through every address of a subnet that has none left."""
    for first, last in space.pools:
        values = {"subnet": space.subnet_id, "first": hex_of(first), "last": hex_of(last)}
        if tx.value(_COUNT, values) <= last - first:
            return False
    return True


_between = (
    addresses.c.subnet_id == sa.bindparam("subnet"),
    addresses.c.address >= sa.bindparam("first"),
    addresses.c.address <= sa.bindparam("last"),
)
_TAKEN = sa.select(addresses.c.address).where(*_between).order_by(addresses.c.address).limit(sa.bindparam("most"))
_COUNT = sa.select(sa.func.count()).select_from(addresses).where(*_between)
_IN_USE = sa.select(addresses.c.subnet_id, addresses.c.address).where(
    addresses.c.subnet_id.in_(sa.bindparam("subnets", expanding=True)),
    addresses.c.address.in_(sa.bindparam("addresses", expanding=True)),
)
_MOVE_CURSOR = sa.update(subnets).where(subnets.c.id == sa.bindparam("subnet")).values(next_address=sa.bindparam("at"))
