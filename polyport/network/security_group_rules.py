"""Rules of security groups, and all that can be wrong with one. The checks are Neutron's, and so are the names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

import sqlalchemy as sa
from msgspec import Struct, structs

from polyport import quotas
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.metadata import now
from polyport.db.tables.network import security_group_rules, security_groups
from polyport.errors import Conflict, Invalid, NotFound
from polyport.ids import ProjectId, SecurityGroupId, is_uuid, new_id
from polyport.network import InvalidInput
from polyport.network.networks import project_of
from polyport.network.security_groups import get_group, touched

PROTOCOLS: Mapping[str, int] = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "hopopt": 0,
    "icmp": 1,
    "icmpv6": 58,
    "igmp": 2,
    "ip": 0,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
}
"""The names Neutron knows (IANA protocol numbers)."""

_WITH_PORTS = frozenset((6, 17, 33, 132, 136))
_ICMP = frozenset((1, 58))
_OF_IPV6 = frozenset((41, 43, 44, 58, 59, 60))
_MOST_PORT = 65535
_AT_ONCE = 1000
_EVERYBODY = frozenset(("0.0.0.0/0", "::/0"))


class SecurityGroupRuleNotFound(NotFound):
    """Security group rule {id} does not exist."""


class SecurityGroupRuleExists(Conflict):
    """Security group rule already exists. Rule id is {id}."""


class SecurityGroupInvalidProtocol(Invalid):
    """Security group rule protocol {protocol} not supported: it is neither a known name nor a number from 0 to 255."""


class SecurityGroupRuleInvalidEtherType(Invalid):
    """Security group rule for ethertype '{ethertype}' not supported. Allowed values are IPv4 and IPv6."""


class SecurityGroupEthertypeConflictWithProtocol(Invalid):
    """Invalid ethertype {ethertype} for protocol {protocol}."""


class SecurityGroupProtocolRequiredWithPorts(Invalid):
    """Must also specify protocol if port range is given."""


class SecurityGroupInvalidProtocolForPort(Invalid):
    """Invalid protocol {protocol} for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP."""


class SecurityGroupInvalidPortRange(Invalid):
    """For TCP/UDP protocols, port_range_min must be <= port_range_max."""


class SecurityGroupInvalidPortValue(Invalid):
    """Invalid value for port {port}."""


class SecurityGroupMissingIcmpType(Invalid):
    """ICMP code (port-range-max) {value} is provided but ICMP type (port-range-min) is missing."""


class SecurityGroupInvalidIcmpValue(Invalid):
    """Invalid value for ICMP {field} ({attribute}) {value}. It must be 0 to 255."""


class SecurityGroupRemoteGroupAndRemoteIpPrefix(Invalid):
    """Only remote_ip_prefix or remote_group_id may be provided."""


class SecurityGroupRuleParameterConflict(Invalid):
    """Conflicting value ethertype {ethertype} for CIDR {cidr}."""


class SecurityGroupRule(Struct, frozen=True):
    """A row of the table in its own order."""

    id: str
    project_id: ProjectId
    security_group_id: SecurityGroupId
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_ip_prefix: str | None
    remote_group_id: SecurityGroupId | None
    description: str
    revision_number: int
    created_at: str
    updated_at: str


class NewSecurityGroupRule(Struct, frozen=True, kw_only=True):
    security_group_id: SecurityGroupId
    direction: str
    project_id: ProjectId | None = None
    ethertype: str = "IPv4"
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: SecurityGroupId | None = None
    description: str = ""


COLUMNS: dict[str, sa.ColumnElement[Any]] = {
    **{name: security_group_rules.c[name] for name in SecurityGroupRule.__struct_fields__},
    "tenant_id": security_group_rules.c.project_id,
}
"""Attributes a list may be filtered and sorted by."""

_SELECTED = [security_group_rules.c[name] for name in SecurityGroupRule.__struct_fields__]


def select_rules(context: Context) -> sa.Select[Any]:
    """The rules of the groups a caller sees."""
    statement = sa.select(*_SELECTED)
    if context.is_admin:
        return statement
    groups = sa.select(security_groups.c.id).where(security_groups.c.project_id == context.project_id)
    return statement.where(security_group_rules.c.security_group_id.in_(groups))


def read_rules(tx: Tx, statement: sa.Select[Any]) -> list[SecurityGroupRule]:
    """The rules a statement on the table selects, in its order."""
    rows: Sequence[Any] = tx.all(statement)
    return [SecurityGroupRule(*row) for row in rows]


def rules_of(tx: Tx, group_ids: Sequence[SecurityGroupId]) -> dict[SecurityGroupId, list[SecurityGroupRule]]:
    """The rules of groups, each in order of creation; a group without rules is not in it."""
    found: dict[SecurityGroupId, list[SecurityGroupRule]] = {}
    column = security_group_rules.c
    for at in range(0, len(group_ids), _AT_ONCE):
        wanted = column.security_group_id.in_(list(group_ids[at : at + _AT_ONCE]))
        for rule in read_rules(tx, sa.select(*_SELECTED).where(wanted).order_by(column.created_at, column.id)):
            found.setdefault(rule.security_group_id, []).append(rule)
    return found


def get_rule(tx: Tx, context: Context, rule_id: str) -> SecurityGroupRule:
    """Raises `SecurityGroupRuleNotFound`, also for what the caller may not see."""
    found = (
        read_rules(tx, select_rules(context).where(security_group_rules.c.id == rule_id)) if is_uuid(rule_id) else []
    )
    if not found:
        raise SecurityGroupRuleNotFound(id=rule_id[:255])
    return found[0]


def create_rules(tx: Tx, context: Context, wanted: Sequence[NewSecurityGroupRule]) -> list[SecurityGroupRule]:
    """All of them or none, in few statements however many they are and however many their groups have."""
    entries = [checked(entry) for entry in wanted]
    named = [entry.security_group_id for entry in entries]
    remote = [entry.remote_group_id for entry in entries if entry.remote_group_id is not None]
    groups = {group_id: get_group(tx, context, group_id) for group_id in dict.fromkeys((*named, *remote))}
    there = _there(tx, entries)
    time = now()
    made = []
    for entry in entries:
        own = groups[entry.security_group_id].project_id
        rule = SecurityGroupRule(
            id=new_id(),
            project_id=own if entry.project_id is None else project_of(context, entry.project_id),
            security_group_id=entry.security_group_id,
            direction=entry.direction,
            ethertype=entry.ethertype,
            protocol=entry.protocol,
            port_range_min=entry.port_range_min,
            port_range_max=entry.port_range_max,
            remote_ip_prefix=entry.remote_ip_prefix,
            remote_group_id=entry.remote_group_id,
            description=entry.description,
            revision_number=1,
            created_at=time,
            updated_at=time,
        )
        same = there.setdefault(_meaning(rule), rule.id)
        if same != rule.id:
            raise SecurityGroupRuleExists(id=same)
        made.append(rule)
    for project_id, count in Counter(rule.project_id for rule in made).items():
        quotas.charge(tx, project_id, {"security_group_rule": count})
    tx.execute(sa.insert(security_group_rules), [structs.asdict(rule) for rule in made])
    for group_id in dict.fromkeys(named):
        touched(tx, group_id)
    return made


def delete_rule(tx: Tx, context: Context, rule_id: str) -> None:
    rule = get_rule(tx, context, rule_id)
    tx.execute(sa.delete(security_group_rules).where(security_group_rules.c.id == rule.id))
    quotas.refund(tx, rule.project_id, {"security_group_rule": 1})
    touched(tx, rule.security_group_id)


def protocol_number(protocol: str | None, ethertype: str) -> int | None:
    """The number in the IP header that a stored protocol means; None for any, which is what 0 means in a rule, and
    ICMP for IPv6 is ICMPv6 by whatever name."""
    number = _number(protocol) or None
    return 58 if number == 1 and ethertype == "IPv6" else number


def checked(entry: NewSecurityGroupRule) -> NewSecurityGroupRule:
    """A rule with its protocol and prefix in one notation. Raises the error that names what is wrong with it."""
    if entry.direction not in ("ingress", "egress"):
        raise InvalidInput(reason=f"direction '{entry.direction[:50]}' is neither 'ingress' nor 'egress'")
    ethertype = {"ipv4": "IPv4", "ipv6": "IPv6"}.get(entry.ethertype.lower())
    if ethertype is None:
        raise SecurityGroupRuleInvalidEtherType(ethertype=entry.ethertype[:50])
    protocol = _protocol(entry.protocol, ethertype)
    number = None if protocol is None else _number(protocol)
    if number in _OF_IPV6 and ethertype == "IPv4":
        raise SecurityGroupEthertypeConflictWithProtocol(ethertype=ethertype, protocol=protocol)
    _check_ports(entry, protocol, number)
    if entry.remote_group_id is not None and entry.remote_ip_prefix is not None:
        raise SecurityGroupRemoteGroupAndRemoteIpPrefix
    prefix = None if entry.remote_ip_prefix is None else _prefix(entry.remote_ip_prefix, ethertype)
    return NewSecurityGroupRule(
        security_group_id=entry.security_group_id,
        direction=entry.direction,
        project_id=entry.project_id,
        ethertype=ethertype,
        protocol=protocol,
        port_range_min=entry.port_range_min,
        port_range_max=entry.port_range_max,
        remote_ip_prefix=prefix,
        remote_group_id=entry.remote_group_id,
        description=entry.description,
    )


def _there(tx: Tx, entries: Sequence[NewSecurityGroupRule]) -> dict[tuple[object, ...], str]:
    """What the rules say that there are, of those that could say the same as one of `entries` -> the rule's id.
    A group of thousands differs in prefixes or in ports, so most of its rules need not be read."""
    column = security_group_rules.c
    prefixes = {entry.remote_ip_prefix for entry in entries} | _EVERYBODY
    lows = {entry.port_range_min for entry in entries}
    statement = sa.select(*_SELECTED).where(
        column.security_group_id.in_({entry.security_group_id for entry in entries}),
        sa.or_(column.remote_ip_prefix.is_(None), column.remote_ip_prefix.in_(prefixes - {None})),
        sa.or_(column.port_range_min.is_(None), column.port_range_min.in_(lows - {None})),
    )
    return {_meaning(rule): rule.id for rule in read_rules(tx, statement)}


def _meaning(rule: SecurityGroupRule) -> tuple[object, ...]:
    """Equal for two rules, of the table or to be, that say the same, whatever their descriptions."""
    return (
        rule.security_group_id,
        rule.direction,
        rule.ethertype,
        _number(rule.protocol),
        rule.port_range_min,
        rule.port_range_max,
        _real_prefix(rule.remote_ip_prefix),
        rule.remote_group_id,
    )


def _protocol(text: str | None, ethertype: str) -> str | None:
    """A protocol as it is stored: a name in lower case or a number in text; None for any."""
    if text is None:
        return None
    word = text.strip().lower()
    if word in ("any", ""):
        return None
    if word == "icmp" and ethertype == "IPv6":
        return "ipv6-icmp"
    if word in PROTOCOLS:
        return word
    if word.isascii() and word.isdigit() and len(word) <= 3 and int(word) <= 255:
        return str(int(word))
    raise SecurityGroupInvalidProtocol(protocol=text[:50])


def _number(protocol: str | None) -> int | None:
    return None if protocol is None else PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def _check_ports(entry: NewSecurityGroupRule, protocol: str | None, number: int | None) -> None:
    low, high = entry.port_range_min, entry.port_range_max
    if low is None and high is None:
        return
    if number is None:
        raise SecurityGroupProtocolRequiredWithPorts
    if number in _ICMP:
        if low is None:
            raise SecurityGroupMissingIcmpType(value=high)
        for field, attribute, value in (("type", "port-range-min", low), ("code", "port-range-max", high)):
            if value is not None and not 0 <= value <= 255:
                raise SecurityGroupInvalidIcmpValue(field=field, attribute=attribute, value=value)
        return
    if number not in _WITH_PORTS:
        raise SecurityGroupInvalidProtocolForPort(protocol=protocol)
    for port in (low, high):
        if port is not None and not 1 <= port <= _MOST_PORT:
            raise SecurityGroupInvalidPortValue(port=port)
    if low is None or high is None or low > high:
        raise SecurityGroupInvalidPortRange


def _prefix(text: str, ethertype: str) -> str:
    try:
        net = ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidInput(reason=f"remote_ip_prefix '{text[:100]}' is not a valid CIDR") from error
    if "%" in str(net):
        raise InvalidInput(reason=f"remote_ip_prefix '{text[:100]}' is not a valid CIDR")
    if (net.version == 4) != (ethertype == "IPv4"):
        raise SecurityGroupRuleParameterConflict(ethertype=ethertype, cidr=text)
    return str(net)


def _real_prefix(prefix: str | None) -> str | None:
    """None for a prefix that is everybody's."""
    return None if prefix in _EVERYBODY else prefix
