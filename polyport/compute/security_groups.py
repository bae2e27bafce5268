"""Security groups of a server as a whole: they are its ports', and change on each of them."""

from polyport.compute import nics
from polyport.compute.servers import Server
from polyport.compute.wanted_nics import SecurityGroupAmbiguous
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.errors import Invalid, NotFound
from polyport.ids import SecurityGroupId
from polyport.network import ports, security_groups
from polyport.network.port_changes import PortChange, update_port
from polyport.network.ports import Port


class SecurityGroupNotFound(NotFound):
    """Security group {name} not found."""


class NotInGroup(NotFound):
    """Security group {name} not associated with the instance {server_id}"""


class NoPortForGroup(Invalid):
    """Network requires port_security_enabled and subnet associated in order to apply security groups."""


def add_group(tx: Tx, context: Context, server: Server, name: str) -> None:
    """Put every port of a server into a group, named by name or id. Raises `SecurityGroupNotFound`,
    `SecurityGroupAmbiguous` or `NoPortForGroup`."""
    group_id = _group(tx, context, name)
    for port in _ports(tx, context, server):
        if not port.port_security_enabled or not port.fixed_ips:
            raise NoPortForGroup
        if group_id not in port.security_groups:
            update_port(tx, context, port.id, PortChange(security_groups=(*port.security_groups, group_id)))


def remove_group(tx: Tx, context: Context, server: Server, name: str) -> None:
    """Take every port of a server out of a group. Raises `SecurityGroupNotFound`, `SecurityGroupAmbiguous` or
    `NotInGroup`."""
    group_id = _group(tx, context, name)
    members = [port for port in _ports(tx, context, server) if group_id in port.security_groups]
    if not members:
        raise NotInGroup(name=name, server_id=server.id)
    for port in members:
        left = tuple(other for other in port.security_groups if other != group_id)
        update_port(tx, context, port.id, PortChange(security_groups=left))


def _ports(tx: Tx, context: Context, server: Server) -> list[Port]:
    return [ports.get_port(tx, context, nic.port_id) for nic in nics.of_server(tx, server.id)]


def _group(tx: Tx, context: Context, name: str) -> SecurityGroupId:
    found = security_groups.groups_by_name(tx, context, [name])[name]
    if not found:
        raise SecurityGroupNotFound(name=name)
    if len(found) > 1:
        raise SecurityGroupAmbiguous(name=name)
    return found[0]
