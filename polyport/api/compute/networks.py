"""`/os-networks` and `/os-tenant-networks`, as compute had them until 2.35: names and ids of networks."""

from typing import Any

from polyport.api.compute.microversions import PROXIES, during
from polyport.db.engine import Tx
from polyport.network import networks
from polyport.network.networks import COLUMNS, Network
from polyport.policy import reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import get

_NEVER_SET = (
    "bridge bridge_interface broadcast cidr cidr_v6 created_at deleted deleted_at dhcp_server dhcp_start dns1 dns2"
    " enable_dhcp gateway gateway_v6 host injected mtu multi_host netmask netmask_v6 priority project_id rxtx_base"
    " share_address updated_at vlan vpn_private_address vpn_public_address vpn_public_port"
).split()


def list_networks(call: Call, tx: Tx) -> Reply:
    return Reply(body={"networks": [_network_view(network) for network in _visible(call, tx)]})


def show_network(call: Call, tx: Tx) -> Reply:
    network = networks.get_network(tx, call.context, call.params["network_id"])
    return Reply(body={"network": _network_view(network)})


def list_tenant_networks(call: Call, tx: Tx) -> Reply:
    return Reply(body={"networks": [_tenant_network_view(network) for network in _visible(call, tx)]})


def show_tenant_network(call: Call, tx: Tx) -> Reply:
    network = networks.get_network(tx, call.context, call.params["network_id"])
    return Reply(body={"network": _tenant_network_view(network)})


def _visible(call: Call, tx: Tx) -> list[Network]:
    statement = networks.select_networks(call.context)
    return networks.read_networks(tx, statement.order_by(COLUMNS["created_at"], COLUMNS["id"]))


def _network_view(network: Network) -> dict[str, Any]:
    return {**dict.fromkeys(_NEVER_SET), "id": network.id, "label": network.name}


def _tenant_network_view(network: Network) -> dict[str, Any]:
    return {"id": network.id, "label": network.name, "cidr": None}


ROUTES = tuple(
    during(PROXIES, route)
    for route in (
        get("/os-networks", list_networks, reader),
        get("/os-networks/{network_id}", show_network, reader),
        get("/os-tenant-networks", list_tenant_networks, reader),
        get("/os-tenant-networks/{network_id}", show_tenant_network, reader),
    )
)
