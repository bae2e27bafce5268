"""Ports to be: what is asked for, checked against what there is before anything is made."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.network import ports, security_groups
from polyport.errors import Conflict
from polyport.ids import NetworkId, PortId, ProjectId, SecurityGroupId
from polyport.network import InvalidInput
from polyport.network.ipam import WantedIp
from polyport.network.port_rows import Port
from polyport.network.port_rules import (
    VNIC_TYPES,
    WantedOption,
    WantedPair,
    checked_mac,
    checked_options,
    checked_pairs,
    random_macs,
)
from polyport.network.security_groups import SecurityGroupNotFound, default_group
from polyport.plan import FixedIp, StormPlan
from polyport.policy import PolicyNotAuthorized


class MacAddressInUse(Conflict):
    """Unable to complete operation for network {network_id}. The mac address {mac_address} is in use."""


class PortSecurityAndIPRequiredForSecurityGroups(InvalidInput):
    """Port security must be enabled in order to use security groups on a port."""


class AddressPairAndPortSecurityRequired(Conflict):
    """Port Security must be enabled in order to have allowed address pairs on a port."""


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
    storm: StormPlan | None = None
    default_route: bool = False
    tags: tuple[str, ...] = ()


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


def check_guest(entry: NewPort, index: int) -> None:
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


def named_macs(tx: Tx, wanted: Sequence[NewPort]) -> list[str | None]:
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


def drawn_macs(tx: Tx, wanted: Sequence[NewPort], named: Sequence[str | None], automatic: bool) -> list[str]:
    """A MAC for each entry, none twice: `named` where it names one. That a drawn one is free on the network is certain
    only where addresses follow from MACs (`automatic`); elsewhere the table finds out, at no cost."""
    used = {mac for mac in named if mac is not None}
    nets = list({entry.network_id for entry in wanted})
    while True:
        drawn = random_macs(named.count(None))
        free = used.isdisjoint(drawn)
        if free and automatic and drawn:
            free = not tx.all(_MACS, {"networks": nets, "macs": drawn})
        if free:
            left = iter(drawn)
            return [mac or next(left) for mac in named]


def is_secured(entry: NewPort, net: Any) -> bool:
    return bool(net.port_security_enabled if entry.port_security_enabled is None else entry.port_security_enabled)


def groups_of(
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
        if not is_secured(entry, nets[index]) or entry.device_owner.startswith("network:"):
            result.append(())
            continue
        project_id = projects[index]
        if project_id not in defaults:
            defaults[project_id] = default_group(tx, project_id)
        result.append((defaults[project_id],))
    return result


def made_port(
    port_id: PortId,
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
        id=port_id,
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
        storm=entry.storm,
        quarantined=False,
        default_route=entry.default_route,
        tags=entry.tags,
        revision_number=1,
        created_at=time,
        updated_at=time,
        fixed_ips=fixed_ips,
    )


_ids: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_MACS = sa.select(ports.c.network_id, ports.c.mac_address).where(
    ports.c.network_id.in_(sa.bindparam("networks", expanding=True)),
    ports.c.mac_address.in_(sa.bindparam("macs", expanding=True)),
)
_GROUPS = sa.select(security_groups.c.id, security_groups.c.project_id).where(security_groups.c.id.in_(_ids))
