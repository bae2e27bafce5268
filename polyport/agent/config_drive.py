"""What a guest reads from its config drive. Pure: a plan in, files out; `drive_image` makes them a disk.

The trees are OpenStack's metadata tree, one folder for each of its versions that guests still ask for, and
the EC2 tree. Names, keys and metadata are users' own text: they reach the drive as JSON and nothing else.

The drive names exactly the NICs on the guest's command line, in slot order: cloud-init waits minutes for a
NIC that is named and absent, and then configures none. Only one NIC gets the default route, and only the
first NIC of a subnet that subnet's other routes: routes of equal weight on several NICs make the way out a
matter of luck at each boot. The metadata service is on every NIC's link, also where there is no gateway: its
route goes to the first NIC that has an IPv4 address.
"""

import base64
import binascii
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from polyport.agent.vendor_data import vendor_data
from polyport.agent.vifs import default_route, is_default, network_of, subnets_of
from polyport.dataplane import METADATA_ADDRESS
from polyport.errors import HostError
from polyport.ids import NetworkId, SubnetId
from polyport.names import tap_of
from polyport.plan import NetworkPlan, NicPlan, ServerPlan, SubnetPlan

VERSIONS = (
    "2012-08-10",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "latest",
)
"""In order of time, so that a name compares as later or earlier; "latest" comes after every digit."""

HAS_VENDOR_DATA = "2013-10-17"
HAS_NETWORK_DATA = "2015-10-15"
HAS_DEVICES = "2016-06-30"
HAS_VENDOR_DATA_2 = "2016-10-06"

Json: TypeAlias = dict[str, Any]
Networks: TypeAlias = Mapping[NetworkId, NetworkPlan]
NicAddress: TypeAlias = Callable[[int], str | None]
"""The PCI address of a slot's NIC, where the hypervisor knows it beforehand."""


class UserDataNotBase64(HostError):
    """The server's user data is not base64."""


def drive_files(
    server: ServerPlan,
    networks: Networks,
    *,
    nic_address: NicAddress,
    random_seed: bytes = b"",
    policy_routing: bool = True,
) -> dict[str, bytes]:
    """The files of a config drive: path -> content.

    `policy_routing`: whether the guest is told to route each NIC's traffic by itself. Raises `UserDataNotBase64`.
    """
    meta = meta_data(server, nic_address, random_seed)
    user_data = _user_data(server)
    vendor = _json(vendor_data(server, networks, policy_routing=policy_routing))
    network = _json(network_data(server.nics, networks))
    files: dict[str, bytes] = {}
    for version in VERSIONS:
        tree = f"openstack/{version}"
        files[f"{tree}/meta_data.json"] = _json(_meta_data_of(version, meta))
        if user_data is not None:
            files[f"{tree}/user_data"] = user_data
        if version >= HAS_VENDOR_DATA:
            files[f"{tree}/vendor_data.json"] = vendor
        if version >= HAS_NETWORK_DATA:
            files[f"{tree}/network_data.json"] = network
        if version >= HAS_VENDOR_DATA_2:
            files[f"{tree}/vendor_data2.json"] = _json({})
    for index, (_, content) in enumerate(server.files):
        files[f"openstack/{_content_name(index)}"] = base64.b64decode(content)
    files["ec2/latest/meta-data.json"] = _json(ec2_meta_data(server))
    if user_data is not None:
        files["ec2/latest/user-data"] = user_data
    return files


def meta_data(server: ServerPlan, nic_address: NicAddress, random_seed: bytes) -> Json:
    """`meta_data.json` in its latest version (Compute API guide, "Metadata": the OpenStack metadata API)."""
    data: Json = {
        "uuid": server.id,
        "name": server.name,
        "hostname": server.hostname,
        "availability_zone": server.availability_zone,
        "launch_index": server.launch_index,
        "project_id": server.project_id,
        "devices": [_device(nic, nic_address(nic.slot)) for nic in server.nics],
        "dedicated_cpus": [],
    }
    if server.public_keys:
        data["public_keys"] = dict(server.public_keys)
        data["keys"] = [{"name": name, "type": "ssh", "data": key} for name, key in server.public_keys]
    if server.metadata:
        data["meta"] = dict(server.metadata)
    if server.files:
        data["files"] = [
            {"content_path": f"/{_content_name(index)}", "path": path} for index, (path, _) in enumerate(server.files)
        ]
    if server.admin_password is not None:
        data["admin_pass"] = server.admin_password
    if random_seed:
        data["random_seed"] = base64.b64encode(random_seed).decode()
    return data


def _content_name(index: int) -> str:
    return f"content/{index:04}"


def _meta_data_of(version: str, meta: Json) -> Json:
    later = {"project_id": HAS_NETWORK_DATA, "devices": HAS_DEVICES, "dedicated_cpus": "2020-10-14"}
    return {key: value for key, value in meta.items() if version >= later.get(key, "")}


def _device(nic: NicPlan, address: str | None) -> Json:
    """A NIC among `devices`: all of them are there, tagged or not, so that a guest can tell which is
    which."""
    device: Json = {"type": "nic", "bus": "pci"}
    if address is not None:
        device["address"] = address
    return {
        **device,
        "mac": nic.mac_address,
        "tags": [nic.tag] if nic.tag is not None else [],
        "slot": nic.slot,
    }


def network_data(nics: tuple[NicPlan, ...], networks: Networks) -> Json:
    """`network_data.json`: a link for each NIC in slot order, and a network for each address of each NIC.

    The addresses are static: a guest that reads them needs to wait for no server. (The format:
    "network_data.json schema" of the Compute documentation.)
    """
    defaults = {default_route(nics, networks, version) for version in (4, 6)}
    served: set[SubnetId] = set()
    metadata = False
    entries: list[Json] = []
    for nic in nics:
        for address, subnet in subnets_of(nic, network_of(nic, networks)):
            routes = [_default_route(subnet)] if (nic.port_id, subnet.id) in defaults else []
            if subnet.id not in served:
                routes += _routes(subnet)
            if subnet.ip_version == 4 and not metadata:
                routes.append(_METADATA_ROUTE)
                metadata = True
            entries.append({"id": f"network{len(entries)}", **_network(nic, address, subnet, routes)})
            served.add(subnet.id)
    servers = {service["address"]: service for entry in entries for service in entry["services"]}
    return {
        "links": [_link(nic, network_of(nic, networks)) for nic in nics],
        "networks": entries,
        "services": list(servers.values()),
    }


def _link(nic: NicPlan, network: NetworkPlan) -> Json:
    return {
        "id": tap_of(nic.port_id),
        "vif_id": nic.port_id,
        "type": "tap",
        "mtu": network.mtu,
        "ethernet_mac_address": nic.mac_address,
    }


def _network(nic: NicPlan, address: str, subnet: SubnetPlan, routes: list[Json]) -> Json:
    mode = subnet.ipv6_address_mode
    return {
        "type": f"ipv{subnet.ip_version}" + (f"_{mode}" if mode is not None else ""),
        "link": tap_of(nic.port_id),
        "ip_address": address,
        "netmask": str(ipaddress.ip_network(subnet.cidr, strict=False).netmask),
        "routes": routes,
        "network_id": nic.network_id,
        "services": [{"type": "dns", "address": server} for server in subnet.dns_nameservers],
    }


def _default_route(subnet: SubnetPlan) -> Json:
    anywhere = "0.0.0.0" if subnet.ip_version == 4 else "::"  # noqa: S104 - a route, nothing is bound
    return {"network": anywhere, "netmask": anywhere, "gateway": subnet.gateway_ip}


def _routes(subnet: SubnetPlan) -> Iterable[Json]:
    for destination, next_hop in subnet.host_routes:
        if not is_default(destination):
            network = ipaddress.ip_network(destination, strict=False)
            yield {"network": str(network.network_address), "netmask": str(network.netmask), "gateway": next_hop}


_METADATA_ROUTE: Json = {"network": METADATA_ADDRESS, "netmask": "255.255.255.255", "gateway": "0.0.0.0"}  # noqa: S104
"""A gateway of zeros: there is none, the address is on the link, as in DHCP's option for routes (RFC 3442). A route
without any is one the format does not have."""


def ec2_meta_data(server: ServerPlan) -> Json:
    """The EC2 tree's values, for guests that know no other."""
    addresses = [fixed.ip_address for nic in server.nics for fixed in nic.fixed_ips if "." in fixed.ip_address]
    return {
        "ami-launch-index": server.launch_index,
        "hostname": server.hostname,
        "instance-action": "none",
        "instance-id": server.id,
        "local-hostname": server.hostname,
        "local-ipv4": addresses[0] if addresses else "",
        "placement": {"availability-zone": server.availability_zone},
        "public-hostname": server.hostname,
        "public-ipv4": "",
        "public-keys": {
            str(index): {"openssh-key": key, "_name": f"{index}={name}"}
            for index, (name, key) in enumerate(server.public_keys)
        },
        "reservation-id": server.reservation_id,
    }


def _user_data(server: ServerPlan) -> bytes | None:
    if server.user_data is None:
        return None
    try:
        return base64.b64decode("".join(server.user_data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserDataNotBase64 from error


def _json(value: Json) -> bytes:
    return msgspec.json.encode(value)
