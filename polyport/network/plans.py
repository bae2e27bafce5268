"""What hosts need to know of networks and ports, read for the plans that compute makes."""

from collections.abc import Collection
from typing import Any, Literal, cast

import sqlalchemy as sa

from polyport.db.engine import Tx
from polyport.db.tables.network import networks, ports
from polyport.ids import HostName, NetworkId
from polyport.network.ports import Port
from polyport.network.subnets import Subnet, subnets_of
from polyport.plan import NetworkPlan, NicPlan, SubnetPlan


def read_network_plans(tx: Tx, network_ids: Collection[NetworkId]) -> dict[NetworkId, NetworkPlan]:
    """Networks with their subnets, in two statements; those that do not exist are left out."""
    ids = list(network_ids)
    if not ids:
        return {}
    subnets = subnets_of(tx, ids)
    return {row.id: _network_plan(row, subnets[row.id]) for row in tx.all(_NETWORKS, {"ids": ids})}


def changed_networks(tx: Tx, since: int, host: HostName) -> set[NetworkId]:
    """Networks changed after revision `since` that some port of the host is on."""
    return {NetworkId(row[0]) for row in tx.all(_CHANGED_NETWORKS, {"since": since, "on": host})}


def changed_devices(tx: Tx, since: int, host: HostName) -> set[str]:
    """Devices (servers) of the host of which a port changed after revision `since`."""
    return {row[0] for row in tx.all(_CHANGED_DEVICES, {"since": since, "on": host})}


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
_CHANGED_NETWORKS = sa.select(networks.c.id).where(
    networks.c.plan_revision > sa.bindparam("since"),
    sa.exists().where(ports.c.network_id == networks.c.id, ports.c.host == sa.bindparam("on")),
)
# Not DISTINCT: it would be answered from the index of devices, by reading all of it.
_CHANGED_DEVICES = sa.select(ports.c.device_id).where(
    ports.c.plan_revision > sa.bindparam("since"), ports.c.host == sa.bindparam("on"), ports.c.device_id != ""
)
