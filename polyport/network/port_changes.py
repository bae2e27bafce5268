"""Changes of a port, also while a server uses it: its host hears of what concerns it."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.metadata import now
from polyport.db.tables.network import addresses, group_bindings, networks, ports
from polyport.errors import Conflict
from polyport.ids import SecurityGroupId
from polyport.network import InvalidInput
from polyport.network.ipam import Want, WantedIp, allocate, number_of
from polyport.network.new_ports import MacAddressInUse, check_groups, check_security
from polyport.network.port_rows import Port, get_port, insert_addresses, insert_bindings
from polyport.network.port_rules import (
    VNIC_TYPES,
    WantedOption,
    WantedPair,
    checked_mac,
    checked_options,
    checked_pairs,
)
from polyport.network.ports import PortInUse
from polyport.network.subnets import spaces_of
from polyport.plan import FixedIp, StormPlan
from polyport.policy import PolicyNotAuthorized


class PortBound(Conflict):
    """Unable to complete operation on port {port_id}, port is already bound: its mac_address cannot change."""


class PortSecurityPortHasSecurityGroup(Conflict):
    """Port has security group associated. Cannot disable port security until security group is removed."""


class PortChange(Struct, frozen=True, kw_only=True):
    """What of a port shall be otherwise; UNSET stays as it is."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    mac_address: str | UnsetType = UNSET
    fixed_ips: tuple[WantedIp, ...] | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    device_owner: str | UnsetType = UNSET
    host: str | UnsetType = UNSET
    vnic_type: str | UnsetType = UNSET
    profile: dict[str, Any] | UnsetType = UNSET
    port_security_enabled: bool | UnsetType = UNSET
    allowed_address_pairs: tuple[WantedPair, ...] | UnsetType = UNSET
    extra_dhcp_opts: tuple[WantedOption, ...] | UnsetType = UNSET
    security_groups: tuple[SecurityGroupId, ...] | UnsetType = UNSET
    storm: StormPlan | UnsetType | None = UNSET
    default_route: bool | UnsetType = UNSET


_OF_NO_HOST = frozenset(("name", "description", "profile", "device_owner"))
"""What hosts need not know."""


def update_port(tx: Tx, context: Context, port_id: str, change: PortChange) -> Port:
    """Raises what `create_ports` raises, and `PortInUse` or `PortBound` for what cannot change under a server."""
    port = get_port(tx, context, port_id)
    _check_allowed(tx, context, port, change)
    values = _plain_values(port, change)
    mac = port.mac_address
    if change.mac_address is not UNSET and checked_mac(change.mac_address) != mac:
        mac = values["mac_address"] = _free_mac(tx, port, checked_mac(change.mac_address))
    secured = values.get("port_security_enabled", port.port_security_enabled)
    pairs = port.allowed_address_pairs
    if change.allowed_address_pairs is not UNSET:
        pairs = values["allowed_address_pairs"] = checked_pairs(change.allowed_address_pairs, mac)
    groups = port.security_groups
    if change.security_groups is not UNSET:
        groups = values["security_groups"] = tuple(dict.fromkeys(change.security_groups))
        check_groups(tx, context, groups)
    elif groups and not secured:
        raise PortSecurityPortHasSecurityGroup
    check_security(port.id, secured, groups, pairs)
    if change.extra_dhcp_opts is not UNSET:
        values["extra_dhcp_opts"] = checked_options(change.extra_dhcp_opts, port.extra_dhcp_opts)
    moved = change.fixed_ips is not UNSET or "mac_address" in values
    if moved:
        _readdress(tx, port, mac, None if change.fixed_ips is UNSET else change.fixed_ips)
    if "security_groups" in values:
        tx.execute(sa.delete(group_bindings).where(group_bindings.c.port_id == port.id))
        insert_bindings(tx, {port.id: groups})
    if port.host and (moved or not values.keys() <= _OF_NO_HOST):
        values["plan_revision"] = tx.revision()
        tx.wake(port.host)
    tx.execute(
        sa.update(ports)
        .where(ports.c.id == port.id)
        .values(**values, revision_number=ports.c.revision_number + 1, updated_at=now())
    )
    return get_port(tx, context, port.id)


def _check_allowed(tx: Tx, context: Context, port: Port, change: PortChange) -> None:
    """What policy reserves: some for administrators, some for the owner of the network, none under a server."""
    if port.position is not None:
        for name in ("device_id", "device_owner", "host", "vnic_type"):
            value = getattr(change, name)
            if value is not UNSET and value != getattr(port, name):
                raise PortInUse(port_id=port.id, device_id=port.device_id)
    if context.is_admin:
        return
    for name, attribute in (("host", "binding:host_id"), ("profile", "binding:profile")):
        if getattr(change, name) is not UNSET:
            raise PolicyNotAuthorized(action=f"update_port:{attribute}")
    fixed_ips = () if change.fixed_ips is UNSET else change.fixed_ips
    reserved = {
        "mac_address": change.mac_address is not UNSET and change.mac_address.lower() != port.mac_address,
        "fixed_ips:ip_address": any(ip.ip_address is not None for ip in fixed_ips),
        "port_security_enabled": change.port_security_enabled is not UNSET,
        "allowed_address_pairs": change.allowed_address_pairs is not UNSET,
        "device_owner": change.device_owner is not UNSET and change.device_owner.startswith("network:"),
    }
    if any(reserved.values()):
        owner = tx.value(sa.select(networks.c.project_id).where(networks.c.id == port.network_id))
        for name, used in reserved.items():
            if used and owner != context.project_id:
                raise PolicyNotAuthorized(action=f"update_port:{name}")


def _plain_values(port: Port, change: PortChange) -> dict[str, Any]:
    """The columns of those attributes that need no more than to be written down."""
    names = (
        "name",
        "description",
        "admin_state_up",
        "device_id",
        "device_owner",
        "host",
        "vnic_type",
        "profile",
        "port_security_enabled",
        "storm",
        "default_route",
    )
    values = {name: value for name in names if (value := getattr(change, name)) is not UNSET}
    if values.get("vnic_type", port.vnic_type) not in VNIC_TYPES:
        raise InvalidInput(reason=f"binding:vnic_type '{values['vnic_type'][:50]}' is not supported")
    return values


def _free_mac(tx: Tx, port: Port, mac: str) -> str:
    if port.position is not None:
        raise PortBound(port_id=port.id)
    same = sa.select(ports.c.id).where(ports.c.network_id == port.network_id, ports.c.mac_address == mac)
    if tx.first(same) is not None:
        raise MacAddressInUse(network_id=port.network_id, mac_address=mac)
    return mac


def _readdress(tx: Tx, port: Port, mac: str, wanted: Sequence[WantedIp] | None) -> None:
    """Give a port its addresses anew. What it has and still wants it keeps; automatic ones follow the MAC."""
    spaces = spaces_of(tx, [port.network_id])
    automatic = {space.subnet_id for space in spaces[port.network_id] if space.automatic}
    tx.execute(sa.delete(addresses).where(addresses.c.port_id == port.id))
    had = [ip for ip in port.fixed_ips if ip.subnet_id not in automatic]
    if wanted is None:
        fixed_ips = [WantedIp(subnet_id=ip.subnet_id, ip_address=ip.ip_address) for ip in had]
    else:
        own = {ip.ip_address for ip in port.fixed_ips if ip.subnet_id in automatic}
        fixed_ips = _kept([ip for ip in wanted if _canonical(ip.ip_address) not in own], had)
    want = Want(network_id=port.network_id, mac_address=mac, fixed_ips=tuple(fixed_ips))
    insert_addresses(tx, {port.id: allocate(tx, spaces, [want])[0]})


def _kept(wanted: Sequence[WantedIp], had: Sequence[FixedIp]) -> list[WantedIp]:
    """Entries that name only a subnet mean an address the port has of it, as long as there is one nobody else named."""
    named = {_canonical(ip.ip_address) for ip in wanted}
    free = [ip for ip in had if ip.ip_address not in named]
    result = []
    for entry in wanted:
        if entry.ip_address is None:
            own = next((ip for ip in free if ip.subnet_id == entry.subnet_id), None)
            if own is not None:
                free.remove(own)
                entry = WantedIp(subnet_id=own.subnet_id, ip_address=own.ip_address)
        result.append(entry)
    return result


def _canonical(text: str | None) -> str | None:
    """An address as it is shown; what is none stays as it is, to be refused later."""
    return text if text is None or number_of(text) is None else str(ip_address(text))
