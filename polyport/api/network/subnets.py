"""`/v2.0/subnets`. Source: Neutron's API reference, "Subnets"."""

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType

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
from polyport.api.network.lists import Noun, View, boolean, chosen, constant, listed
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.ids import NetworkId
from polyport.network import InvalidInput, subnets
from polyport.network.subnets import NewSubnet, Subnet, SubnetChange, SubnetNotFound
from polyport.web.calls import Call, Reply


class Pool(Struct, forbid_unknown_fields=True):
    start: Address
    end: Address


class HostRoute(Struct, forbid_unknown_fields=True):
    destination: Address
    nexthop: Address


class CreateSubnet(Struct, forbid_unknown_fields=True, kw_only=True):
    network_id: Uuid
    ip_version: Literal[4, 6]
    cidr: Address | None = None
    name: Text | None = ""
    description: Text | None = ""
    project_id: Project | None = None
    tenant_id: Project | None = None
    gateway_ip: Address | UnsetType | None = UNSET
    enable_dhcp: bool = True
    allocation_pools: list[Pool] | None = None
    dns_nameservers: list[Address] | None = None
    host_routes: list[HostRoute] | None = None
    ipv6_address_mode: Text | None = None
    ipv6_ra_mode: Text | None = None
    subnetpool_id: Text | None = None
    use_default_subnetpool: bool = False
    prefixlen: int | None = None


class UpdateSubnet(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Text | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    gateway_ip: Address | UnsetType | None = UNSET
    enable_dhcp: bool | UnsetType = UNSET
    allocation_pools: list[Pool] | UnsetType = UNSET
    dns_nameservers: list[Address] | UnsetType | None = UNSET
    host_routes: list[HostRoute] | UnsetType | None = UNSET


def index(call: Call, tx: Tx) -> Reply:
    return listed(call, tx, SUBNETS)


def show(call: Call, tx: Tx) -> Reply:
    return Reply(body={"subnet": chosen(call, subnet_view(subnets.get_subnet(tx, call.context, call.params["id"])))})


def create(call: Call, tx: Tx) -> Reply:
    bodies, many = one_or_many(call, "subnet", "subnets", CreateSubnet)
    made = subnets.create_subnets(tx, call.context, [_wanted(body) for body in bodies])
    return Reply(status=201, body=wrapped([subnet_view(subnet) for subnet in made], "subnet", "subnets", many))


def update(call: Call, tx: Tx) -> Reply:
    body = one_of(call, "subnet", UpdateSubnet)
    subnet = subnets.get_subnet(tx, call.context, call.params["id"])
    check_match(call, subnet.revision_number)
    change = SubnetChange(
        name=body.name,
        description=body.description,
        gateway_ip=body.gateway_ip,
        enable_dhcp=body.enable_dhcp,
        allocation_pools=UNSET if body.allocation_pools is UNSET else _pools(body.allocation_pools),
        dns_nameservers=UNSET if body.dns_nameservers is UNSET else tuple(body.dns_nameservers or ()),
        host_routes=UNSET if body.host_routes is UNSET else _routes(body.host_routes),
    )
    return Reply(body={"subnet": subnet_view(subnets.update_subnet(tx, call.context, subnet.id, change))})


def delete(call: Call, tx: Tx) -> Reply:
    subnet = subnets.get_subnet(tx, call.context, call.params["id"])
    check_match(call, subnet.revision_number)
    subnets.delete_subnet(tx, call.context, subnet.id)
    return Reply(status=204)


def subnet_view(subnet: Subnet) -> View:
    return {
        "id": subnet.id,
        "name": subnet.name,
        "description": subnet.description,
        "project_id": subnet.project_id,
        "tenant_id": subnet.project_id,
        "network_id": subnet.network_id,
        "ip_version": subnet.ip_version,
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway_ip,
        "enable_dhcp": subnet.enable_dhcp,
        "allocation_pools": [{"start": start, "end": end} for start, end in subnet.allocation_pools],
        "dns_nameservers": subnet.dns_nameservers,
        "host_routes": [{"destination": to, "nexthop": via} for to, via in subnet.host_routes],
        "ipv6_address_mode": subnet.ipv6_address_mode,
        "ipv6_ra_mode": subnet.ipv6_ra_mode,
        "subnetpool_id": None,
        "tags": subnet.tags,
        "revision_number": subnet.revision_number,
        "created_at": time_view(subnet.created_at),
        "updated_at": time_view(subnet.updated_at),
    }


def _wanted(body: CreateSubnet) -> NewSubnet:
    if body.subnetpool_id is not None or body.use_default_subnetpool:
        raise InvalidInput(reason="subnetpool_id: subnet pools are not supported, give a cidr")
    if body.cidr is None or body.prefixlen is not None:
        raise InvalidInput(reason="a subnetpool or a cidr must be specified, and subnet pools are not supported")
    return NewSubnet(
        network_id=NetworkId(body.network_id.lower()),
        cidr=body.cidr,
        ip_version=body.ip_version,
        project_id=project_of(body.project_id, body.tenant_id),
        name=body.name or "",
        description=body.description or "",
        gateway_ip=body.gateway_ip,
        enable_dhcp=body.enable_dhcp,
        allocation_pools=None if body.allocation_pools is None else _pools(body.allocation_pools),
        dns_nameservers=tuple(body.dns_nameservers or ()),
        host_routes=_routes(body.host_routes),
        ipv6_address_mode=body.ipv6_address_mode,
        ipv6_ra_mode=body.ipv6_ra_mode,
    )


def _pools(pools: list[Pool]) -> tuple[tuple[str, str], ...]:
    return tuple((pool.start, pool.end) for pool in pools)


def _routes(routes: list[HostRoute] | None) -> tuple[tuple[str, str], ...]:
    return tuple((route.destination, route.nexthop) for route in routes or ())


def _shared(tx: Tx, context: Context, values: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.or_(*(subnets.on_shared_networks(boolean("shared", value)) for value in values))


def _views(call: Call, tx: Tx, statement: sa.Select[Any]) -> list[View]:
    return [subnet_view(subnet) for subnet in subnets.read_subnets(tx, statement)]


def _not_found(subnet_id: str) -> SubnetNotFound:
    return SubnetNotFound(subnet_id=subnet_id)


SUBNETS = Noun(
    plural="subnets",
    columns=subnets.COLUMNS,
    select=subnets.select_subnets,
    views=_views,
    not_found=_not_found,
    tags=subnets.TAGS,
    conditions={"subnetpool_id": constant("subnetpool_id", ""), "shared": _shared},
)
