"""How many addresses each network's subnets have to give, and how many of them ports have taken."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.network import addresses, networks, subnets
from polyport.network.ipam import number_of
from polyport.network.networks import NetworkNotFound, visible
from polyport.network.pools import cidr_of


class SubnetAvailability(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    ip_version: int
    cidr: str
    total: int
    """Addresses in its pools; of a subnet without pools, all in its CIDR (as Neutron counts)."""
    used: int
    """Addresses of ports, in a pool or not."""


class NetworkAvailability(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    project_id: str
    subnets: tuple[SubnetAvailability, ...]

    @property
    def total(self) -> int:
        return sum(subnet.total for subnet in self.subnets)

    @property
    def used(self) -> int:
        return sum(subnet.used for subnet in self.subnets)


def get_availability(tx: Tx, context: Context, network_id: str) -> NetworkAvailability:
    """Raises `NetworkNotFound`."""
    found = find_availabilities(tx, context, network_ids=[network_id])
    if not found:
        raise NetworkNotFound(network_id=network_id[:255])
    return found[0]


def find_availabilities(
    tx: Tx,
    context: Context,
    *,
    network_ids: Sequence[str] = (),
    names: Sequence[str] = (),
    project_ids: Sequence[str] = (),
    ip_versions: Sequence[int] = (),
) -> list[NetworkAvailability]:
    """Networks a caller sees, the oldest first; of each filter that is given, one value fits. `ip_versions` chooses
    among the subnets, and leaves networks without any such out."""
    statement = sa.select(networks.c.id, networks.c.name, networks.c.project_id).where(visible(context))
    for column, values in (
        (networks.c.id, network_ids),
        (networks.c.name, names),
        (networks.c.project_id, project_ids),
    ):
        if values:
            statement = statement.where(column.in_(values))
    rows = tx.all(statement.order_by(networks.c.created_at, networks.c.id))
    subnets_of: dict[str, list[SubnetAvailability]] = {row.id: [] for row in rows}
    for subnet in tx.all(_subnets(subnets_of, ip_versions)):
        subnets_of[subnet.network_id].append(_availability(subnet))
    return [
        NetworkAvailability(id=row.id, name=row.name, project_id=row.project_id, subnets=tuple(subnets_of[row.id]))
        for row in rows
        if subnets_of[row.id] or not ip_versions
    ]


def _subnets(network_ids: Collection[str], ip_versions: Sequence[int]) -> sa.Select[Any]:
    used = sa.select(sa.func.count()).where(addresses.c.subnet_id == subnets.c.id).scalar_subquery()
    statement = sa.select(
        subnets.c.network_id,
        subnets.c.id,
        subnets.c.name,
        subnets.c.ip_version,
        subnets.c.cidr,
        subnets.c.allocation_pools,
        used.label("used"),
    ).where(subnets.c.network_id.in_(list(network_ids)))
    if ip_versions:
        statement = statement.where(subnets.c.ip_version.in_(ip_versions))
    return statement.order_by(subnets.c.created_at, subnets.c.id)


def _availability(row: sa.Row[Any]) -> SubnetAvailability:
    total = sum(_number(last) - _number(first) + 1 for first, last in row.allocation_pools)
    return SubnetAvailability(
        id=row.id,
        name=row.name,
        ip_version=row.ip_version,
        cidr=row.cidr,
        total=total or cidr_of(row.cidr).num_addresses,
        used=row.used,
    )


def _number(address: str) -> int:
    found = number_of(address)
    assert found is not None, "pools were checked when they were written"
    return found[1]
