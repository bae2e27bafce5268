"""Plans of many ports: servers of eight NICs each on one network."""

from polyport.dataplane import VifPlan
from polyport.ids import NetworkId, PortId, SecurityGroupId, ServerId, SubnetId, new_id
from polyport.plan import FixedIp, NetworkPlan, NicPlan, SubnetPlan

NICS = 8
"""Of a server."""


def network() -> NetworkPlan:
    subnet = SubnetPlan(id=SubnetId(new_id()), cidr="10.8.0.0/16", ip_version=4, gateway_ip="10.8.0.1")
    return NetworkPlan(id=NetworkId(new_id()), name="bench", subnets=(subnet,))


def vif(net: NetworkPlan, number: int, *, groups: tuple[SecurityGroupId, ...] = ()) -> VifPlan:
    high, low = divmod(number + 10, 250)
    nic = NicPlan(
        port_id=PortId(new_id()),
        slot=number % NICS + 1,
        network_id=net.id,
        mac_address=f"fa:16:3e:00:{high:02x}:{low:02x}",
        fixed_ips=(FixedIp(net.subnets[0].id, f"10.8.{high}.{low + 2}"),),
        security_groups=groups,
    )
    server = ServerId(f"00000000-0000-4000-8000-{number // NICS:012d}")
    return VifPlan(server_id=server, hostname="bench", nic=nic, network=net, default_route=number % NICS == 0)
