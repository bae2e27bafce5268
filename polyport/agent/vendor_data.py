"""What the platform adds to a guest's own configuration. Pure.

Two NICs on one subnet are one too many for a system that chooses the way out by destination alone: all it sends leaves
by one of them. `nic_routes.sh` teaches a guest with cloud-init to choose by source. It is a boothook, run at every
boot whatever lists the user's own cloud-config has; and it goes beside network_data.json, which cannot express rules.
"""

from collections.abc import Mapping
from importlib.resources import files
from ipaddress import ip_address

from polyport.ids import NetworkId
from polyport.plan import NetworkPlan, ServerPlan

_SCRIPT = files(__package__).joinpath("nic_routes.sh").read_text(encoding="ascii")


def vendor_data(
    server: ServerPlan, networks: Mapping[NetworkId, NetworkPlan], *, policy_routing: bool = True
) -> dict[str, str]:
    """`vendor_data.json`: the part cloud-init reads. Raises ValueError where a gateway of the plan is no address."""
    return {"cloud-init": boothook(server, networks)} if policy_routing else {}


def boothook(server: ServerPlan, networks: Mapping[NetworkId, NetworkPlan]) -> str:
    """The script, with the gateways of the subnets the server's networks have."""
    gateways = [
        # Written anew from its value: what goes into a script is an address and nothing else.
        str(ip_address(subnet.gateway_ip))
        for network_id in dict.fromkeys(nic.network_id for nic in server.nics)
        if (network := networks.get(network_id)) is not None
        for subnet in network.subnets
        if subnet.gateway_ip is not None
    ]
    return _SCRIPT.replace("@GATEWAYS@", " ".join(gateways))
