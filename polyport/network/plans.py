"""What hosts need to know of networks and ports, read for the plans that compute makes.

What a thing is at a revision never changes, and most of what is in a plan has not changed since the plan before. So
what is read of a thing is its revision, and the thing itself only where that is a new one (`Versions`).
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast

import sqlalchemy as sa

from polyport.db.engine import Tx
from polyport.db.tables.network import group_bindings, networks, ports, security_group_rules, security_groups
from polyport.ids import HostName, NetworkId, SecurityGroupId
from polyport.network.ports import Port
from polyport.network.security_group_rules import protocol_number
from polyport.network.subnets import Subnet, subnets_of
from polyport.plan import NetworkPlan, NicPlan, RulePlan, SecurityGroupPlan, SubnetPlan

K = TypeVar("K")
P = TypeVar("P")


class Versions(Generic[K, P]):
    """Things of one kind as they were last read, each at its revision."""

    def __init__(self) -> None:
        self._kept: dict[K, tuple[int, P]] = {}

    def at(self, revisions: Mapping[K, int], read: Callable[[list[K]], Mapping[K, P]]) -> dict[K, P]:
        """These things at these revisions, in this order; what is not kept is what `read` gives, or left out."""
        kept = self._kept
        new = [key for key, revision in revisions.items() if key not in kept or kept[key][0] != revision]
        if new:
            found = read(new)
            for key in new:
                kept.pop(key, None)
                if key in found:
                    kept[key] = revisions[key], found[key]
        return {key: kept[key][1] for key in revisions if key in kept}


NetworkVersions: TypeAlias = Versions[NetworkId, NetworkPlan]
GroupVersions: TypeAlias = Versions[SecurityGroupId, SecurityGroupPlan]


def read_network_plans(
    tx: Tx, network_ids: Collection[NetworkId], kept: NetworkVersions
) -> dict[NetworkId, NetworkPlan]:
    """Networks with their subnets; those that do not exist are left out."""
    return kept.at(_revisions(tx, _NETWORK_REVISIONS, network_ids), lambda new: _network_plans(tx, new))


def changed_networks(tx: Tx, since: int, host: HostName) -> set[NetworkId]:
    """Networks changed after revision `since` that some port of the host is on."""
    return {NetworkId(row[0]) for row in tx.all(_CHANGED_NETWORKS, {"since": since, "on": host})}


def changed_devices(tx: Tx, since: int, host: HostName) -> set[str]:
    """Devices (servers) of the host of which a port changed after revision `since`."""
    return {row[0] for row in tx.all(_CHANGED_DEVICES, {"since": since, "on": host})}


def read_group_plans(
    tx: Tx, group_ids: Collection[SecurityGroupId], kept: GroupVersions
) -> dict[SecurityGroupId, SecurityGroupPlan]:
    """Security groups with their rules, and the groups those rules name; those that do not exist are left out.

    Who is in a group is not read: a host knows the ports it has.
    """
    found: dict[SecurityGroupId, SecurityGroupPlan] = {}
    wanted = set(group_ids)
    for _ in range(2):
        revisions = _revisions(tx, _GROUP_REVISIONS, wanted - found.keys())
        found |= kept.at(revisions, lambda new: _group_plans(tx, new))
        wanted |= {
            rule.remote_group_id for plan in found.values() for rule in plan.rules if rule.remote_group_id is not None
        }
    return found


def changed_groups(tx: Tx, since: int, host: HostName) -> set[SecurityGroupId]:
    """Security groups changed after revision `since`, by themselves or in a rule, that some port of the host has."""
    return {SecurityGroupId(row[0]) for row in tx.all(_CHANGED_GROUPS, {"since": since, "on": host})}


def nic_plan(port: Port, *, slot: int, tag: str | None) -> NicPlan:
    """What a host needs to know of a port that is in a slot."""
    return NicPlan(
        port_id=port.id,
        slot=slot,
        network_id=port.network_id,
        mac_address=port.mac_address,
        fixed_ips=port.fixed_ips,
        tag=tag,
        admin_state_up=port.admin_state_up,
        port_security_enabled=port.port_security_enabled,
        allowed_address_pairs=port.allowed_address_pairs,
        security_groups=port.security_groups,
        extra_dhcp_opts=port.extra_dhcp_opts,
        storm=port.storm,
        default_route=port.default_route,
    )


def _revisions(tx: Tx, statement: sa.Select[Any], ids: Collection[Any]) -> dict[Any, int]:
    some = list(ids)
    found: dict[Any, int] = {}
    for at in range(0, len(some), _AT_ONCE):
        found |= dict(tx.tuples(statement, {"ids": some[at : at + _AT_ONCE]}))
    return found


def _network_plans(tx: Tx, ids: list[NetworkId]) -> dict[NetworkId, NetworkPlan]:
    found: dict[NetworkId, NetworkPlan] = {}
    for at in range(0, len(ids), _AT_ONCE):
        some = ids[at : at + _AT_ONCE]
        subnets = subnets_of(tx, some)
        found |= {row.id: _network_plan(row, subnets[row.id]) for row in tx.all(_NETWORKS, {"ids": some})}
    return found


def _group_plans(tx: Tx, group_ids: Collection[SecurityGroupId]) -> dict[SecurityGroupId, SecurityGroupPlan]:
    ids = sorted(group_ids)
    stateful: dict[SecurityGroupId, bool] = {}
    rules: dict[SecurityGroupId, list[RulePlan]] = {}
    for at in range(0, len(ids), _AT_ONCE):
        for row in tx.all(_GROUPS, {"ids": ids[at : at + _AT_ONCE]}):
            stateful[row.group_id] = row.stateful
            some = rules.setdefault(row.group_id, [])
            if row.id is not None:
                some.append(_rule_plan(row))
    return {
        group_id: SecurityGroupPlan(id=group_id, stateful=stateful[group_id], rules=tuple(some))
        for group_id, some in rules.items()
    }


def _rule_plan(row: Any) -> RulePlan:
    return RulePlan(
        id=row.id,
        direction=row.direction,
        ethertype=row.ethertype,
        protocol=protocol_number(row.protocol, row.ethertype),
        port_range_min=row.port_range_min,
        port_range_max=row.port_range_max,
        remote_ip_prefix=row.remote_ip_prefix,
        remote_group_id=row.remote_group_id,
    )


def _network_plan(row: Any, subnets: list[Subnet]) -> NetworkPlan:
    return NetworkPlan(
        id=row.id,
        name=row.name,
        mtu=row.mtu,
        admin_state_up=row.admin_state_up,
        storm=row.storm,
        sibling_addresses=row.sibling_addresses,
        subnets=tuple(_subnet_plan(subnet) for subnet in subnets),
    )


def _subnet_plan(subnet: Subnet) -> SubnetPlan:
    return SubnetPlan(
        id=subnet.id,
        cidr=subnet.cidr,
        ip_version=cast(Literal[4, 6], subnet.ip_version),
        gateway_ip=subnet.gateway_ip,
        enable_dhcp=subnet.enable_dhcp,
        dns_nameservers=subnet.dns_nameservers,
        host_routes=subnet.host_routes,
        ipv6_address_mode=subnet.ipv6_address_mode,
        ipv6_ra_mode=subnet.ipv6_ra_mode,
    )


_NETWORKS = sa.select(
    networks.c.id,
    networks.c.name,
    networks.c.mtu,
    networks.c.admin_state_up,
    networks.c.storm,
    networks.c.sibling_addresses,
).where(networks.c.id.in_(sa.bindparam("ids", expanding=True)))
_NETWORK_REVISIONS = sa.select(networks.c.id, networks.c.plan_revision).where(
    networks.c.id.in_(sa.bindparam("ids", expanding=True))
)
_GROUP_REVISIONS = sa.select(security_groups.c.id, security_groups.c.plan_revision).where(
    security_groups.c.id.in_(sa.bindparam("ids", expanding=True))
)
_CHANGED_NETWORKS = sa.select(networks.c.id).where(
    networks.c.plan_revision > sa.bindparam("since"),
    sa.exists().where(ports.c.network_id == networks.c.id, ports.c.host == sa.bindparam("on")),
)
# Not DISTINCT: it would be answered from the index of devices, by reading all of it.
_CHANGED_DEVICES = sa.select(ports.c.device_id).where(
    ports.c.plan_revision > sa.bindparam("since"), ports.c.host == sa.bindparam("on"), ports.c.device_id != ""
)
_AT_ONCE = 10_000
_GROUPS = (
    sa.select(
        security_groups.c.id.label("group_id"),
        security_groups.c.stateful,
        *(
            security_group_rules.c[name]
            for name in (
                *("id", "direction", "ethertype", "protocol", "port_range_min", "port_range_max"),
                *("remote_ip_prefix", "remote_group_id"),
            )
        ),
    )
    .outerjoin(security_group_rules, security_group_rules.c.security_group_id == security_groups.c.id)
    .where(security_groups.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(security_group_rules.c.id)
)
_CHANGED_GROUPS = sa.select(security_groups.c.id).where(
    security_groups.c.plan_revision > sa.bindparam("since"),
    sa.exists()
    .where(group_bindings.c.security_group_id == security_groups.c.id)
    .where(ports.c.id == group_bindings.c.port_id, ports.c.host == sa.bindparam("on")),
)
