"""A server's plan as host sides of NICs. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping

from polyport.dataplane import VifPlan
from polyport.errors import HostError
from polyport.ids import NetworkId, PortId, SubnetId
from polyport.plan import NetworkPlan, NicPlan, ServerPlan, SubnetPlan


class UnknownNetwork(HostError):
    """The plan names network {network_id} for a NIC and does not describe it."""


def vif_plans(server: ServerPlan, networks: Mapping[NetworkId, NetworkPlan]) -> tuple[VifPlan, ...]:
    """The host sides of a server's NICs, in slot order. Raises `UnknownNetwork`."""
    default = default_route(server.nics, networks, 4)
    return tuple(
        VifPlan(
            server_id=server.id,
            hostname=server.hostname,
            nic=nic,
            network=network_of(nic, networks),
            default_route=default is not None and default[0] == nic.port_id,
        )
        for nic in server.nics
    )


def network_of(nic: NicPlan, networks: Mapping[NetworkId, NetworkPlan]) -> NetworkPlan:
    """The network a NIC is on. Raises `UnknownNetwork`."""
    network = networks.get(nic.network_id)
    if network is None:
        raise UnknownNetwork(network_id=nic.network_id)
    return network


def subnets_of(nic: NicPlan, network: NetworkPlan) -> Iterable[tuple[str, SubnetPlan]]:
    """(address, subnet) of each fixed address of a NIC, in the order the port has them."""
    subnets = {subnet.id: subnet for subnet in network.subnets}
    for fixed in nic.fixed_ips:
        subnet = subnets.get(fixed.subnet_id)
        if subnet is not None:
            yield fixed.ip_address, subnet


def default_route(
    nics: Iterable[NicPlan], networks: Mapping[NetworkId, NetworkPlan], ip_version: int
) -> tuple[PortId, SubnetId] | None:
    """The NIC of a server that gets the default route, and the subnet it goes through: of the NICs with an address in a
    subnet that has a gateway the first by slot that is marked, and where none is, the first by slot. Several default
    routes of equal weight would make the way out a matter of luck at each boot."""
    for nic in sorted(nics, key=lambda nic: (not nic.default_route, nic.slot)):
        for _, subnet in subnets_of(nic, network_of(nic, networks)):
            if subnet.ip_version == ip_version and subnet.gateway_ip is not None:
                return nic.port_id, subnet.id
    return None


def is_default(destination: str) -> bool:
    """Whether a route's destination CIDR is the default route."""
    return ipaddress.ip_network(destination, strict=False).prefixlen == 0
