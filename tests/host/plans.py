"""Plans as the cloud half would write them, with only what a test cares about spelled out."""

import itertools
from ipaddress import ip_address, ip_network
from typing import Any

from polyport.dataplane import VifPlan
from polyport.ids import NetworkId, PortId, SecurityGroupId, ServerId, SubnetId, new_id
from polyport.plan import AddressPair, FixedIp, NetworkPlan, NicPlan, RulePlan, SecurityGroupPlan, SubnetPlan

_macs = itertools.count(0x10)

OPEN = SecurityGroupPlan(
    id=SecurityGroupId(new_id()),
    rules=tuple(
        RulePlan(id=new_id(), direction=direction, ethertype=ethertype)
        for direction in ("ingress", "egress")
        for ethertype in ("IPv4", "IPv6")
    ),
)
"""A group that lets everything pass, for tests that are about something else. Ports are in it by default."""


def subnet(cidr: str, **facts: Any) -> SubnetPlan:
    network = ip_network(cidr)
    facts.setdefault("gateway_ip", str(network.network_address + 1))
    return SubnetPlan(id=SubnetId(new_id()), cidr=cidr, ip_version=network.version, **facts)


def network(*subnets: SubnetPlan, **facts: Any) -> NetworkPlan:
    return NetworkPlan(id=NetworkId(new_id()), name="net", subnets=subnets or (subnet("10.0.0.0/24"),), **facts)


def server() -> ServerId:
    return ServerId(new_id())


def vif(
    net: NetworkPlan,
    *addresses: str,
    of: ServerId | None = None,
    slot: int = 1,
    default_route: bool = True,
    hostname: str = "vnf",
    mac_address: str | None = None,
    pairs: tuple[tuple[str | None, str], ...] = (),
    **facts: Any,
) -> VifPlan:
    """A NIC with these addresses; of a server of its own where none is named."""
    number = next(_macs)
    mac = mac_address or f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"
    fixed = tuple(FixedIp(subnet_id=_home(net, address), ip_address=address) for address in addresses)
    secured = facts.get("port_security_enabled", True)
    facts.setdefault("security_groups", (OPEN.id,) if secured else ())
    given = tuple(AddressPair(mac_address=other or mac, ip_address=address) for other, address in pairs)
    return VifPlan(
        server_id=of or server(),
        hostname=hostname,
        network=net,
        default_route=default_route,
        nic=NicPlan(
            port_id=PortId(new_id()),
            slot=slot,
            network_id=net.id,
            mac_address=mac,
            fixed_ips=fixed,
            allowed_address_pairs=given,
            **facts,
        ),
    )


def _home(net: NetworkPlan, address: str) -> SubnetId:
    return next(each.id for each in net.subnets if ip_address(address) in ip_network(each.cidr))
