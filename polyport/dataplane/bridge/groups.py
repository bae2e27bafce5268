"""Security groups -> nftables text. Pure: nothing here touches the host.

    a port       its combination of groups    each group
    from_port -> says_<combination>        -> out_<group>     frames the guest sends
    to_port   -> hears_<combination>       -> in_<group>      frames sent to the guest

Ports with the same groups share a chain, so a port is two map elements, whatever its groups say, and a rule is written
once, whoever is in the group. Where a rule names a group, it looks into the sets of that group's addresses (`Members`).
What several rules of a group say alike, but for ports or prefixes, becomes one rule with a set.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from string import Template
from typing import NamedTuple

from polyport.dataplane import DataplaneError
from polyport.dataplane.bridge.causes import NUMBERS
from polyport.dataplane.bridge.network import CONNECTION_BITS
from polyport.ids import SecurityGroupId
from polyport.plan import RulePlan, SecurityGroupPlan

TABLE_PREFIX = "polyport_groups_"
STATES = "polyport_states"
"""The table that tells what connection a packet belongs to."""

PRIORITIES = {"from_port": -80, "to_port": -70, "forget": -60}
"""At the forward hook; before any other chain of ours there, so that the others find the mark as the network's."""

ESTABLISHED, INVALID = 1, 2
"""Bits of the packet mark."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ICMP = {"IPv4": 1, "IPv6": 58}
_WITH_PORTS = frozenset((6, 17, 33, 132, 136))

Network = IPv4Network | IPv6Network


class BadGroup(DataplaneError):
    """The plan of security group {group_id} cannot be carried out: {reason}."""


class Backend(NamedTuple):
    """Where the state of a connection is found."""

    name: str
    established: str
    invalid: str
    family: str
    """Of the table with the map of zones."""
    by_port: bool
    """Whether zones are told by the port a frame comes from, or else by its bridge."""


NATIVE = Backend("bridge", "ct state established,related", "ct state invalid", "bridge", True)
BY_MARK = Backend(
    "inet",
    f"meta mark and {ESTABLISHED:#x} == {ESTABLISHED:#x}",
    f"meta mark and {INVALID:#x} == {INVALID:#x}",
    "inet",
    False,
)


def table_of(backend: Backend, number: int) -> str:
    """The table of groups without ports: the text to load. Each agent has one of its own, with a `number`."""
    return _template("groups.nft").substitute(
        table=f"{TABLE_PREFIX}{number}",
        established=backend.established,
        invalid=backend.invalid,
        from_port=PRIORITIES["from_port"],
        to_port=PRIORITIES["to_port"],
        **NUMBERS,
    )


def states_of(backend: Backend) -> str:
    """The table of connection states without networks: the text to load."""
    return _template(f"states_{backend.name}.nft").substitute(
        table=STATES,
        established=f"{ESTABLISHED:#x}",
        invalid=f"{INVALID:#x}",
        network=f"{0xFFFFFFFF & ~((1 << CONNECTION_BITS) - 1):#x}",
        forget=PRIORITIES["forget"],
    )


def digits(group_id: SecurityGroupId) -> str:
    """What a group is called in names. Raises `BadGroup`."""
    if not _UUID.fullmatch(group_id):
        raise BadGroup(group_id=group_id, reason="its id is not a UUID")
    return group_id.replace("-", "")


def combination(group_ids: Iterable[SecurityGroupId]) -> str:
    """The name of a set of groups, in whatever order."""
    return hashlib.sha256(" ".join(sorted(group_ids)).encode()).hexdigest()[:24]


def combination_chains(table: str, group_ids: Iterable[SecurityGroupId]) -> str:
    """The text that makes the chains of a combination; those of its groups must be there."""
    ids = sorted(set(group_ids))
    name = combination(ids)
    lines = []
    for chain, basics, way, cause, drop in (
        (f"says_{name}", "anybody_says", "out", NUMBERS["egress_security_group"], "dropped_from"),
        (f"hears_{name}", "anybody_hears", "in", NUMBERS["ingress_security_group"], "dropped_to"),
    ):
        lines.append(f"add chain bridge {table} {chain}")
        rules = [
            f"jump {basics}",
            *(f"jump {way}_{digits(each)}" for each in ids),
            f"meta mark set {cause} goto {drop}",
        ]
        lines += [f"add rule bridge {table} {chain} {rule}" for rule in rules]
    return _lines(lines)


def group_frame(table: str, group_id: SecurityGroupId) -> str:
    """The text that makes the chains and sets of a group, empty."""
    name = digits(group_id)
    lines = [f"add chain bridge {table} {way}_{name}" for way in ("in", "out")]
    for version, kind in (("4", "ipv4_addr"), ("6", "ipv6_addr")):
        lines.append(f"add set bridge {table} ip{version}_{name} {{ type {kind}; }}")
        lines.append(f"add set bridge {table} cidr{version}_{name} {{ type {kind}; flags interval; }}")
    return _lines(lines)


def group_removal(table: str, group_id: SecurityGroupId) -> str:
    """The text that takes them away; the chains of all that go must be empty by then."""
    name = digits(group_id)
    lines = [f"delete chain bridge {table} {way}_{name}" for way in ("in", "out")]
    lines += [f"delete set bridge {table} {kind}_{name}" for kind in ("ip4", "cidr4", "ip6", "cidr6")]
    return _lines(lines)


def group_rules(table: str, group: SecurityGroupPlan) -> str:
    """The text that brings the chains of a group to its plan. Raises `BadGroup`."""
    lines = []
    for way, direction in (("in", "ingress"), ("out", "egress")):
        chain = f"{way}_{digits(group.id)}"
        lines.append(f"flush chain bridge {table} {chain}")
        rules = [rule for rule in group.rules if rule.direction == direction]
        lines += [f"add rule bridge {table} {chain} {match} accept" for match in matches(group.id, rules, way)]
    return _lines(lines)


def remotes_of(group: SecurityGroupPlan) -> set[SecurityGroupId]:
    """The groups a group's rules name."""
    return {rule.remote_group_id for rule in group.rules if rule.remote_group_id is not None}


def matches(group_id: SecurityGroupId, rules: Sequence[RulePlan], way: str) -> list[str]:
    """What one direction of a group lets pass, as nft's conditions."""
    ports: dict[tuple[str, int | None, str, SecurityGroupId | None], set[tuple[int, int]]] = {}
    conditions: dict[tuple[str, str, str, SecurityGroupId | None], set[Network]] = {}
    for rule in rules:
        remote = rule.remote_group_id
        prefix = _prefix(group_id, rule)
        if rule.protocol in _WITH_PORTS and rule.port_range_min is not None:
            span = _span(group_id, rule)
            where = "" if prefix is None else str(prefix)
            ports.setdefault((rule.ethertype, rule.protocol, where, remote), set()).add(span)
        else:
            kind = "" if prefix is None else "prefix"
            some = conditions.setdefault((rule.ethertype, _protocol(group_id, rule), kind, remote), set())
            some.update(() if prefix is None else (prefix,))
    for (ethertype, protocol, where, remote), spans in ports.items():
        words = f"meta l4proto {protocol} th dport {_set(_text(span) for span in _merged(spans))}"
        some = conditions.setdefault((ethertype, words, "prefix" if where else "", remote), set())
        some.update((ip_network(where),) if where else ())
    found = []
    for (ethertype, words, kind, remote), prefixes in conditions.items():
        family, version = ("ip", "4") if ethertype == "IPv4" else ("ip6", "6")
        peer = f"{family} {'saddr' if way == 'in' else 'daddr'}"
        base = " ".join(part for part in (f"ether type {family}", words) if part)
        if remote is not None:
            found += [f"{base} {peer} @{kind_}{version}_{digits(remote)}" for kind_ in ("ip", "cidr")]
        elif kind:
            found.append(f"{base} {peer} {_set(map(str, collapse_addresses(prefixes)))}")  # type: ignore[type-var]
        else:
            found.append(base)
    return sorted(found)


def _protocol(group_id: SecurityGroupId, rule: RulePlan) -> str:
    protocol = rule.protocol
    if protocol is None:
        return ""
    if not 0 <= protocol <= 255:
        raise BadGroup(group_id=group_id, reason=f"protocol {protocol} is not in 0..255")
    if protocol == _ICMP[rule.ethertype] and rule.port_range_min is not None:
        word = "icmp" if protocol == 1 else "icmpv6"
        kind, code = rule.port_range_min, rule.port_range_max
        if not 0 <= kind <= 255 or not 0 <= (code or 0) <= 255:
            raise BadGroup(group_id=group_id, reason=f"ICMP type {kind} and code {code} are not in 0..255")
        return f"meta l4proto {protocol} {word} type {kind}" + ("" if code is None else f" {word} code {code}")
    return f"meta l4proto {protocol}"


def _span(group_id: SecurityGroupId, rule: RulePlan) -> tuple[int, int]:
    low = 0 if rule.port_range_min is None else rule.port_range_min
    high = low if rule.port_range_max is None else rule.port_range_max
    if not 0 <= low <= high <= 65535:
        raise BadGroup(group_id=group_id, reason=f"ports {low} to {high} are no range")
    return low, high


def _prefix(group_id: SecurityGroupId, rule: RulePlan) -> Network | None:
    """The prefix of a rule's peers; None for everybody."""
    if rule.remote_ip_prefix is None:
        return None
    try:
        network = ip_network(rule.remote_ip_prefix, strict=False)
    except ValueError as error:
        raise BadGroup(group_id=group_id, reason=f"{rule.remote_ip_prefix!r} is no prefix") from error
    if network.version != (4 if rule.ethertype == "IPv4" else 6):
        raise BadGroup(group_id=group_id, reason=f"{rule.remote_ip_prefix!r} is not of {rule.ethertype}")
    return network if network.prefixlen else None


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


def _text(span: tuple[int, int]) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]}-{span[1]}"


def _set(values: Iterable[str]) -> str:
    some = list(values)
    return some[0] if len(some) == 1 else f"{{ {', '.join(some)} }}"


def _template(name: str) -> Template:
    return Template(files(__package__).joinpath(name).read_text(encoding="ascii"))


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
