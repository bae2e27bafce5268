"""NICs: a port in a slot of a server. This is the one place that lists them, and nothing sorts them again.

A slot counts from 1 and is the NIC's for life: it decides the NIC's place in the guest, and the order of slots is the
order of NICs everywhere. A new NIC takes the slot above the highest in use; a detached one leaves a gap, and nothing
moves. Nothing here asks whether two NICs are on the same network: any number may be.
"""

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from polyport.db.engine import Tx
from polyport.db.tables.compute import nics, servers
from polyport.db.tables.network import addresses
from polyport.db.tables.network import networks as network_rows
from polyport.db.tables.network import ports as port_rows
from polyport.errors import Invalid
from polyport.ids import NetworkId, PortId, SecurityGroupId, ServerId
from polyport.network import ipam, networks, security_groups

MOST_NICS_PER_VCPU = 48
"""Each virtio NIC takes 4 interrupt vectors, and an x86 processor has about 200 for devices."""
MOST_SLOTS = 248
"""What the guest's PCI topology has places for."""


class NoSlotLeft(Invalid):
    """Server {server_id} has no NIC slot left: it has {slots} slots, the highest in use is {highest}, and a new NIC
    takes the one above it. Detach its last NICs, rebuild the server (its NICs are numbered from 1 again), or boot it
    from an image whose property polyport_nic_slots asks for more."""


class TooManyNics(Invalid):
    """{count} NICs are too many for {vcpus} vCPU(s): a guest has interrupt vectors for {each} NICs on each vCPU. Take a
    flavor with more vCPUs."""


class TooManyNicsForSlots(Invalid):
    """{count} NICs are too many: the server would have {slots} NIC slots. An image property polyport_nic_slots, an
    integer up to {most}, asks for another number."""


class Nic(Struct, frozen=True, gc=False):
    """A NIC and what everybody wants to know of its port."""

    server_id: ServerId
    slot: int
    port_id: PortId
    tag: str | None
    made_here: bool
    network_id: NetworkId
    network_name: str
    mac_address: str
    status: str
    security_groups: str
    """Ids, as JSON text."""
    port_revision: int
    """Of the port's last change that its host must know."""
    fixed_ips: tuple[tuple[str, str], ...]
    """(subnet id, address), in the port's own order."""


class Place(NamedTuple):
    """A NIC by its place, without what its port is."""

    server_id: ServerId
    slot: int
    port_id: PortId
    tag: str | None
    port_revision: int


class Reported(NamedTuple):
    """What the host last said of a NIC."""

    port_id: PortId
    server_id: ServerId
    slot: int
    status: str
    quarantined: bool


class ShownNics(NamedTuple):
    """What views show of the NICs of one server, in slot order. Texts stay as the database gives them: a list has
    thousands."""

    addresses: dict[str, list[str]]
    """By network name, each a MAC (17 characters) and right behind it the address as stored. Two networks with one name
    share a key, and a NIC without addresses leaves its network's list as it is."""
    groups: dict[str, None]
    """The ids of the security groups of each port, as JSON; each text once."""


class Shown(NamedTuple):
    """What views of many servers show of their NICs."""

    of: Mapping[ServerId, ShownNics]
    groups: Mapping[SecurityGroupId, str]
    """The names of the security groups."""


def of_server(tx: Tx, server_id: ServerId) -> list[Nic]:
    """The NICs of a server, in slot order."""
    return _read(tx, _OF_SERVER, {"server": server_id}).get(server_id, [])


def of_servers(tx: Tx, server_ids: Sequence[ServerId]) -> Mapping[ServerId, list[Nic]]:
    """The NICs of many servers, in slot order; a server without NICs is not in it."""
    found: dict[ServerId, list[Nic]] = {}
    for at in range(0, len(server_ids), _AT_ONCE):
        found |= _read(tx, _OF_SERVERS, {"servers": server_ids[at : at + _AT_ONCE]})
    return found


def shown(tx: Tx, server_ids: Sequence[ServerId]) -> Shown:
    """The NICs of servers, for views; a server without NICs is not in it."""
    of: dict[ServerId, ShownNics] = {}
    current = None
    texts: set[str] = set()
    for at in range(0, len(server_ids), _AT_ONCE):
        for server_id, network, groups, address in tx.tuples(_SHOWN, {"servers": server_ids[at : at + _AT_ONCE]}):
            if server_id != current:
                current = server_id
                addresses_, groups_ = of[server_id] = ShownNics({}, {})
            groups_[groups] = None
            if network not in addresses_:
                addresses_[network] = []
            if address is not None:
                addresses_[network].append(address)
    for nics_ in of.values():
        texts.update(nics_.groups)
    group_ids_ = {group_id for text in texts for group_id in group_ids(text)}
    return Shown(of, security_groups.group_names(tx, group_ids_))


def of_port(tx: Tx, port_id: str) -> Nic | None:
    """The NIC a port is; None where it is in no server."""
    for found in _read(tx, _OF_PORT, {"port": port_id}).values():
        return found[0]
    return None


def places_of(tx: Tx, server_ids: Sequence[ServerId]) -> dict[ServerId, list[Place]]:
    """The places of the NICs of servers, in slot order; a server without NICs is not in it."""
    found: dict[ServerId, list[Place]] = {}
    for at in range(0, len(server_ids), _AT_ONCE):
        for row in tx.tuples(_PLACES, {"servers": server_ids[at : at + _AT_ONCE]}):
            found.setdefault(row[0], []).append(Place._make(row))
    return found


def reported(tx: Tx, server_ids: Sequence[ServerId]) -> dict[PortId, Reported]:
    """What was last said of the NICs of servers, by port."""
    return {row[0]: Reported._make(row) for row in tx.all(_REPORTED, {"servers": server_ids})}


def check_count(count: int, *, vcpus: int, slots: int) -> None:
    """Raises `TooManyNics` or `TooManyNicsForSlots` where a new server could not have that many NICs."""
    if count > slots:
        raise TooManyNicsForSlots(count=count, slots=slots, most=MOST_SLOTS)
    if count > vcpus * MOST_NICS_PER_VCPU:
        raise TooManyNics(count=count, vcpus=vcpus, each=MOST_NICS_PER_VCPU)


def next_slot(tx: Tx, server_id: ServerId, *, slots: int, vcpus: int) -> int:
    """The slot a new NIC would take. Raises `NoSlotLeft` or `TooManyNics`."""
    row = tx.first(_HIGHEST, {"server": server_id})
    highest, count = (row.highest or 0, row.count_) if row is not None else (0, 0)
    if highest >= slots:
        raise NoSlotLeft(server_id=server_id, slots=slots, highest=highest)
    if count + 1 > vcpus * MOST_NICS_PER_VCPU:
        raise TooManyNics(count=count + 1, vcpus=vcpus, each=MOST_NICS_PER_VCPU)
    return highest + 1


def renumber(tx: Tx, server_id: ServerId) -> dict[PortId, int]:
    """Number the NICs of a server from 1 again, in their order: its guest is going to be a new one. Port -> slot."""
    found = {PortId(row.port_id): row.slot for row in tx.all(_SLOTS, {"server": server_id})}
    slots: dict[PortId, int] = {}
    for wanted, (port_id, slot) in enumerate(found.items(), 1):
        slots[port_id] = wanted
        if slot != wanted:
            # Upwards from 1, each into a place that is free by then.
            tx.execute(_MOVE, {"server_": server_id, "old": slot, "new": wanted})
    return slots


def port_gone(tx: Tx, port_id: PortId) -> None:
    """A port that a server uses is deleted by an administrator: its NIC goes with it, the others stay as they are."""
    server_id = tx.value(sa.delete(nics).where(nics.c.port_id == port_id).returning(nics.c.server_id))
    if server_id is not None:
        tx.execute(sa.update(servers).where(servers.c.id == server_id).values(plan_revision=tx.revision()))


class NewNic(Struct, frozen=True):
    """A row to be."""

    server_id: ServerId
    slot: int
    port_id: PortId
    tag: str | None
    made_here: bool


def insert_nics(tx: Tx, wanted: Iterable[NewNic]) -> None:
    rows = [msgspec.structs.asdict(nic) for nic in wanted]
    if rows:
        tx.execute(_INSERT, rows)


def remove_nics(tx: Tx, server_id: ServerId, port_ids: Sequence[PortId]) -> None:
    """Take NICs out of their slots; their ports stay what they are."""
    if port_ids:
        tx.execute(_REMOVE, {"server": server_id, "ports": port_ids})


@functools.lru_cache(4096)
def group_ids(text: str) -> tuple[SecurityGroupId, ...]:
    """`Nic.security_groups` as ids; many NICs share a few."""
    return msgspec.json.decode(text, type=tuple[SecurityGroupId, ...])


def _read(tx: Tx, statement: sa.Select[Any], values: Mapping[str, object]) -> dict[ServerId, list[Nic]]:
    """Rows come by server and slot: one for each address, one for a NIC without any."""
    rows = tx.tuples(statement, values)
    names = networks.names_of(tx, {row[5] for row in rows})
    found: dict[ServerId, list[Nic]] = {}
    nics_of_server: list[Nic] = []
    server_id: ServerId | None = None
    at, count = 0, len(rows)
    while at < count:
        row = rows[at]
        (row_server, slot, port_id, tag, made_here, network_id, mac, status, groups, revision, subnet, stored, _) = row
        at += 1
        if at < count and rows[at][2] == port_id:
            several = [row]
            while at < count and rows[at][2] == port_id:
                several.append(rows[at])
                at += 1
            several.sort(key=_position)
            ips = tuple((each[10], text_of(each[11])) for each in several)
        else:
            ips = () if stored is None else ((subnet, text_of(stored)),)
        if row_server != server_id:
            server_id = row_server
            nics_of_server = found[row_server] = []
        nics_of_server.append(
            Nic(
                *(row_server, slot, port_id, tag, made_here == 1, network_id, names[network_id]),
                *(mac, status, groups, revision, ips),
            )
        )
    return found


_position = operator.itemgetter(12)
text_of = functools.lru_cache(8192)(ipam.text_of)
_AT_ONCE = 10_000

_SELECT = (
    sa.select(
        nics.c.server_id,
        nics.c.slot,
        nics.c.port_id,
        nics.c.tag,
        nics.c.made_here,
        port_rows.c.network_id,
        port_rows.c.mac_address,
        port_rows.c.status,
        sa.cast(port_rows.c.security_groups, sa.Text),
        port_rows.c.plan_revision,
        addresses.c.subnet_id,
        addresses.c.address,
        addresses.c.position,
    )
    .select_from(nics)
    .join(port_rows, port_rows.c.id == nics.c.port_id)
    .outerjoin(addresses, addresses.c.port_id == nics.c.port_id)
    .order_by(nics.c.server_id, nics.c.slot)
)
# The order of addresses comes with the index they are found by: nothing is sorted.
_SHOWN = (
    sa.select(
        nics.c.server_id,
        network_rows.c.name,
        port_rows.c.security_groups,
        port_rows.c.mac_address + addresses.c.address,
    )
    .select_from(nics)
    .join(port_rows, port_rows.c.id == nics.c.port_id)
    .join(network_rows, network_rows.c.id == port_rows.c.network_id)
    .outerjoin(addresses, addresses.c.port_id == nics.c.port_id)
    .where(nics.c.server_id.in_(sa.bindparam("servers", expanding=True)))
    .order_by(nics.c.server_id, nics.c.slot, addresses.c.position)
)
_OF_SERVER = _SELECT.where(nics.c.server_id == sa.bindparam("server"))
_OF_SERVERS = _SELECT.where(nics.c.server_id.in_(sa.bindparam("servers", expanding=True)))
_PLACES = (
    sa.select(nics.c.server_id, nics.c.slot, nics.c.port_id, nics.c.tag, port_rows.c.plan_revision)
    .join(port_rows, port_rows.c.id == nics.c.port_id)
    .where(nics.c.server_id.in_(sa.bindparam("servers", expanding=True)))
    .order_by(nics.c.server_id, nics.c.slot)
)
_REPORTED = (
    sa.select(nics.c.port_id, nics.c.server_id, nics.c.slot, port_rows.c.status, port_rows.c.quarantined)
    .join(port_rows, port_rows.c.id == nics.c.port_id)
    .where(nics.c.server_id.in_(sa.bindparam("servers", expanding=True)))
)
_OF_PORT = _SELECT.where(nics.c.port_id == sa.bindparam("port"))
_HIGHEST = sa.select(sa.func.max(nics.c.slot).label("highest"), sa.func.count().label("count_")).where(
    nics.c.server_id == sa.bindparam("server")
)
_SLOTS = sa.select(nics.c.port_id, nics.c.slot).where(nics.c.server_id == sa.bindparam("server")).order_by(nics.c.slot)
_MOVE = (
    sa.update(nics)
    .where(nics.c.server_id == sa.bindparam("server_"), nics.c.slot == sa.bindparam("old"))
    .values(slot=sa.bindparam("new"))
)
_INSERT = sa.insert(nics)
_REMOVE = sa.delete(nics).where(
    nics.c.server_id == sa.bindparam("server"), nics.c.port_id.in_(sa.bindparam("ports", expanding=True))
)
