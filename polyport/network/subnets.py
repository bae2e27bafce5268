"""Subnets: the addresses of a network. The rules stand in `pools`; here is what they are applied to."""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType, structs

from polyport import quotas
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.metadata import now
from polyport.db.tables.network import addresses, networks, ports, subnets
from polyport.errors import Conflict, NotFound
from polyport.ids import NetworkId, ProjectId, SubnetId, is_uuid, new_id
from polyport.network import InvalidInput, pools
from polyport.network.ipam import Space, eui64, hex_of, number_of
from polyport.network.networks import IPV6_MTU, Network, NetworkMTUSubnetConflict, changed, get_owned, project_of
from polyport.policy import PolicyNotAuthorized

MOST_DNS_SERVERS = 5
MOST_HOST_ROUTES = 20


class SubnetNotFound(NotFound):
    """Subnet {subnet_id} could not be found."""


class SubnetInUse(Conflict):
    """Unable to complete operation on subnet {subnet_id}: {reason}."""


class DNSNameServersExhausted(InvalidInput):
    """Unable to complete operation. The number of DNS nameservers exceeds the limit {most}."""


class HostRoutesExhausted(InvalidInput):
    """Unable to complete operation. The number of host routes exceeds the limit {most}."""


class Subnet(Struct, frozen=True, kw_only=True):
    id: SubnetId
    project_id: ProjectId
    network_id: NetworkId
    name: str
    description: str
    ip_version: int
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool
    allocation_pools: tuple[tuple[str, str], ...]
    dns_nameservers: tuple[str, ...]
    host_routes: tuple[tuple[str, str], ...]
    """(destination, next hop)"""
    ipv6_address_mode: str | None
    ipv6_ra_mode: str | None
    tags: tuple[str, ...]
    revision_number: int
    created_at: str
    updated_at: str


class NewSubnet(Struct, frozen=True, kw_only=True):
    network_id: NetworkId
    cidr: str
    ip_version: int
    project_id: ProjectId | None = None
    name: str = ""
    description: str = ""
    gateway_ip: str | UnsetType | None = UNSET
    """UNSET: the lowest address; None: no gateway."""
    enable_dhcp: bool = True
    allocation_pools: tuple[tuple[str, str], ...] | None = None
    """None: all but the gateway."""
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[tuple[str, str], ...] = ()
    ipv6_address_mode: str | None = None
    ipv6_ra_mode: str | None = None


class SubnetChange(Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    gateway_ip: str | UnsetType | None = UNSET
    enable_dhcp: bool | UnsetType = UNSET
    allocation_pools: tuple[tuple[str, str], ...] | UnsetType = UNSET
    dns_nameservers: tuple[str, ...] | UnsetType = UNSET
    host_routes: tuple[tuple[str, str], ...] | UnsetType = UNSET


COLUMNS: dict[str, sa.ColumnElement[Any]] = {
    "id": subnets.c.id,
    "name": subnets.c.name,
    "description": subnets.c.description,
    "project_id": subnets.c.project_id,
    "tenant_id": subnets.c.project_id,
    "network_id": subnets.c.network_id,
    "ip_version": subnets.c.ip_version,
    "cidr": subnets.c.cidr,
    "gateway_ip": subnets.c.gateway_ip,
    "enable_dhcp": subnets.c.enable_dhcp,
    "ipv6_address_mode": subnets.c.ipv6_address_mode,
    "ipv6_ra_mode": subnets.c.ipv6_ra_mode,
    "revision_number": subnets.c.revision_number,
    "created_at": subnets.c.created_at,
    "updated_at": subnets.c.updated_at,
}
"""Attributes a list may be filtered and sorted by."""

TAGS: sa.ColumnElement[Any] = subnets.c.tags


def select_subnets(context: Context) -> sa.Select[Any]:
    """The caller's own subnets and those of shared networks."""
    if context.is_admin:
        return sa.select(subnets)
    shared = sa.select(networks.c.id).where(networks.c.shared)
    return sa.select(subnets).where(
        sa.or_(subnets.c.project_id == context.project_id, subnets.c.network_id.in_(shared))
    )


def on_shared_networks(shared: bool) -> sa.ColumnElement[bool]:
    """The condition for subnets whose network is shared, or is not."""
    return subnets.c.network_id.in_(sa.select(networks.c.id).where(networks.c.shared == shared))


def read_subnets(tx: Tx, statement: sa.Select[Any]) -> list[Subnet]:
    """The subnets a statement on the table selects, in its order."""
    return [_subnet(row) for row in tx.all(statement)]


def get_subnet(tx: Tx, context: Context, subnet_id: str) -> Subnet:
    """Raises `SubnetNotFound`, also for what the caller may not see."""
    row = tx.first(select_subnets(context).where(subnets.c.id == subnet_id)) if is_uuid(subnet_id) else None
    if row is None:
        raise SubnetNotFound(subnet_id=subnet_id[:255])
    return _subnet(row)


def subnets_of(tx: Tx, network_ids: Collection[NetworkId]) -> dict[NetworkId, list[Subnet]]:
    """The subnets of networks, each in order of creation; a network without any has an empty list."""
    found: dict[NetworkId, list[Subnet]] = {network_id: [] for network_id in network_ids}
    for row in tx.all(_OF_NETWORKS, {"networks": list(network_ids)}):
        found[row.network_id].append(_subnet(row))
    return found


def spaces_of(tx: Tx, network_ids: Collection[NetworkId]) -> dict[NetworkId, list[Space]]:
    """What the choice of addresses needs of the subnets of networks, in order of creation."""
    found: dict[NetworkId, list[Space]] = {network_id: [] for network_id in network_ids}
    for row in tx.all(_OF_NETWORKS, {"networks": list(network_ids)}):
        found[row.network_id].append(_space(row))
    return found


def create_subnets(tx: Tx, context: Context, wanted: Sequence[NewSubnet]) -> list[Subnet]:
    """All of them or none; subnets with automatic addresses give one to every port their network has."""
    return [_create(tx, context, entry) for entry in wanted]


def update_subnet(tx: Tx, context: Context, subnet_id: str, change: SubnetChange) -> Subnet:
    subnet = _get_owned(tx, context, subnet_id, "update_subnet")
    net = pools.cidr_of(subnet.cidr)
    values: dict[str, Any] = {
        name: value for name in ("name", "description", "enable_dhcp") if (value := getattr(change, name)) is not UNSET
    }
    if change.enable_dhcp is not UNSET:
        pools.check_dhcp(net, change.enable_dhcp)
        pools.check_modes(net, change.enable_dhcp, subnet.ipv6_ra_mode, subnet.ipv6_address_mode)
    gateway = subnet.gateway_ip
    if change.gateway_ip is not UNSET:
        gateway = values["gateway_ip"] = (
            None if change.gateway_ip is None else pools.check_gateway(net, change.gateway_ip)
        )
    ranges = [(int(ip_address(first)), int(ip_address(last))) for first, last in subnet.allocation_pools]
    if change.allocation_pools is not UNSET:
        ranges = pools.checked_pools(net, change.allocation_pools)
        values["allocation_pools"] = pools.texts_of(net, ranges)
        values["next_address"] = None
    if "gateway_ip" in values or "allocation_pools" in values:
        pools.check_gateway_outside(net, gateway, ranges)
    if change.dns_nameservers is not UNSET:
        values["dns_nameservers"] = _dns_servers(change.dns_nameservers)
    if change.host_routes is not UNSET:
        values["host_routes"] = _host_routes(change.host_routes, subnet.ip_version)
    tx.execute(
        sa.update(subnets)
        .where(subnets.c.id == subnet.id)
        .values(**values, revision_number=subnets.c.revision_number + 1, updated_at=now())
    )
    changed(tx, subnet.network_id)
    return get_subnet(tx, context, subnet.id)


def delete_subnet(tx: Tx, context: Context, subnet_id: str) -> None:
    """Raises `SubnetNotFound`, and `SubnetInUse` while a port has an address of it that was not automatic."""
    subnet = _get_owned(tx, context, subnet_id, "delete_subnet")
    of_subnet = addresses.c.subnet_id == subnet.id
    if pools.is_automatic(subnet.ipv6_ra_mode, subnet.ipv6_address_mode):
        touched = sa.select(addresses.c.port_id).where(of_subnet)
        tx.execute(sa.update(ports).where(ports.c.id.in_(touched)).values(**_readdressed(tx)))
        tx.execute(sa.delete(addresses).where(of_subnet))
    elif tx.first(sa.select(addresses.c.port_id).where(of_subnet).limit(1)) is not None:
        reason = "One or more ports have an IP allocation from this subnet"
        raise SubnetInUse(subnet_id=subnet.id, reason=reason)
    tx.execute(sa.delete(subnets).where(subnets.c.id == subnet.id))
    quotas.refund(tx, subnet.project_id, {"subnet": 1})
    changed(tx, subnet.network_id)


def _create(tx: Tx, context: Context, entry: NewSubnet) -> Subnet:
    network = get_owned(tx, context, entry.network_id, "create_subnet")
    net = pools.net_of(entry.cidr, entry.ip_version)
    pools.check_dhcp(net, entry.enable_dhcp)
    pools.check_modes(net, entry.enable_dhcp, entry.ipv6_ra_mode, entry.ipv6_address_mode)
    if entry.ip_version == 6 and network.mtu < IPV6_MTU:
        raise NetworkMTUSubnetConflict(network_id=network.id, least=IPV6_MTU)
    _check_overlap(tx, network, str(net))
    if entry.gateway_ip is UNSET:
        gateway = pools.default_gateway(net)
    else:
        gateway = None if entry.gateway_ip is None else pools.check_gateway(net, entry.gateway_ip)
    if entry.allocation_pools is None:
        ranges = pools.default_pools(net, gateway)
    else:
        ranges = pools.checked_pools(net, entry.allocation_pools)
        pools.check_gateway_outside(net, gateway, ranges)
    project_id = (
        network.project_id if entry.project_id is None and context.is_admin else (project_of(context, entry.project_id))
    )
    time = now()
    subnet = Subnet(
        id=SubnetId(new_id()),
        project_id=project_id,
        network_id=network.id,
        name=entry.name,
        description=entry.description,
        ip_version=entry.ip_version,
        cidr=str(net),
        gateway_ip=gateway,
        enable_dhcp=entry.enable_dhcp,
        allocation_pools=tuple((first, last) for first, last in pools.texts_of(net, ranges)),
        dns_nameservers=tuple(_dns_servers(entry.dns_nameservers)),
        host_routes=tuple((to, via) for to, via in _host_routes(entry.host_routes, entry.ip_version)),
        ipv6_address_mode=entry.ipv6_address_mode,
        ipv6_ra_mode=entry.ipv6_ra_mode,
        tags=(),
        revision_number=1,
        created_at=time,
        updated_at=time,
    )
    quotas.charge(tx, project_id, {"subnet": 1})
    tx.execute(sa.insert(subnets), structs.asdict(subnet))
    if pools.is_automatic(subnet.ipv6_ra_mode, subnet.ipv6_address_mode):
        _give_automatic(tx, subnet)
    changed(tx, network.id)
    return subnet


def _check_overlap(tx: Tx, network: Network, cidr: str) -> None:
    net = ip_network(cidr)
    rows: Iterable[Any] = tx.all(sa.select(subnets.c.id, subnets.c.cidr).where(subnets.c.network_id == network.id))
    for row in rows:
        other = ip_network(row.cidr)
        if other.version == net.version and other.overlaps(net):
            raise InvalidInput(
                reason=f"Requested subnet with cidr: {cidr} for network: {network.id} overlaps with another subnet"
            )


def _give_automatic(tx: Tx, subnet: Subnet) -> None:
    """Every port the network has gets its address of a subnet with automatic addresses."""
    space = _space(subnet)
    last = sa.func.coalesce(
        sa.select(sa.func.max(addresses.c.position)).where(addresses.c.port_id == ports.c.id).scalar_subquery(), -1
    )
    rows = tx.all(
        sa.select(ports.c.id, ports.c.mac_address, (last + 1).label("position")).where(
            ports.c.network_id == subnet.network_id
        )
    )
    if not rows:
        return
    tx.execute(
        sa.insert(addresses),
        [
            {
                "subnet_id": subnet.id,
                "address": hex_of(eui64(space, row.mac_address)),
                "port_id": row.id,
                "position": row.position,
            }
            for row in rows
        ],
    )
    tx.execute(sa.update(ports).where(ports.c.network_id == subnet.network_id).values(**_readdressed(tx)))


def _readdressed(tx: Tx) -> dict[str, Any]:
    """What a port's row gets when an address of it comes or goes with its subnet."""
    return {"plan_revision": tx.revision(), "revision_number": ports.c.revision_number + 1, "updated_at": now()}


def _get_owned(tx: Tx, context: Context, subnet_id: str, action: str) -> Subnet:
    subnet = get_subnet(tx, context, subnet_id)
    if subnet.project_id != context.project_id and not context.is_admin:
        raise PolicyNotAuthorized(action=action)
    return subnet


def _dns_servers(servers: Sequence[str]) -> list[str]:
    if len(servers) > MOST_DNS_SERVERS:
        raise DNSNameServersExhausted(most=MOST_DNS_SERVERS)
    for at, server in enumerate(servers):
        if number_of(server) is None:
            raise InvalidInput(reason=f"dns_nameservers[{at}] '{server[:100]}' is not a valid IP address")
    found = [str(ip_address(server)) for server in servers]
    if len(set(found)) < len(found):
        raise InvalidInput(reason="dns_nameservers names a server twice")
    return found


def _host_routes(routes: Sequence[tuple[str, str]], version: int) -> list[list[str]]:
    if len(routes) > MOST_HOST_ROUTES:
        raise HostRoutesExhausted(most=MOST_HOST_ROUTES)
    found = []
    for at, (destination, nexthop) in enumerate(routes):
        try:
            net = pools.cidr_of(destination)
        except ValueError as error:
            raise InvalidInput(reason=f"host_routes[{at}]: '{destination[:100]}' is not a valid CIDR") from error
        hop = number_of(nexthop)
        if hop is None:
            raise InvalidInput(reason=f"host_routes[{at}]: '{nexthop[:100]}' is not a valid IP address")
        if net.version != version or hop[0] != version:
            raise InvalidInput(reason=f"host_routes[{at}] does not match the ip_version '{version}'")
        entry = [str(net), str(ip_address(nexthop))]
        if entry in found:
            raise InvalidInput(reason=f"host_routes[{at}] is there twice")
        found.append(entry)
    return found


def _subnet(row: Any) -> Subnet:
    return Subnet(
        id=row.id,
        project_id=row.project_id,
        network_id=row.network_id,
        name=row.name,
        description=row.description,
        ip_version=row.ip_version,
        cidr=row.cidr,
        gateway_ip=row.gateway_ip,
        enable_dhcp=row.enable_dhcp,
        allocation_pools=row.allocation_pools,
        dns_nameservers=row.dns_nameservers,
        host_routes=row.host_routes,
        ipv6_address_mode=row.ipv6_address_mode,
        ipv6_ra_mode=row.ipv6_ra_mode,
        tags=row.tags,
        revision_number=row.revision_number,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _space(row: Any) -> Space:
    first, last = _ends(row.cidr)
    cursor = getattr(row, "next_address", None)
    return Space(
        subnet_id=row.id,
        network_id=row.network_id,
        version=row.ip_version,
        first=first,
        last=last,
        pools=tuple((_number(low), _number(high)) for low, high in row.allocation_pools),
        automatic=pools.is_automatic(row.ipv6_ra_mode, row.ipv6_address_mode),
        cursor=int(cursor, 16) if cursor else None,
    )


@lru_cache(4096)
def _ends(cidr: str) -> tuple[int, int]:
    net = ip_network(cidr)
    return int(net.network_address), int(net.broadcast_address)


@lru_cache(8192)
def _number(address: str) -> int:
    return int(ip_address(address))


_OF_NETWORKS = (
    sa.select(subnets)
    .where(subnets.c.network_id.in_(sa.bindparam("networks", expanding=True)))
    .order_by(subnets.c.created_at, subnets.c.id)
)
