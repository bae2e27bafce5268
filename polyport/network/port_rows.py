"""Ports as they are stored: found, listed, read."""

import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.network import addresses, group_bindings, ports
from polyport.errors import NotFound
from polyport.ids import NetworkId, PortId, ProjectId, SecurityGroupId, SubnetId, is_uuid
from polyport.network.ipam import hex_of, number_of, text_of
from polyport.plan import AddressPair, FixedIp, StormPlan


class PortNotFound(NotFound):
    """Port {port_id} could not be found."""


class Port(Struct, frozen=True, gc=False):
    """A row of the table in its own order, and the addresses."""

    id: PortId
    project_id: ProjectId
    network_id: NetworkId
    name: str
    description: str
    admin_state_up: bool
    status: str
    mac_address: str
    device_id: str
    device_owner: str
    host: str
    position: int | None
    """The slot of the NIC while a server uses the port."""
    vnic_type: str
    profile: dict[str, Any]
    port_security_enabled: bool
    allowed_address_pairs: tuple[AddressPair, ...]
    extra_dhcp_opts: tuple[tuple[str, str, int], ...]
    """(name, value, IP version)"""
    security_groups: tuple[SecurityGroupId, ...]
    storm: StormPlan | None
    quarantined: bool
    default_route: bool
    """Whether the server that uses it shall have its default route here."""
    tags: tuple[str, ...]
    revision_number: int
    created_at: str
    updated_at: str
    fixed_ips: tuple[FixedIp, ...] = ()


_SELECTED = [ports.c[name] for name in Port.__struct_fields__ if name != "fixed_ips"]

COLUMNS: dict[str, sa.ColumnElement[Any]] = {
    "id": ports.c.id,
    "name": ports.c.name,
    "description": ports.c.description,
    "project_id": ports.c.project_id,
    "tenant_id": ports.c.project_id,
    "network_id": ports.c.network_id,
    "admin_state_up": ports.c.admin_state_up,
    "status": ports.c.status,
    "mac_address": ports.c.mac_address,
    "device_id": ports.c.device_id,
    "device_owner": ports.c.device_owner,
    "port_security_enabled": ports.c.port_security_enabled,
    "binding:vnic_type": ports.c.vnic_type,
    "revision_number": ports.c.revision_number,
    "created_at": ports.c.created_at,
    "updated_at": ports.c.updated_at,
}
"""Attributes a list may be filtered and sorted by."""

TAGS: sa.ColumnElement[Any] = ports.c.tags
NIC_ORDER: sa.ColumnElement[Any] = ports.c.position
HOST: sa.ColumnElement[Any] = ports.c.host


def select_ports(context: Context) -> sa.Select[Any]:
    statement = sa.select(*_SELECTED)
    return statement if context.is_admin else statement.where(ports.c.project_id == context.project_id)


def has_address(
    tx: Tx, context: Context, exact: Sequence[str], subnet_ids: Sequence[str], parts: Sequence[str]
) -> sa.ColumnElement[bool]:
    """The condition for ports with an address that is one of `exact`, of one of `subnet_ids` and contains one of
    `parts`; what is empty is not asked for. Of ports the caller does not see no address is read."""
    condition = addresses.c.port_id == ports.c.id
    if exact:
        numbers = [number_of(text) for text in exact]
        stored = [hex_of(number[1]) for number in numbers if number is not None]
        condition = sa.and_(condition, addresses.c.address.in_(stored))
    if subnet_ids:
        condition = sa.and_(condition, addresses.c.subnet_id.in_(list(subnet_ids)))
    if parts:
        read = sa.select(addresses.c.address).distinct()
        if not context.is_admin:
            read = read.join(ports, ports.c.id == addresses.c.port_id).where(ports.c.project_id == context.project_id)
        stored = [row[0] for row in tx.all(read)]
        found = [address for address in stored if any(part.lower() in text_of(address) for part in parts)]
        # As one parameter: a statement has a limit of them.
        entries = sa.func.json_each(msgspec.json.encode(found).decode()).table_valued("value")
        condition = sa.and_(condition, addresses.c.address.in_(sa.select(entries.c.value)))
    return sa.select(addresses.c.port_id).where(condition).exists()


def has_group(tx: Tx, context: Context, group_ids: Sequence[str]) -> sa.ColumnElement[bool]:
    """The condition for ports with one of some security groups."""
    return (
        sa.select(group_bindings.c.port_id)
        .where(group_bindings.c.port_id == ports.c.id, group_bindings.c.security_group_id.in_(list(group_ids)))
        .exists()
    )


def list_ports(tx: Tx, statement: sa.Select[Any]) -> list[Port]:
    """The ports a statement on the table selects, in its order: two statements, however many they are."""
    rows = tx.all(statement)
    if not rows:
        return []
    if len(rows) <= 100:
        found = tx.all(_ADDRESSES, {"ids": [row[0] for row in rows]})
    else:
        found = tx.all(
            sa.select(addresses.c.port_id, addresses.c.subnet_id, addresses.c.address)
            .where(addresses.c.port_id.in_(statement.with_only_columns(ports.c.id)))
            .order_by(addresses.c.port_id, addresses.c.position)
        )
    return _with_addresses(rows, found)


def read_ports(tx: Tx, port_ids: Collection[PortId]) -> dict[PortId, Port]:
    """Ports by id, whoever they belong to; those that do not exist are left out."""
    ids = list(port_ids)
    if not ids:
        return {}
    found = _with_addresses(tx.all(_PORTS, {"ids": ids}), tx.all(_ADDRESSES, {"ids": ids}))
    return {port.id: port for port in found}


def get_port(tx: Tx, context: Context, port_id: str) -> Port:
    """Raises `PortNotFound`, also for what the caller may not see."""
    port = read_ports(tx, [PortId(port_id)]).get(PortId(port_id)) if is_uuid(port_id) else None
    if port is None or (port.project_id != context.project_id and not context.is_admin):
        raise PortNotFound(port_id=port_id[:255])
    return port


def insert_addresses(tx: Tx, of: Mapping[PortId, Iterable[FixedIp]]) -> None:
    rows = [
        {"subnet_id": ip.subnet_id, "address": stored_of(ip.ip_address), "port_id": port_id, "position": position}
        for port_id, ips in of.items()
        for position, ip in enumerate(ips)
    ]
    if rows:
        tx.execute(_INSERT_ADDRESSES, rows)


def insert_bindings(tx: Tx, of: Mapping[PortId, Iterable[SecurityGroupId]]) -> None:
    rows = [
        {"port_id": port_id, "security_group_id": group_id} for port_id, groups in of.items() for group_id in groups
    ]
    if rows:
        tx.execute(_INSERT_BINDINGS, rows)


def stored_of(text: str) -> str:
    """An address that was checked before, as it is stored."""
    if ":" in text:
        return socket.inet_pton(socket.AF_INET6, text).hex()
    return "0" * 24 + socket.inet_aton(text).hex()


def _with_addresses(rows: Sequence[Any], found: Sequence[Any]) -> list[Port]:
    of: dict[str, list[FixedIp]] = {}
    for port_id, subnet_id, address in found:
        ip = FixedIp(SubnetId(subnet_id), text_of(address))
        if port_id in of:
            of[port_id].append(ip)
        else:
            of[port_id] = [ip]
    return [Port(*(*row, tuple(of.get(row[0], ())))) for row in rows]


_ids: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_INSERT_ADDRESSES = sa.insert(addresses)
_INSERT_BINDINGS = sa.insert(group_bindings)
_PORTS = sa.select(*_SELECTED).where(ports.c.id.in_(_ids))
_ADDRESSES = (
    sa.select(addresses.c.port_id, addresses.c.subnet_id, addresses.c.address)
    .where(addresses.c.port_id.in_(_ids))
    .order_by(addresses.c.port_id, addresses.c.position)
)
