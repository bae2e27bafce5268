"""Ports: made, found, put to use and let go, for many at once and in few statements.

    create_ports -> free --- bind_ports (or create_ports with a position) --> in use: status DOWN
                     ^                                                          | record_ports_active
                     |                                                          v
                     +------------- unbind_ports <-------------------- in use: status ACTIVE

`position` is the NIC's slot: a port is in use by a server as long as it has one. A network may be named any number of
times in one request, and a device may have any number of ports on one network.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from msgspec import structs
from sqlalchemy.dialects.sqlite import insert

from polyport import quotas
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.metadata import now
from polyport.db.tables.network import networks, ports
from polyport.errors import Conflict
from polyport.ids import HostName, NetworkId, PortId, new_ids
from polyport.network.ipam import Want, allocate
from polyport.network.networks import NetworkNotFound, project_of
from polyport.network.new_ports import (
    MacAddressInUse,
    NewPort,
    check_guest,
    drawn_macs,
    groups_of,
    is_secured,
    made_port,
    named_macs,
)
from polyport.network.port_rows import (
    COLUMNS,
    Port,
    PortNotFound,
    get_port,
    insert_addresses,
    insert_bindings,
    list_ports,
    read_ports,
    select_ports,
)
from polyport.network.subnets import spaces_of
from polyport.policy import PolicyNotAuthorized

__all__ = [
    "COLUMNS",
    "MacAddressInUse",
    "NewPort",
    "Port",
    "PortGone",
    "PortInUse",
    "PortNotFound",
    "UsedPort",
    "bind_ports",
    "create_ports",
    "delete_port",
    "delete_ports",
    "get_port",
    "list_ports",
    "move_ports",
    "read_ports",
    "record_ports_active",
    "record_ports_down",
    "record_quarantines",
    "select_ports",
    "unbind_ports",
    "used_ports",
]

PortGone = Callable[[Tx, PortId], None]
"""Called inside of the transaction, before the row of a port that a server uses goes."""


class PortInUse(Conflict):
    """Unable to complete operation on port {port_id}. Port already has an attached device {device_id}."""


class UsedPort(NamedTuple):
    """A port in a slot of a server."""

    id: PortId
    network_id: NetworkId
    device_id: str
    slot: int
    quarantined: bool


def create_ports(tx: Tx, context: Context, wanted: Sequence[NewPort], *, counted: bool = False) -> list[Port]:
    """All of `wanted` or none, in its order. Facts of an error about one entry carry its `index`. Where they are
    `counted`, the caller has charged the quota for them already, together with what else it makes.

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
            check_guest(entry, index)
    if not counted:
        for project_id, count in Counter(projects).items():
            quotas.charge(tx, project_id, {"port": count})
    named = named_macs(tx, wanted)
    spaces = spaces_of(tx, network_ids)
    groups = groups_of(tx, context, wanted, projects, [rows[entry.network_id] for entry in wanted])
    revision = tx.revision() if any(entry.host for entry in wanted) else 0
    time = now()
    automatic = any(space.automatic for each in spaces.values() for space in each)
    while True:
        macs = drawn_macs(tx, wanted, named, automatic)
        wants = [
            Want(network_id=entry.network_id, mac_address=mac, fixed_ips=entry.fixed_ips)
            for entry, mac in zip(wanted, macs, strict=True)
        ]
        fixed_ips = allocate(tx, spaces, wants)
        made = []
        for index, (port_id, entry) in enumerate(zip(new_ids(len(wanted)), wanted, strict=True)):
            secured = is_secured(entry, rows[entry.network_id])
            values = (projects[index], macs[index], secured, groups[index], fixed_ips[index], time, index)
            made.append(made_port(PortId(port_id), entry, *values))
        if tx.execute(_INSERT, [_row(port, revision if port.host else 0) for port in made]).rowcount == len(made):
            break
        # A MAC that was drawn was in use, which is cheaper to find out than to ask for: draw anew.
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


def record_quarantines(tx: Tx, said: Mapping[PortId, bool]) -> None:
    """What a host said of ports: whether its storm guard has cut them off. Those not in use any more stay as they
    are."""
    if said:
        time = now()
        tx.execute(_QUARANTINE, [{"port": port_id, "state": state, "time": time} for port_id, state in said.items()])


def used_ports(tx: Tx) -> list[UsedPort]:
    """All ports that servers use, of every project."""
    return [UsedPort(*row) for row in tx.tuples(_USED)]


def _row(port: Port, revision: int) -> dict[str, Any]:
    row = structs.asdict(port)
    del row["fixed_ips"]
    row["plan_revision"] = revision
    return row


_ids: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_INSERT = insert(ports).on_conflict_do_nothing(["network_id", "mac_address"])
_NETWORKS = sa.select(networks.c.id, networks.c.project_id, networks.c.shared, networks.c.port_security_enabled).where(
    networks.c.id.in_(_ids)
)
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
_QUARANTINE = (
    sa.update(ports)
    .where(ports.c.id == sa.bindparam("port"), ports.c.position.is_not(None))
    .values(
        quarantined=sa.bindparam("state"),
        revision_number=ports.c.revision_number + 1,
        updated_at=sa.bindparam("time"),
    )
)
_USED = (
    sa.select(ports.c.id, ports.c.network_id, ports.c.device_id, ports.c.position, ports.c.quarantined)
    .where(ports.c.position.is_not(None))
    .order_by(ports.c.device_id, ports.c.position)
)
