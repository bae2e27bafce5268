"""NICs that come and go while a server lives: attach and detach, on running and on stopped servers alike.

One transaction makes the port, gives it its slot and tells the host; an error leaves nothing. What it costs does not
grow with the number of NICs the server has, and none of them is touched. Where the host then cannot plug the NIC (or
the guest will not let one go) the wish stands: the port stays DOWN, the server's actions say why, the host tries again.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from polyport.compute import boot, history, nics, servers, states, wanted_nics
from polyport.compute.nics import NewNic, Nic
from polyport.compute.servers import Server
from polyport.compute.wanted_nics import WantedNic
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.errors import Conflict, Invalid, NotFound, PolyportError
from polyport.ids import ProjectId, ServerId
from polyport.network import ipam, ports


class NicNotFound(NotFound):
    """Port id {port_id} could not be found."""


class AddressNotFound(Invalid):
    """Fixed IP address {address} is not associated with instance {server_id}."""


# OpenStack answers an attach with other statuses than a boot for the same mistakes.
_ATTACH_KINDS: Mapping[type[PolyportError], type[PolyportError]] = {
    wanted_nics.NetworkMissing: NotFound,
    wanted_nics.PortMissing: NotFound,
    wanted_nics.FixedIpTaken: Conflict,
    wanted_nics.NetworkAmbiguous: Invalid,
}


def attach(tx: Tx, context: Context, server: Server, wanted: WantedNic) -> Nic:
    """Give a server one more NIC, in the slot above the highest in use. Raises what is in the way.

    Whoever asks, an administrator for one: port, quota and default security group are those of the server's project.
    """
    servers.check_lock(context, server)
    states.check("attach_interface", server.id, server.state)
    slot = nics.next_slot(tx, server.id, slots=server.nic_slots, vcpus=server.vcpus)
    zone = server.availability_zone
    owner = replace(context, project_id=ProjectId(server.project_id))
    try:
        entry = wanted_nics.resolve_one(tx, owner, wanted)
        if entry.port is None:
            new = boot.new_port(entry, server.id, slot, None, zone, server.host)
            port_id = wanted_nics.create_ports(tx, owner, [new], [""])[0].id
        else:
            port_id = entry.port.id
            wanted_nics.bind_ports(tx, {port_id: slot}, server_id=server.id, zone=zone, host=server.host, at=[""])
    except PolyportError as error:
        kind = _ATTACH_KINDS.get(type(error))
        if kind is None:
            raise
        raise kind(error.message) from error
    nics.insert_nics(tx, [NewNic(server.id, slot, port_id, entry.tag, entry.port is None)])
    _changed(tx, context, server, "attach_interface", "compute_attach_interface")
    return find_nic(tx, server.id, port_id)


def detach(tx: Tx, context: Context, server: Server, port_id: str) -> None:
    """Take a NIC away: a port that was made with it goes, one that was brought along is free again."""
    servers.check_lock(context, server)
    states.check("detach_interface", server.id, server.state)
    nic = find_nic(tx, server.id, port_id)
    _let_go(tx, server.id, [nic])
    _changed(tx, context, server, "detach_interface", "compute_detach_interface")


def find_nic(tx: Tx, server_id: ServerId, port_id: str) -> Nic:
    """A server's NIC by its port. Raises `NicNotFound`."""
    nic = nics.of_port(tx, port_id)
    if nic is None or nic.server_id != server_id:
        raise NicNotFound(port_id=port_id[:255])
    return nic


def find_nic_by_address(tx: Tx, server: Server, address: str) -> Nic:
    """A server's NIC by one of its addresses, in any notation. Raises `AddressNotFound`."""
    wanted = ipam.number_of(address)
    for nic in nics.of_server(tx, server.id):
        if any(ipam.number_of(ip) == wanted for _, ip in nic.fixed_ips):
            return nic
    raise AddressNotFound(address=address[:50], server_id=server.id)


def detach_all(tx: Tx, server_id: ServerId) -> None:
    """Let go of everything, for a server that goes itself."""
    _let_go(tx, server_id, nics.of_server(tx, server_id))


def _let_go(tx: Tx, server_id: ServerId, found: Sequence[Nic]) -> None:
    nics.remove_nics(tx, server_id, [nic.port_id for nic in found])
    ports.delete_ports(tx, [nic.port_id for nic in found if nic.made_here])
    ports.unbind_ports(tx, [nic.port_id for nic in found if not nic.made_here])


def _changed(tx: Tx, context: Context, server: Server, action: str, event: str) -> None:
    history.record_action(tx, context, [server.id], action, event=event, host=server.host)
    servers.write_server(tx, server.id, {"plan_revision": tx.revision()})
    tx.wake(server.host)
