"""Ports: made, found, put to use and let go, for many at once and in few statements.

    create_ports -> free --- bind_ports (or create_ports with a position) --> in use: status DOWN
                     ^                                                          | record_ports_active
                     |                                                          v
                     +------------- unbind_ports <-------------------- in use: status ACTIVE

`position` is the NIC's slot: a port is in use by a server as long as it has one. A network may be named any number of
times in one request, and a device may have any number of ports on one network.
"""

import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct, structs
from sqlalchemy.dialects.sqlite import insert

from polyport import quotas
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.metadata import now
from polyport.db.tables.network import addresses, group_bindings, networks, ports, security_groups
from polyport.errors import Conflict, NotFound
from polyport.ids import HostName, NetworkId, PortId, ProjectId, SecurityGroupId, SubnetId, is_uuid, new_id
from polyport.network import InvalidInput
from polyport.network.ipam import Want, WantedIp, allocate, hex_of, number_of, text_of
from polyport.network.networks import NetworkNotFound, project_of
from polyport.network.port_rules import (
    VNIC_TYPES,
    WantedOption,
    WantedPair,
    checked_mac,
    checked_options,
    checked_pairs,
    random_mac,
)
from polyport.network.security_groups import SecurityGroupNotFound, default_group
from polyport.network.subnets import spaces_of
from polyport.plan import AddressPair, FixedIp
from polyport.policy import PolicyNotAuthorized

PortGone = Callable[[Tx, PortId], None]
"""Called inside of the transaction, before the row of a port that a server uses goes."""


class PortNotFound(NotFound):
    """Port {port_id} could not be found."""


class PortInUse(Conflict):
    """Unable to complete operation on port {port_id}. Port already has an attached device {device_id}."""


class MacAddressInUse(Conflict):
    """Unable to complete operation for network {network_id}. The mac address {mac_address} is in use."""


class PortSecurityAndIPRequiredForSecurityGroups(InvalidInput):
    """Port security must be enabled in order to use security groups on a port."""


class AddressPairAndPortSecurityRequired(Conflict):
    """Port Security must be enabled in order to have allowed address pairs on a port."""


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
    quarantined: bool
    tags: tuple[str, ...]
    revision_number: int
    created_at: str
    updated_at: str
    fixed_ips: tuple[FixedIp, ...] = ()


class NewPort(Struct, frozen=True, kw_only=True):
    """A port to be. `device_id`, `device_owner`, `host` and `position` together make it in use from the start."""

    network_id: NetworkId
    project_id: ProjectId | None = None
    """Another project than the caller's: for administrators."""
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    mac_address: str | None = None
    fixed_ips: tuple[WantedIp, ...] | None = None
    """None: one address of each version the network has."""
    device_id: str = ""
    device_owner: str = ""
    host: str = ""
    position: int | None = None
    vnic_type: str = "normal"
    profile: dict[str, Any] = {}
    port_security_enabled: bool | None = None
    """None: as the network says."""
    allowed_address_pairs: tuple[WantedPair, ...] = ()
    extra_dhcp_opts: tuple[WantedOption, ...] = ()
    security_groups: tuple[SecurityGroupId, ...] | None = None
    """None: the project's default group, where port security is on."""
    tags: tuple[str, ...] = ()


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
    tx: Tx, exact: Sequence[str], subnet_ids: Sequence[str], parts: Sequence[str]
) -> sa.ColumnElement[bool]:
    """The condition for ports with an address that is one of `exact`, of one of `subnet_ids` and contains one of
    `parts`; what is empty is not asked for."""
    condition = addresses.c.port_id == ports.c.id
    if exact:
        numbers = [number_of(text) for text in exact]
        stored = [hex_of(number[1]) for number in numbers if number is not None]
        condition = sa.and_(condition, addresses.c.address.in_(stored))
    if subnet_ids:
        condition = sa.and_(condition, addresses.c.subnet_id.in_(list(subnet_ids)))
    if parts:
        stored = [row[0] for row in tx.all(sa.select(addresses.c.address).distinct())]
        found = [address for address in stored if any(part.lower() in text_of(address) for part in parts)]
        # As one parameter: a statement has a limit of them.
        entries = sa.func.json_each(msgspec.json.encode(found).decode()).table_valued("value")
        condition = sa.and_(condition, addresses.c.address.in_(sa.select(entries.c.value)))
    return sa.select(addresses.c.port_id).where(condition).exists()


def has_group(tx: Tx, group_ids: Sequence[str]) -> sa.ColumnElement[bool]:
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


def get_ports(tx: Tx, context: Context, port_ids: Sequence[PortId]) -> list[Port]:
    """Ports in the order of `port_ids`. Raises `PortNotFound`, whose facts name the `index` of the first that is not
    there for the caller."""
    found = read_ports(tx, port_ids)
    result = []
    for index, port_id in enumerate(port_ids):
        port = found.get(port_id)
        if port is None or (port.project_id != context.project_id and not context.is_admin):
            raise PortNotFound(port_id=str(port_id)[:255], index=index)
        result.append(port)
    return result


def create_ports(tx: Tx, context: Context, wanted: Sequence[NewPort]) -> list[Port]:
    """All of `wanted` or none, in its order. Facts of an error about one entry carry its `index`.

    Raises `NetworkNotFound`, `SecurityGroupNotFound`, `QuotaExceeded`, `PolicyNotAuthorized`, `MacAddressInUse`, what
    `ipam.allocate` raises, and `InvalidInput` or its kin for an attribute that is wrong in itself.
    """
    network_ids = list(dict.fromkeys(entry.network_id for entry in wanted))
    rows = {row.id: row for row in tx.all(_NETWORKS, {"ids": network_ids})}
    projects = []
    for index, entry in enumerate(wanted):
        row = rows.get(entry.network_id)
        if row is None or not (row.shared or row.project_id == context.project_id or context.is_admin):
            raise NetworkNotFound(network_id=str(entry.network_id)[:255], index=index)
        projects.append(project_of(context, entry.project_id))
        if row.project_id != context.project_id and not context.is_admin:
            _check_guest(entry, index)
    for project_id, count in Counter(projects).items():
        quotas.charge(tx, project_id, {"port": count})
    named = _named_macs(tx, wanted)
    spaces = spaces_of(tx, network_ids)
    groups = _groups_of(tx, context, wanted, projects, [rows[entry.network_id] for entry in wanted])
    revision = tx.revision() if any(entry.host for entry in wanted) else 0
    time = now()
    while True:
        macs = [mac or random_mac() for mac in named]
        wants = [
            Want(network_id=entry.network_id, mac_address=mac, fixed_ips=entry.fixed_ips)
            for entry, mac in zip(wanted, macs, strict=True)
        ]
        fixed_ips = allocate(tx, spaces, wants)
        made = []
        for index, entry in enumerate(wanted):
            secured = _is_secured(entry, rows[entry.network_id])
            made.append(
                _made(entry, projects[index], macs[index], secured, groups[index], fixed_ips[index], time, index)
            )
        if tx.execute(_INSERT, [_row(port, revision if port.host else 0) for port in made]).rowcount == len(made):
            break
        # A MAC that was drawn was in use: draw all of them anew, the addresses that follow from them too.
        tx.execute(_DELETE, {"ids": [port.id for port in made]})
    insert_addresses(tx, {port.id: port.fixed_ips for port in made})
    insert_bindings(tx, {port.id: port.security_groups for port in made})
    return made


def delete_ports(tx: Tx, port_ids: Collection[PortId]) -> None:
    """Delete ports that nothing uses any more (their NICs are gone already)."""
    if not port_ids:
        return
    gone = tx.all(_DELETE, {"ids": list(port_ids)})
    for project_id, count in Counter(row[0] for row in gone).items():
        quotas.refund(tx, project_id, {"port": count})


def delete_port(tx: Tx, context: Context, port_id: str, gone: PortGone) -> None:
    """Raises `PortNotFound`, and `PolicyNotAuthorized` where a server uses it and the caller is no administrator."""
    port = get_port(tx, context, port_id)
    if port.position is not None:
        if not context.is_admin:
            raise PolicyNotAuthorized(action="delete_port")
        gone(tx, port.id)
        tx.revision()
        tx.wake(port.host)
    delete_ports(tx, [port.id])


def bind_ports(tx: Tx, slots: Mapping[PortId, int], *, device_id: str, device_owner: str, host: HostName) -> None:
    """Put free ports to use: `slots` is port -> slot. They stay DOWN until `record_ports_active`.

    Raises `PortNotFound` or `PortInUse`, whose facts name the `index` of the port that cannot be had.
    """
    if not slots:
        return
    values = {"device": device_id, "owner": device_owner, "on": host, "revision": tx.revision(), "time": now()}
    found = {row.id: row.device_id for row in tx.all(_DEVICES, {"ids": list(slots)})}
    for index, port_id in enumerate(slots):
        if port_id not in found:
            raise PortNotFound(port_id=port_id, index=index)
        if found[port_id]:
            raise PortInUse(port_id=port_id, device_id=found[port_id], index=index)
    tx.execute(_BIND, [{**values, "port": port_id, "slot": slot} for port_id, slot in slots.items()])


def move_ports(tx: Tx, slots: Mapping[PortId, int]) -> None:
    """Put ports that are in use into other slots of their device."""
    if slots:
        revision = tx.revision()
        tx.execute(_MOVE, [{"port": port_id, "slot": slot, "revision": revision} for port_id, slot in slots.items()])


def unbind_ports(tx: Tx, port_ids: Collection[PortId]) -> None:
    """Let ports go: no device, no host, DOWN."""
    if port_ids:
        tx.execute(_UNBIND, {"ids": list(port_ids), "revision": tx.revision(), "time": now()})


def record_ports_active(tx: Tx, port_ids: Collection[PortId]) -> None:
    """What a host said: these are plugged. Ports that are not in use any more stay as they are."""
    if port_ids:
        tx.execute(_ACTIVE, {"ids": list(port_ids), "time": now()})


def record_ports_down(tx: Tx, port_ids: Collection[PortId]) -> None:
    """What a host said, or a server's end of life: these are not plugged."""
    if port_ids:
        tx.execute(_DOWN, {"ids": list(port_ids), "time": now()})


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


def check_groups(tx: Tx, context: Context, group_ids: Collection[SecurityGroupId]) -> None:
    """Raises `SecurityGroupNotFound` for the first that is not there for the caller."""
    unknown = missing_groups(tx, context, group_ids)
    if unknown:
        raise SecurityGroupNotFound(id=unknown[0][:255])


def missing_groups(tx: Tx, context: Context, group_ids: Collection[SecurityGroupId]) -> list[SecurityGroupId]:
    rows = tx.all(_GROUPS, {"ids": list(group_ids)})
    known = {row.id for row in rows if context.is_admin or row.project_id == context.project_id}
    return [group_id for group_id in group_ids if group_id not in known]


def check_security(port_id: str, secured: bool, groups: Collection[object], pairs: Collection[object]) -> None:
    """Groups and address pairs make sense only on a port that is guarded at all."""
    if secured:
        return
    if groups:
        raise PortSecurityAndIPRequiredForSecurityGroups(port_id=port_id)
    if pairs:
        raise AddressPairAndPortSecurityRequired(port_id=port_id)


def _check_guest(entry: NewPort, index: int) -> None:
    """What Neutron's policy reserves for the owner of the network, where a port is made on a shared one."""
    reserved = {
        "mac_address": entry.mac_address is not None,
        "fixed_ips:ip_address": any(ip.ip_address is not None for ip in entry.fixed_ips or ()),
        "port_security_enabled": entry.port_security_enabled is not None,
        "allowed_address_pairs": bool(entry.allowed_address_pairs),
        "device_owner": entry.device_owner.startswith("network:"),
    }
    for name, used in reserved.items():
        if used:
            raise PolicyNotAuthorized(action=f"create_port:{name}", index=index)


def _named_macs(tx: Tx, wanted: Sequence[NewPort]) -> list[str | None]:
    """The MAC each entry asks for, unique on its network; None where any will do."""
    macs: list[str | None] = [None] * len(wanted)
    owners: dict[tuple[NetworkId, str], int] = {}
    for index, entry in enumerate(wanted):
        if entry.mac_address is None:
            continue
        try:
            mac = checked_mac(entry.mac_address)
        except InvalidInput as error:
            error.facts["index"] = index
            raise
        if (entry.network_id, mac) in owners:
            raise MacAddressInUse(network_id=entry.network_id, mac_address=mac, index=index)
        owners[entry.network_id, mac] = index
        macs[index] = mac
    if owners:
        names = {"networks": list({key[0] for key in owners}), "macs": list({key[1] for key in owners})}
        for row in tx.all(_MACS, names):
            if (row.network_id, row.mac_address) in owners:
                index = owners[row.network_id, row.mac_address]
                raise MacAddressInUse(network_id=row.network_id, mac_address=row.mac_address, index=index)
    return macs


def _is_secured(entry: NewPort, net: Any) -> bool:
    return bool(net.port_security_enabled if entry.port_security_enabled is None else entry.port_security_enabled)


def _groups_of(
    tx: Tx, context: Context, wanted: Sequence[NewPort], projects: Sequence[ProjectId], nets: Sequence[Any]
) -> list[tuple[SecurityGroupId, ...]]:
    """The security groups of each entry, in the order given; the project's default where none is named."""
    named = list(dict.fromkeys(group_id for entry in wanted for group_id in entry.security_groups or ()))
    unknown = missing_groups(tx, context, named) if named else []
    defaults: dict[ProjectId, SecurityGroupId] = {}
    result: list[tuple[SecurityGroupId, ...]] = []
    for index, entry in enumerate(wanted):
        if entry.security_groups is not None:
            for group_id in entry.security_groups:
                if group_id in unknown:
                    raise SecurityGroupNotFound(id=group_id[:255], index=index)
            result.append(tuple(dict.fromkeys(entry.security_groups)))
            continue
        if not _is_secured(entry, nets[index]) or entry.device_owner.startswith("network:"):
            result.append(())
            continue
        project_id = projects[index]
        if project_id not in defaults:
            defaults[project_id] = default_group(tx, project_id)
        result.append((defaults[project_id],))
    return result


def _made(
    entry: NewPort,
    project_id: ProjectId,
    mac: str,
    secured: bool,
    groups: tuple[SecurityGroupId, ...],
    fixed_ips: tuple[FixedIp, ...],
    time: str,
    index: int,
) -> Port:
    """The port an entry comes to. Errors get the entry's `index`."""
    try:
        if entry.vnic_type not in VNIC_TYPES:
            raise InvalidInput(reason=f"binding:vnic_type '{entry.vnic_type[:50]}' is not supported")
        pairs = checked_pairs(entry.allowed_address_pairs, mac) if entry.allowed_address_pairs else ()
        options = checked_options(entry.extra_dhcp_opts) if entry.extra_dhcp_opts else ()
        check_security("", secured, groups, pairs)
    except (Conflict, InvalidInput) as error:
        error.facts["index"] = index
        raise
    return Port(
        id=PortId(new_id()),
        project_id=project_id,
        network_id=entry.network_id,
        name=entry.name,
        description=entry.description,
        admin_state_up=entry.admin_state_up,
        status="DOWN",
        mac_address=mac,
        device_id=entry.device_id,
        device_owner=entry.device_owner,
        host=entry.host,
        position=entry.position,
        vnic_type=entry.vnic_type,
        profile=entry.profile,
        port_security_enabled=secured,
        allowed_address_pairs=pairs,
        extra_dhcp_opts=options,
        security_groups=groups,
        quarantined=False,
        tags=entry.tags,
        revision_number=1,
        created_at=time,
        updated_at=time,
        fixed_ips=fixed_ips,
    )


def _row(port: Port, revision: int) -> dict[str, Any]:
    row = structs.asdict(port)
    del row["fixed_ips"]
    row["plan_revision"] = revision
    return row


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
_INSERT = insert(ports).on_conflict_do_nothing(["network_id", "mac_address"])
_INSERT_ADDRESSES = sa.insert(addresses)
_INSERT_BINDINGS = sa.insert(group_bindings)
_PORTS = sa.select(*_SELECTED).where(ports.c.id.in_(_ids))
_ADDRESSES = (
    sa.select(addresses.c.port_id, addresses.c.subnet_id, addresses.c.address)
    .where(addresses.c.port_id.in_(_ids))
    .order_by(addresses.c.port_id, addresses.c.position)
)
_NETWORKS = sa.select(networks.c.id, networks.c.project_id, networks.c.shared, networks.c.port_security_enabled).where(
    networks.c.id.in_(_ids)
)
_MACS = sa.select(ports.c.network_id, ports.c.mac_address).where(
    ports.c.network_id.in_(sa.bindparam("networks", expanding=True)),
    ports.c.mac_address.in_(sa.bindparam("macs", expanding=True)),
)
_GROUPS = sa.select(security_groups.c.id, security_groups.c.project_id).where(security_groups.c.id.in_(_ids))
_DEVICES = sa.select(ports.c.id, ports.c.device_id).where(ports.c.id.in_(_ids))
_DELETE = sa.delete(ports).where(ports.c.id.in_(_ids)).returning(ports.c.project_id)
_BIND = (
    sa.update(ports)
    .where(ports.c.id == sa.bindparam("port"))
    .values(
        device_id=sa.bindparam("device"),
        device_owner=sa.bindparam("owner"),
        host=sa.bindparam("on"),
        position=sa.bindparam("slot"),
        status="DOWN",
        plan_revision=sa.bindparam("revision"),
        revision_number=ports.c.revision_number + 1,
        updated_at=sa.bindparam("time"),
    )
)
_MOVE = (
    sa.update(ports)
    .where(ports.c.id == sa.bindparam("port"))
    .values(position=sa.bindparam("slot"), plan_revision=sa.bindparam("revision"))
)
_UNBIND = (
    sa.update(ports)
    .where(ports.c.id.in_(_ids))
    .values(
        device_id="",
        device_owner="",
        host="",
        position=None,
        status="DOWN",
        quarantined=False,
        plan_revision=sa.bindparam("revision"),
        revision_number=ports.c.revision_number + 1,
        updated_at=sa.bindparam("time"),
    )
)
_ACTIVE = (
    sa.update(ports)
    .where(ports.c.id.in_(_ids), ports.c.position.is_not(None), ports.c.status != "ACTIVE")
    .values(status="ACTIVE", revision_number=ports.c.revision_number + 1, updated_at=sa.bindparam("time"))
)
_DOWN = (
    sa.update(ports)
    .where(ports.c.id.in_(_ids), ports.c.status != "DOWN")
    .values(status="DOWN", revision_number=ports.c.revision_number + 1, updated_at=sa.bindparam("time"))
)
