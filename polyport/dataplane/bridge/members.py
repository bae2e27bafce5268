"""Who is in which security group, and what follows from it. Pure state, no I/O.

An address may be in a group for several reasons (siblings, a virtual address of two ports), so reasons are counted.
Ranges that overlap would be refused by nftables, so those of a group are seen together.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, collapse_addresses, ip_interface, ip_network
from typing import NamedTuple, TypeVar

from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.connections import Connection
from polyport.dataplane.bridge.groups import Network, digits
from polyport.ids import PortId, SecurityGroupId
from polyport.names import bridge_of, tap_of
from polyport.plan import RulePlan, SecurityGroupPlan

K = TypeVar("K")
Address = IPv4Address | IPv6Address
Elements = defaultdict[str, set[str]]
"""Set -> its elements."""


class Member(NamedTuple):
    """A port, as far as groups are concerned."""

    port_id: PortId
    tap: str
    bridge: str
    groups: tuple[SecurityGroupId, ...] | None
    """None where no group is to judge its frames."""
    addresses: frozenset[Network]


def member_of(vif: VifPlan) -> Member:
    """The port of a vif whose values were checked."""
    nic = vif.nic
    texts = [*(each.ip_address for each in nic.fixed_ips), *(each.ip_address for each in nic.allowed_address_pairs)]
    return Member(
        port_id=nic.port_id,
        tap=tap_of(nic.port_id),
        bridge=bridge_of(vif.network.id),
        groups=tuple(sorted(set(nic.security_groups))) if nic.port_security_enabled else None,
        addresses=frozenset(ip_interface(text).network for text in texts),
    )


class Members:
    def __init__(self) -> None:
        self.ports: dict[PortId, Member] = {}
        self.on_bridge: defaultdict[str, set[PortId]] = defaultdict(set)
        self._reasons: defaultdict[SecurityGroupId, Counter[Network]] = defaultdict(Counter)
        self._in_group: defaultdict[SecurityGroupId, set[PortId]] = defaultdict(set)
        self._at: defaultdict[tuple[str, Network], set[PortId]] = defaultdict(set)

    def add(self, member: Member) -> None:
        self.ports[member.port_id] = member
        self.on_bridge[member.bridge].add(member.port_id)
        for network in member.addresses:
            self._at[member.bridge, network].add(member.port_id)
        for group_id in member.groups or ():
            self._in_group[group_id].add(member.port_id)
            self._reasons[group_id].update(member.addresses)

    def remove(self, port_id: PortId) -> None:
        member = self.ports.pop(port_id)
        _discard(self.on_bridge, member.bridge, port_id)
        for network in member.addresses:
            _discard(self._at, (member.bridge, network), port_id)
        for group_id in member.groups or ():
            _discard(self._in_group, group_id, port_id)
            reasons = self._reasons[group_id]
            reasons.subtract(member.addresses)
            for network in member.addresses:
                if reasons[network] <= 0:
                    del reasons[network]
            if not reasons:
                del self._reasons[group_id]

    def combinations(self) -> set[tuple[SecurityGroupId, ...]]:
        """What ports are judged by."""
        return {member.groups for member in self.ports.values() if member.groups is not None}

    def of_group(self, group_id: SecurityGroupId) -> list[Member]:
        return [self.ports[port_id] for port_id in self._in_group.get(group_id, ())]

    def elements(self, group_id: SecurityGroupId, among: Iterable[Network] | None = None) -> Elements:
        """The elements of a group's sets; of single addresses only those `among` these, where given."""
        reasons: Mapping[Network, int] = self._reasons.get(group_id, Counter())
        name = digits(group_id)
        found: Elements = defaultdict(set)
        for network in reasons if among is None else among:
            if reasons.get(network, 0) > 0 and _is_single(network):
                found[f"ip{network.version}_{name}"].add(str(network.network_address))
        if among is None or not all(map(_is_single, among)):
            for version in (4, 6):
                wide = [each for each in reasons if each.version == version and not _is_single(each)]
                for network in collapse_addresses(wide):  # type: ignore[type-var]
                    # nftables has no name for everything but its two halves.
                    halves = network.subnets() if network.prefixlen == 0 else (network,)
                    found[f"cidr{version}_{name}"].update(map(str, halves))
        return found

    def at(self, bridge: str, address: Address) -> list[Member]:
        """The ports of a bridge that may use an address: by name, or else in a range."""
        single = ip_network(address)
        ports = self._at.get((bridge, single))
        if ports:
            return [self.ports[port_id] for port_id in ports]
        return [
            member
            for member in map(self.ports.__getitem__, self.on_bridge.get(bridge, ()))
            if any(_holds(network, address) for network in member.addresses)
        ]

    def lets_pass(
        self, bridge: str, connection: Connection, groups: Mapping[SecurityGroupId, SecurityGroupPlan]
    ) -> bool:
        """Whether a connection on a bridge may begin, by the groups of both ends. An end that is not of a port here,
        or whose port no group judges, has no objections."""
        return self._agrees("egress", self.at(bridge, connection.source), connection.target, connection, groups) and (
            self._agrees("ingress", self.at(bridge, connection.target), connection.source, connection, groups)
        )

    def _agrees(
        self,
        direction: str,
        ends: list[Member],
        peer: Address,
        connection: Connection,
        groups: Mapping[SecurityGroupId, SecurityGroupPlan],
    ) -> bool:
        if not ends:
            return True
        for member in ends:
            if member.groups is None:
                return True
            for rule in _rules(member.groups, groups):
                if rule.direction == direction and self._fits(rule, peer, connection):
                    return True
        return False

    def _fits(self, rule: RulePlan, peer: Address, connection: Connection) -> bool:
        if peer.version != (4 if rule.ethertype == "IPv4" else 6):
            return False
        if rule.protocol is not None:
            if rule.protocol != connection.protocol:
                return False
            low, high = rule.port_range_min, rule.port_range_max
            if low is not None and connection.protocol in (1, 58):
                if connection.port != low or (high is not None and connection.code != high):
                    return False
            elif low is not None and not low <= connection.port <= (low if high is None else high):
                return False
        if rule.remote_ip_prefix is not None and peer not in ip_network(rule.remote_ip_prefix, strict=False):
            return False
        if rule.remote_group_id is not None:
            reasons = self._reasons.get(rule.remote_group_id, Counter())
            return reasons.get(ip_network(peer), 0) > 0 or any(
                _holds(network, peer) for network in reasons if not _is_single(network)
            )
        return True


def _rules(
    group_ids: Iterable[SecurityGroupId], groups: Mapping[SecurityGroupId, SecurityGroupPlan]
) -> Iterator[RulePlan]:
    for group_id in group_ids:
        if group_id in groups:
            yield from groups[group_id].rules


def _is_single(network: Network) -> bool:
    return network.prefixlen == network.max_prefixlen


def _holds(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network


def _discard(of: defaultdict[K, set[PortId]], key: K, port_id: PortId) -> None:
    of[key].discard(port_id)
    if not of[key]:
        del of[key]
