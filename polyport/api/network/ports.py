"""`/v2.0/ports`. Source: Neutron's API reference, "Ports".

Ports of a device are listed in the order of its NICs unless another order is asked for.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from msgspec import UNSET, Meta, Struct, UnsetType, field

from polyport.api.network.counters import NAME as COUNTERS
from polyport.api.network.counters import Counters, counters_view
from polyport.api.network.fields import (
    Address,
    Project,
    Text,
    Uuid,
    check_match,
    one_of,
    one_or_many,
    project_of,
    time_view,
    wrapped,
)
from polyport.api.network.lists import FilterValueInvalid, Noun, View, chosen, listed
from polyport.api.network.storm_guard import StormGuardBody, check_allowed, storm_of, storm_view
from polyport.context import Context
from polyport.db.engine import Database, Tx
from polyport.ids import NetworkId, SecurityGroupId, SubnetId
from polyport.network import InvalidInput, port_changes, port_rows, ports
from polyport.network.ipam import WantedIp
from polyport.network.port_changes import PortChange
from polyport.network.port_rules import WantedOption, WantedPair
from polyport.network.ports import NewPort, Port, PortGone, PortNotFound
from polyport.network.tags import checked_tags
from polyport.policy import PolicyNotAuthorized
from polyport.web.calls import Call, Query, Reply
from polyport.web.routes import Own, Write

Tag = Annotated[str, Meta(max_length=255)]


class FixedIpBody(Struct, forbid_unknown_fields=True):
    subnet_id: Uuid | None = None
    ip_address: Address | None = None


class PairBody(Struct, forbid_unknown_fields=True):
    ip_address: Address | None = None
    mac_address: Address | None = None


class OptionBody(Struct, forbid_unknown_fields=True):
    opt_name: Text
    opt_value: Text | None = None
    ip_version: int | str = 4


class CreatePort(Struct, forbid_unknown_fields=True, kw_only=True):
    network_id: Uuid
    name: Text | None = ""
    description: Text | None = ""
    project_id: Project | None = None
    tenant_id: Project | None = None
    admin_state_up: bool = True
    mac_address: Address | None = None
    fixed_ips: list[FixedIpBody] | UnsetType | None = UNSET
    device_id: Text | None = ""
    device_owner: Text | None = ""
    port_security_enabled: bool | None = None
    allowed_address_pairs: list[PairBody] | None = None
    extra_dhcp_opts: list[OptionBody] | None = None
    security_groups: list[Uuid] | UnsetType | None = UNSET
    tags: list[Tag] | None = None
    vnic_type: Text = field(default="normal", name="binding:vnic_type")
    host: Text | UnsetType | None = field(default=UNSET, name="binding:host_id")
    profile: dict[str, Any] | UnsetType | None = field(default=UNSET, name="binding:profile")
    storm: StormGuardBody | UnsetType | None = field(default=UNSET, name="polyport:storm_guard")
    default_route: bool = field(default=False, name="polyport:default_route")


class UpdatePort(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Text | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    mac_address: Address | UnsetType = UNSET
    fixed_ips: list[FixedIpBody] | UnsetType | None = UNSET
    device_id: Text | UnsetType | None = UNSET
    device_owner: Text | UnsetType | None = UNSET
    port_security_enabled: bool | UnsetType = UNSET
    allowed_address_pairs: list[PairBody] | UnsetType | None = UNSET
    extra_dhcp_opts: list[OptionBody] | UnsetType | None = UNSET
    security_groups: list[Uuid] | UnsetType | None = UNSET
    vnic_type: Text | UnsetType = field(default=UNSET, name="binding:vnic_type")
    host: Text | UnsetType | None = field(default=UNSET, name="binding:host_id")
    profile: dict[str, Any] | UnsetType | None = field(default=UNSET, name="binding:profile")
    storm: StormGuardBody | UnsetType | None = field(default=UNSET, name="polyport:storm_guard")
    default_route: bool | UnsetType = field(default=UNSET, name="polyport:default_route")


def index(call: Call, tx: Tx) -> Reply:
    return listed(call, tx, PORTS)


def showing(counters: Counters) -> Own:
    """The handler of GET of one port, which asks its host for `counters`."""

    async def show(call: Call, database: Database) -> Reply:
        port = await database.read(lambda tx: ports.get_port(tx, call.context, call.params["id"]))
        counted = await counters(port.id) if port.position is not None else None
        view = port_view(call.context, port)
        if counted is not None:
            view[COUNTERS] = counters_view(counted)
        return Reply(body={"port": chosen(call, view)})

    return show


def create(call: Call, tx: Tx) -> Reply:
    bodies, many = one_or_many(call, "port", "ports", CreatePort)
    made = ports.create_ports(tx, call.context, [_wanted(call.context, body) for body in bodies])
    views = [port_view(call.context, port) for port in made]
    return Reply(status=201, body=wrapped(views, "port", "ports", many))


def update(call: Call, tx: Tx) -> Reply:
    body = one_of(call, "port", UpdatePort)
    check_allowed(call.context, "update_port", body.storm)
    if "if-match" in call.headers:
        check_match(call, ports.get_port(tx, call.context, call.params["id"]).revision_number)
    port = port_changes.update_port(tx, call.context, call.params["id"], _change(body))
    return Reply(body={"port": port_view(call.context, port)})


def deleting(port_gone: PortGone) -> Write:
    """The handler of DELETE, which tells `port_gone` of a port that a server uses."""

    def delete(call: Call, tx: Tx) -> Reply:
        if "if-match" in call.headers:
            check_match(call, ports.get_port(tx, call.context, call.params["id"]).revision_number)
        ports.delete_port(tx, call.context, call.params["id"], port_gone)
        return Reply(status=204)

    return delete


def port_view(context: Context, port: Port) -> View:
    view: dict[str, Any] = {
        "id": port.id,
        "name": port.name,
        "description": port.description,
        "project_id": port.project_id,
        "tenant_id": port.project_id,
        "network_id": port.network_id,
        "admin_state_up": port.admin_state_up,
        "status": port.status,
        "mac_address": port.mac_address,
        "fixed_ips": port.fixed_ips,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "port_security_enabled": port.port_security_enabled,
        "allowed_address_pairs": port.allowed_address_pairs,
        "extra_dhcp_opts": [
            {"opt_name": name, "opt_value": value, "ip_version": version}
            for name, value, version in port.extra_dhcp_opts
        ],
        "security_groups": port.security_groups,
        "binding:vnic_type": port.vnic_type,
        "polyport:default_route": port.default_route,
        "polyport:quarantined": port.quarantined,
        "polyport:storm_guard": storm_view(port.storm),
        "tags": port.tags,
        "revision_number": port.revision_number,
        "created_at": time_view(port.created_at),
        "updated_at": time_view(port.updated_at),
    }
    if context.is_admin:
        view["binding:host_id"] = port.host
        view["binding:profile"] = port.profile
        view["binding:vif_type"] = "bridge" if port.position is not None else "unbound"
        view["binding:vif_details"] = {"port_filter": True} if port.position is not None else {}
    return view


def _wanted(context: Context, body: CreatePort) -> NewPort:
    for name, value in (("binding:host_id", body.host), ("binding:profile", body.profile)):
        if value is not UNSET and not context.is_admin:
            raise PolicyNotAuthorized(action=f"create_port:{name}")
    check_allowed(context, "create_port", body.storm)
    return NewPort(
        network_id=NetworkId(body.network_id.lower()),
        project_id=project_of(body.project_id, body.tenant_id),
        name=body.name or "",
        description=body.description or "",
        admin_state_up=body.admin_state_up,
        mac_address=body.mac_address,
        fixed_ips=None if body.fixed_ips is UNSET else _fixed_ips(body.fixed_ips),
        device_id=body.device_id or "",
        device_owner=body.device_owner or "",
        host="" if body.host is UNSET else body.host or "",
        vnic_type=body.vnic_type,
        profile={} if body.profile is UNSET else body.profile or {},
        port_security_enabled=body.port_security_enabled,
        allowed_address_pairs=_pairs(body.allowed_address_pairs),
        extra_dhcp_opts=_options(body.extra_dhcp_opts),
        security_groups=None if body.security_groups is UNSET else _groups(body.security_groups),
        storm=None if body.storm is UNSET else storm_of(body.storm),
        default_route=body.default_route,
        tags=checked_tags(body.tags or ()),
    )


def _change(body: UpdatePort) -> PortChange:
    return PortChange(
        storm=UNSET if body.storm is UNSET else storm_of(body.storm),
        default_route=body.default_route,
        name=body.name,
        description=body.description,
        admin_state_up=body.admin_state_up,
        mac_address=body.mac_address,
        fixed_ips=UNSET if body.fixed_ips is UNSET else _fixed_ips(body.fixed_ips),
        device_id=UNSET if body.device_id is UNSET else body.device_id or "",
        device_owner=UNSET if body.device_owner is UNSET else body.device_owner or "",
        host=UNSET if body.host is UNSET else body.host or "",
        vnic_type=body.vnic_type,
        profile=UNSET if body.profile is UNSET else body.profile or {},
        port_security_enabled=body.port_security_enabled,
        allowed_address_pairs=UNSET if body.allowed_address_pairs is UNSET else _pairs(body.allowed_address_pairs),
        extra_dhcp_opts=UNSET if body.extra_dhcp_opts is UNSET else _options(body.extra_dhcp_opts),
        security_groups=UNSET if body.security_groups is UNSET else _groups(body.security_groups),
    )


def _fixed_ips(entries: list[FixedIpBody] | None) -> tuple[WantedIp, ...]:
    return tuple(
        WantedIp(
            subnet_id=None if entry.subnet_id is None else SubnetId(entry.subnet_id.lower()),
            ip_address=entry.ip_address,
        )
        for entry in entries or ()
    )


def _pairs(entries: list[PairBody] | None) -> tuple[WantedPair, ...]:
    return tuple(WantedPair(ip_address=entry.ip_address, mac_address=entry.mac_address) for entry in entries or ())


def _options(entries: list[OptionBody] | None) -> tuple[WantedOption, ...]:
    return tuple(
        WantedOption(
            opt_name=entry.opt_name,
            opt_value=entry.opt_value,
            ip_version={"4": 4, "6": 6}.get(str(entry.ip_version), 0),
        )
        for entry in entries or ()
    )


def _groups(entries: list[str] | None) -> tuple[SecurityGroupId, ...]:
    groups = tuple(SecurityGroupId(entry.lower()) for entry in entries or ())
    if len(set(groups)) < len(groups):
        raise InvalidInput(reason="security_groups names a group twice")
    return groups


def _fixed_ips_condition(tx: Tx, context: Context, values: Sequence[str]) -> sa.ColumnElement[bool]:
    """`fixed_ips=ip_address=A`, `=subnet_id=S`, `=ip_address_substr=T`: an address that is all that is asked for."""
    wanted: dict[str, list[str]] = {}
    for value in values:
        name, _, text = value.partition("=")
        if name not in ("ip_address", "subnet_id", "ip_address_substr") or not text:
            kind = "ip_address=, subnet_id= or ip_address_substr="
            raise FilterValueInvalid(name="fixed_ips", value=value[:100], kind=kind)
        wanted.setdefault(name, []).append(text)
    names = ("ip_address", "subnet_id", "ip_address_substr")
    return port_rows.has_address(tx, context, *(wanted.get(name, ()) for name in names))


def _mac_condition(tx: Tx, context: Context, values: Sequence[str]) -> sa.ColumnElement[bool]:
    return ports.COLUMNS["mac_address"].in_([value.lower() for value in values])


def _order(query: Query) -> tuple[tuple[str, bool], ...]:
    if "device_id" in query:
        return (("device_id", False), ("position", False), ("created_at", False))
    return (("created_at", False),)


def _views(call: Call, tx: Tx, statement: sa.Select[Any]) -> list[View]:
    return [port_view(call.context, port) for port in ports.list_ports(tx, statement)]


def _not_found(port_id: str) -> PortNotFound:
    return PortNotFound(port_id=port_id)


PORTS = Noun(
    plural="ports",
    columns=ports.COLUMNS,
    select=ports.select_ports,
    views=_views,
    not_found=_not_found,
    tags=port_rows.TAGS,
    conditions={
        "fixed_ips": _fixed_ips_condition,
        "mac_address": _mac_condition,
        "security_groups": port_rows.has_group,
    },
    admin_columns={"binding:host_id": port_rows.HOST},
    order=_order,
    order_columns={"position": port_rows.NIC_ORDER},
)
