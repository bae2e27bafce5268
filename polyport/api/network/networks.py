"""`/v2.0/networks`. Source: Neutron's API reference, "Networks"."""

from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType, field

from polyport.api.network.fields import (
    Project,
    Text,
    check_match,
    one_of,
    one_or_many,
    project_of,
    time_view,
    wrapped,
)
from polyport.api.network.lists import Noun, View, chosen, constant, listed
from polyport.api.network.storm_guard import StormGuardBody, check_allowed, storm_of, storm_view
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.network import InvalidInput, networks
from polyport.network.networks import Network, NetworkChange, NetworkNotFound, NewNetwork
from polyport.policy import PolicyNotAuthorized
from polyport.web.calls import Call, Reply

NETWORK_TYPE = "local"
"""What a network is to the provider: one host carries it, nothing encapsulates it."""


class CreateNetwork(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Text | None = ""
    description: Text | None = ""
    admin_state_up: bool = True
    shared: bool = False
    is_default: bool = False
    mtu: int | None = 0
    port_security_enabled: bool = True
    project_id: Project | None = None
    tenant_id: Project | None = None
    external: bool = field(default=False, name="router:external")
    storm: StormGuardBody | UnsetType | None = field(default=UNSET, name="polyport:storm_guard")
    sibling_addresses: bool = field(default=True, name="polyport:sibling_addresses")
    network_type: str | UnsetType | None = field(default=UNSET, name="provider:network_type")
    physical_network: str | UnsetType | None = field(default=UNSET, name="provider:physical_network")
    segmentation_id: int | UnsetType | None = field(default=UNSET, name="provider:segmentation_id")


class UpdateNetwork(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Text | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    is_default: bool | UnsetType = UNSET
    mtu: int | UnsetType = UNSET
    port_security_enabled: bool | UnsetType = UNSET
    external: bool | UnsetType = field(default=UNSET, name="router:external")
    storm: StormGuardBody | UnsetType | None = field(default=UNSET, name="polyport:storm_guard")
    sibling_addresses: bool | UnsetType = field(default=UNSET, name="polyport:sibling_addresses")


def index(call: Call, tx: Tx) -> Reply:
    return listed(call, tx, NETWORKS)


def show(call: Call, tx: Tx) -> Reply:
    network = networks.get_network(tx, call.context, call.params["id"])
    return Reply(body={"network": chosen(call, network_view(call.context, network))})


def create(call: Call, tx: Tx) -> Reply:
    bodies, many = one_or_many(call, "network", "networks", CreateNetwork)
    made = networks.create_networks(tx, call.context, [_wanted(call.context, body) for body in bodies])
    views = [network_view(call.context, network) for network in made]
    return Reply(status=201, body=wrapped(views, "network", "networks", many))


def update(call: Call, tx: Tx) -> Reply:
    body = one_of(call, "network", UpdateNetwork)
    network = networks.get_network(tx, call.context, call.params["id"])
    check_match(call, network.revision_number)
    _refuse_external(body.external)
    check_allowed(call.context, "update_network", body.storm)
    change = NetworkChange(
        name=body.name,
        description=body.description,
        admin_state_up=body.admin_state_up,
        shared=body.shared,
        is_default=body.is_default,
        mtu=body.mtu,
        port_security_enabled=body.port_security_enabled,
        storm=UNSET if body.storm is UNSET else storm_of(body.storm),
        sibling_addresses=body.sibling_addresses,
    )
    changed = networks.update_network(tx, call.context, network.id, change)
    return Reply(body={"network": network_view(call.context, changed)})


def delete(call: Call, tx: Tx) -> Reply:
    network = networks.get_network(tx, call.context, call.params["id"])
    check_match(call, network.revision_number)
    networks.delete_network(tx, call.context, network.id)
    return Reply(status=204)


def network_view(context: Context, network: Network) -> View:
    view: dict[str, Any] = {
        "id": network.id,
        "name": network.name,
        "description": network.description,
        "project_id": network.project_id,
        "tenant_id": network.project_id,
        "admin_state_up": network.admin_state_up,
        "status": "ACTIVE",
        "shared": network.shared,
        "is_default": network.is_default,
        "mtu": network.mtu,
        "port_security_enabled": network.port_security_enabled,
        "router:external": False,
        "polyport:storm_guard": storm_view(network.storm),
        "polyport:sibling_addresses": network.sibling_addresses,
        "subnets": network.subnets,
        "tags": network.tags,
        "revision_number": network.revision_number,
        "created_at": time_view(network.created_at),
        "updated_at": time_view(network.updated_at),
    }
    if context.is_admin:
        view["provider:network_type"] = NETWORK_TYPE
        view["provider:physical_network"] = None
        view["provider:segmentation_id"] = None
    return view


def _wanted(context: Context, body: CreateNetwork) -> NewNetwork:
    _refuse_external(body.external)
    check_allowed(context, "create_network", body.storm)
    provider = {
        "provider:network_type": body.network_type,
        "provider:physical_network": body.physical_network,
        "provider:segmentation_id": body.segmentation_id,
    }
    for name, value in provider.items():
        if value is UNSET:
            continue
        if not context.is_admin:
            raise PolicyNotAuthorized(action=f"create_network:{name}")
        if value is not None and (name, value) != ("provider:network_type", NETWORK_TYPE):
            raise InvalidInput(reason=f"{name} '{str(value)[:50]}' is not supported: networks are '{NETWORK_TYPE}'")
    return NewNetwork(
        project_id=project_of(body.project_id, body.tenant_id),
        name=body.name or "",
        description=body.description or "",
        admin_state_up=body.admin_state_up,
        shared=body.shared,
        is_default=body.is_default,
        # 0 is Neutron's way to say "as large as the network carries".
        mtu=body.mtu or 1500,
        port_security_enabled=body.port_security_enabled,
        storm=None if body.storm is UNSET else storm_of(body.storm),
        sibling_addresses=body.sibling_addresses,
    )


def _refuse_external(external: bool | UnsetType) -> None:
    """A network that says it leads outside, and does not, would be worse than none."""
    if external is True:
        raise InvalidInput(reason="router:external: external networks are not supported")


def _views(call: Call, tx: Tx, statement: sa.Select[Any]) -> list[View]:
    return [network_view(call.context, network) for network in networks.read_networks(tx, statement)]


def _not_found(network_id: str) -> NetworkNotFound:
    return NetworkNotFound(network_id=network_id)


NETWORKS = Noun(
    plural="networks",
    columns=networks.COLUMNS,
    select=networks.select_networks,
    views=_views,
    not_found=_not_found,
    tags=networks.TAGS,
    conditions={
        "status": constant("status", "ACTIVE"),
        "router:external": constant("router:external", False),
        "provider:network_type": constant("provider:network_type", NETWORK_TYPE),
    },
)
