"""What guests are told at http://169.254.169.254/. Pure: a plan and a path in, an answer out.

    /openstack/<version>/{meta_data.json, network_data.json, user_data, vendor_data.json, vendor_data2.json}
    /openstack/content/<number>
    /<EC2 version>/{meta-data/..., user-data}

The same content as on the config drive (`config_drive`), of the plan as it is now: a NIC that came or went, or metadata
that was set, is there at the next request. The one thing it does not tell is the administrator's password, which any
program in a guest could ask for. A path that leads to others lists them, one a line, as both trees' clients expect.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias, Union

from msgspec.structs import replace

from polyport.agent.config_drive import Networks, NicAddress, drive_files, ec2_meta_data
from polyport.agent.vifs import network_of, subnets_of
from polyport.dataplane import Answer
from polyport.plan import NicPlan, ServerPlan

EC2_VERSIONS = (
    *("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15"),
    *("2008-02-01", "2008-09-01", "2009-04-04", "latest"),
)
"""All of the versions the EC2 tree of OpenStack has. Guests find here what the last of them says."""

Tree: TypeAlias = Mapping[str, Union["Tree", bytes]]
"""A folder: name -> folder or content."""


def answer(
    server: ServerPlan,
    networks: Networks,
    path: str,
    *,
    nic_address: NicAddress,
    seed: Callable[[int], bytes],
    policy_routing: bool = True,
) -> Answer | None:
    """What is at a path; None where nothing is. `seed` gives that many random octets.

    Raises `UserDataNotBase64` and `UnknownNetwork` as `config_drive.drive_files` does.
    """
    names = [name for name in path.split("/") if name]
    if names[:1] == ["openstack"]:
        node: Tree | bytes | None = _openstack(
            server, networks, nic_address=nic_address, seed=seed(512), policy_routing=policy_routing
        )
        names = names[1:]
    elif not names:
        return _listing(EC2_VERSIONS)
    elif names[0] in EC2_VERSIONS:
        node, names = _ec2(server, networks), names[1:]
    else:
        return None
    for name in names:
        node = node.get(name) if isinstance(node, Mapping) else None
    if node is None:
        return None
    if isinstance(node, bytes):
        kind = "application/json" if names[-1].endswith(".json") else "text/plain; charset=utf-8"
        return Answer(content=node, content_type="application/octet-stream" if "user" in names[-1] else kind)
    if names[-1:] == ["public-keys"]:
        return _listing(tuple(f"{key}={_name_of(server, int(key))}" for key in node))
    return _listing(tuple(name if isinstance(value, bytes) else f"{name}/" for name, value in node.items()))


def _name_of(server: ServerPlan, index: int) -> str:
    return server.public_keys[index][0]


def _listing(lines: tuple[str, ...]) -> Answer:
    return Answer(content="\n".join(lines).encode(), content_type="text/plain; charset=utf-8")


def _openstack(
    server: ServerPlan, networks: Networks, *, nic_address: NicAddress, seed: bytes, policy_routing: bool
) -> Tree:
    files = drive_files(
        replace(server, admin_password=None),
        networks,
        nic_address=nic_address,
        random_seed=seed,
        policy_routing=policy_routing,
    )
    tree: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        root, version, name = path.split("/")
        if root == "openstack":
            tree.setdefault(version, {})[name] = content
    return tree


def _ec2(server: ServerPlan, networks: Networks) -> Tree:
    values = ec2_meta_data(server)
    keys = {index: {"openssh-key": entry["openssh-key"].encode()} for index, entry in values.pop("public-keys").items()}
    zone = values.pop("placement")["availability-zone"]
    flat = {name: str(value).encode() for name, value in values.items()}
    macs: Tree = {nic.mac_address: _ec2_nic(nic, networks) for nic in server.nics}
    first = {"mac": server.nics[0].mac_address.encode()} if server.nics else {}
    meta: dict[str, Tree | bytes] = {
        **flat,
        **first,
        "network": {"interfaces": {"macs": macs}},
        "placement": {"availability-zone": zone.encode()},
    }
    if keys:
        meta["public-keys"] = keys
    files = drive_files(replace(server, nics=(), admin_password=None), {}, nic_address=lambda slot: None)
    user_data = files.get("ec2/latest/user-data")
    return {"meta-data": meta} if user_data is None else {"meta-data": meta, "user-data": user_data}


def _ec2_nic(nic: NicPlan, networks: Networks) -> Tree:
    """A NIC as EC2 describes one: `device-number` counts from 0."""
    homes = list(subnets_of(nic, network_of(nic, networks)))
    told = {
        "device-number": str(nic.slot - 1),
        "interface-id": nic.port_id,
        "local-ipv4s": "\n".join(address for address, subnet in homes if subnet.ip_version == 4),
        "ipv6s": "\n".join(address for address, subnet in homes if subnet.ip_version == 6),
        "mac": nic.mac_address,
        "subnet-id": homes[0][1].id if homes else "",
        "subnet-ipv4-cidr-block": next((subnet.cidr for _, subnet in homes if subnet.ip_version == 4), ""),
    }
    return {name: value.encode() for name, value in told.items() if value}
