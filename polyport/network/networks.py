"""Networks. Two may have one name; a shared one is everybody's to use."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType

from polyport import quotas
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.metadata import now
from polyport.db.tables.network import networks, ports, subnets
from polyport.errors import Conflict, Invalid, NotFound
from polyport.ids import NetworkId, ProjectId, SubnetId, is_uuid, new_id
from polyport.network import InvalidInput
from polyport.plan import StormPlan
from polyport.policy import PolicyNotAuthorized

LEAST_MTU, MOST_MTU = 68, 9216
IPV6_MTU = 1280
_MOST_VNI = (1 << 24) - 1


class NetworkNotFound(NotFound):
    """Network {network_id} could not be found."""


class NetworkInUse(Conflict):
    """Unable to complete operation on network {network_id}. There are one or more ports still in use on the network."""


class InvalidSharedSetting(Conflict):
    """Unable to reconfigure sharing settings for network {network_id}. Multiple projects are using it."""


class NetworkMTUSubnetConflict(Conflict):
    """MTU of network {network_id} is below {least}, the least that its subnet's IP version needs."""


class ProjectNotAllowed(Invalid):
    """A project_id or tenant_id other than that of the token requires admin privileges."""


class Network(Struct, frozen=True, kw_only=True):
    id: NetworkId
    project_id: ProjectId
    name: str
    description: str
    admin_state_up: bool
    shared: bool
    is_default: bool
    mtu: int
    port_security_enabled: bool
    storm: StormPlan | None
    sibling_addresses: bool
    tags: tuple[str, ...]
    revision_number: int
    created_at: str
    updated_at: str
    subnets: tuple[SubnetId, ...] = ()
    """In order of creation."""


class NewNetwork(Struct, frozen=True, kw_only=True):
    project_id: ProjectId | None = None
    """Another project than the caller's: for administrators."""
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    shared: bool = False
    is_default: bool = False
    mtu: int = 1500
    port_security_enabled: bool = True
    storm: StormPlan | None = None
    sibling_addresses: bool = True


class NetworkChange(Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    is_default: bool | UnsetType = UNSET
    mtu: int | UnsetType = UNSET
    port_security_enabled: bool | UnsetType = UNSET
    storm: StormPlan | UnsetType | None = UNSET
    sibling_addresses: bool | UnsetType = UNSET


COLUMNS: dict[str, sa.ColumnElement[Any]] = {
    "id": networks.c.id,
    "name": networks.c.name,
    "description": networks.c.description,
    "project_id": networks.c.project_id,
    "tenant_id": networks.c.project_id,
    "admin_state_up": networks.c.admin_state_up,
    "shared": networks.c.shared,
    "is_default": networks.c.is_default,
    "mtu": networks.c.mtu,
    "port_security_enabled": networks.c.port_security_enabled,
    "revision_number": networks.c.revision_number,
    "created_at": networks.c.created_at,
    "updated_at": networks.c.updated_at,
}
"""Attributes a list may be filtered and sorted by."""

TAGS: sa.ColumnElement[Any] = networks.c.tags


def project_of(context: Context, wanted: ProjectId | None) -> ProjectId:
    """Whose a new thing shall be. Only an administrator makes things for another project: `ProjectNotAllowed`."""
    if wanted is None or wanted == context.project_id:
        return context.project_id
    if not context.is_admin:
        raise ProjectNotAllowed
    return wanted


def visible(context: Context) -> sa.ColumnElement[bool]:
    """The condition for networks a caller sees and may use."""
    if context.is_admin:
        return sa.true()
    return sa.or_(networks.c.project_id == context.project_id, networks.c.shared)


def select_networks(context: Context) -> sa.Select[Any]:
    return sa.select(networks).where(visible(context))


def read_networks(tx: Tx, statement: sa.Select[Any]) -> list[Network]:
    """The networks a statement on the table selects, in its order."""
    rows = tx.all(statement)
    of: dict[str, list[SubnetId]] = {row.id: [] for row in rows}
    if len(rows) == 1:
        condition = subnets.c.network_id == rows[0].id
    else:
        condition = subnets.c.network_id.in_(statement.with_only_columns(networks.c.id))
    if rows:
        for row in tx.all(
            sa.select(subnets.c.network_id, subnets.c.id).where(condition).order_by(subnets.c.created_at, subnets.c.id)
        ):
            of[row.network_id].append(SubnetId(row.id))
    return [_network(row, of[row.id]) for row in rows]


def get_network(tx: Tx, context: Context, network_id: str) -> Network:
    """Raises `NetworkNotFound`, also for what the caller may not see."""
    found = (
        read_networks(tx, select_networks(context).where(networks.c.id == network_id)) if is_uuid(network_id) else []
    )
    if not found:
        raise NetworkNotFound(network_id=network_id[:255])
    return found[0]


def get_networks(tx: Tx, context: Context, network_ids: Collection[NetworkId]) -> dict[NetworkId, Network]:
    """Those of `network_ids` the caller sees."""
    found = read_networks(tx, select_networks(context).where(networks.c.id.in_(list(network_ids))))
    return {network.id: network for network in found}


def names_of(tx: Tx, network_ids: Collection[NetworkId]) -> dict[NetworkId, str]:
    """Names of networks, for views that show names."""
    if not network_ids:
        return {}
    return {NetworkId(row[0]): row[1] for row in tx.tuples(_NAMES, {"ids": list(network_ids)})}


def with_subnets(tx: Tx, context: Context, network_ids: Collection[NetworkId]) -> dict[NetworkId, bool]:
    """Those of `network_ids` the caller sees, and whether they have a subnet."""
    return {
        NetworkId(row.id): bool(row.has_subnet)
        for row in tx.all(_WITH_SUBNETS, {"ids": list(network_ids)})
        if row.shared or row.project_id == context.project_id or context.is_admin
    }


def usable_networks(tx: Tx, context: Context) -> list[Network]:
    """What a server without a choice of networks may be put on: the project's own, and what is shared."""
    mine = sa.or_(networks.c.project_id == context.project_id, networks.c.shared)
    return read_networks(tx, sa.select(networks).where(mine).order_by(networks.c.created_at, networks.c.id))


def create_networks(tx: Tx, context: Context, wanted: Sequence[NewNetwork]) -> list[Network]:
    """All of them or none. Raises `PolicyNotAuthorized`, `InvalidInput`, `QuotaExceeded`."""
    time = now()
    made = []
    for entry in wanted:
        project_id = project_of(context, entry.project_id)
        for name in ("shared", "is_default"):
            if getattr(entry, name) and not context.is_admin:
                raise PolicyNotAuthorized(action=f"create_network:{name}")
        _check_mtu(entry.mtu)
        made.append(
            Network(
                id=NetworkId(new_id()),
                project_id=project_id,
                name=entry.name,
                description=entry.description,
                admin_state_up=entry.admin_state_up,
                shared=entry.shared,
                is_default=entry.is_default,
                mtu=entry.mtu,
                port_security_enabled=entry.port_security_enabled,
                storm=entry.storm,
                sibling_addresses=entry.sibling_addresses,
                tags=(),
                revision_number=1,
                created_at=time,
                updated_at=time,
            )
        )
    for project_id in dict.fromkeys(network.project_id for network in made):
        quotas.charge(tx, project_id, {"network": sum(network.project_id == project_id for network in made)})
    vnis = _free_vnis(tx, len(made))
    tx.execute(sa.insert(networks), [_row(network, vni) for network, vni in zip(made, vnis, strict=True)])
    return made


def update_network(tx: Tx, context: Context, network_id: str, change: NetworkChange) -> Network:
    """Hosts with ports on it hear of it. Raises as create does, `NetworkNotFound` and `InvalidSharedSetting`."""
    network = get_owned(tx, context, network_id, "update_network")
    values: dict[str, Any] = {
        name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not UNSET
    }
    for name in ("shared", "is_default"):
        if name in values and values[name] != getattr(network, name) and not context.is_admin:
            raise PolicyNotAuthorized(action=f"update_network:{name}")
    if "mtu" in values:
        _check_mtu(values["mtu"])
        if values["mtu"] < IPV6_MTU and _has_ipv6(tx, network.id):
            raise NetworkMTUSubnetConflict(network_id=network.id, least=IPV6_MTU)
    if values.get("shared") is False and network.shared and _has_guests(tx, network):
        raise InvalidSharedSetting(network_id=network.id)
    changed(tx, network.id, **values)
    return get_network(tx, context, network.id)


def delete_network(tx: Tx, context: Context, network_id: str) -> None:
    """Its subnets go with it. Raises `NetworkNotFound`, and `NetworkInUse` while there is a port on it."""
    network = get_owned(tx, context, network_id, "delete_network")
    if tx.first(sa.select(ports.c.id).where(ports.c.network_id == network.id).limit(1)) is not None:
        raise NetworkInUse(network_id=network.id)
    gone = tx.all(sa.delete(subnets).where(subnets.c.network_id == network.id).returning(subnets.c.project_id))
    for project_id in {row[0] for row in gone}:
        quotas.refund(tx, project_id, {"subnet": sum(row[0] == project_id for row in gone)})
    tx.execute(sa.delete(networks).where(networks.c.id == network.id))
    quotas.refund(tx, network.project_id, {"network": 1})


def get_owned(tx: Tx, context: Context, network_id: str, action: str) -> Network:
    """A network the caller may change. Raises `NetworkNotFound`; `PolicyNotAuthorized` for a shared one of others."""
    network = get_network(tx, context, network_id)
    if network.project_id != context.project_id and not context.is_admin:
        raise PolicyNotAuthorized(action=action)
    return network


def changed(tx: Tx, network_id: NetworkId, **values: Any) -> None:
    """Number a change of a network (or of what belongs to it) and wake the hosts that have ports on it."""
    tx.execute(
        sa.update(networks)
        .where(networks.c.id == network_id)
        .values(
            **values,
            revision_number=networks.c.revision_number + 1,
            updated_at=now(),
            plan_revision=tx.revision(),
        )
    )
    for row in tx.all(sa.select(ports.c.host).distinct().where(ports.c.network_id == network_id, ports.c.host != "")):
        tx.wake(row[0])


def _network(row: Any, subnet_ids: Sequence[SubnetId]) -> Network:
    return Network(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        description=row.description,
        admin_state_up=row.admin_state_up,
        shared=row.shared,
        is_default=row.is_default,
        mtu=row.mtu,
        port_security_enabled=row.port_security_enabled,
        storm=row.storm,
        sibling_addresses=row.sibling_addresses,
        tags=row.tags,
        revision_number=row.revision_number,
        created_at=row.created_at,
        updated_at=row.updated_at,
        subnets=tuple(subnet_ids),
    )


def _row(network: Network, vni: int) -> dict[str, Any]:
    row = {name: getattr(network, name) for name in network.__struct_fields__ if name != "subnets"}
    return {**row, "vni": vni, "plan_revision": 0}


def _check_mtu(mtu: int) -> None:
    if not LEAST_MTU <= mtu <= MOST_MTU:
        raise InvalidInput(reason=f"mtu {mtu} is not between {LEAST_MTU} and {MOST_MTU}")


def _has_ipv6(tx: Tx, network_id: NetworkId) -> bool:
    found = sa.select(subnets.c.id).where(subnets.c.network_id == network_id, subnets.c.ip_version == 6).limit(1)
    return tx.first(found) is not None


def _has_guests(tx: Tx, network: Network) -> bool:
    """Whether other projects than its own have ports on a network."""
    found = (
        sa.select(ports.c.id).where(ports.c.network_id == network.id, ports.c.project_id != network.project_id).limit(1)
    )
    return tx.first(found) is not None


def _free_vnis(tx: Tx, count: int) -> list[int]:
    """Numbers that tell networks apart on the wire, 24 bits each."""
    highest = int(tx.value(sa.select(sa.func.coalesce(sa.func.max(networks.c.vni), 0))))
    if highest + count <= _MOST_VNI:
        return list(range(highest + 1, highest + 1 + count))
    used = {row[0] for row in tx.all(sa.select(networks.c.vni))}
    free = (vni for vni in range(1, _MOST_VNI + 1) if vni not in used)
    return [next(free) for _ in range(count)]


_ids: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_NAMES = sa.select(networks.c.id, networks.c.name).where(networks.c.id.in_(_ids))
_WITH_SUBNETS = sa.select(
    networks.c.id,
    networks.c.project_id,
    networks.c.shared,
    sa.exists().where(subnets.c.network_id == networks.c.id).label("has_subnet"),
).where(networks.c.id.in_(_ids))
