"""Good bodies with one thing wrong in them: whatever it is and however deep it lies, the answer is a 2xx or a 4xx in
the service's own shape, never a 5xx."""

import copy
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.client import Client
from tests.api.stock import make_image
from tests.api.test_bad_input import SHAPES

WRONG: tuple[Any, ...] = (
    None,
    "",
    -1,
    2**63,
    1.5,
    [],
    {},
    "x" * 70_000,
    "a\0b",
    "../../etc/passwd",
    "00000000-0000-4000-8000-000000000000",
    "10.0.0.0/33",
    "fe80::1%eth0",
    "ff:ff:ff:ff:ff:ff",
)
GONE = object()

# What is written `<name>` is the id of the thing of that name.
IMAGE_PATCH = [{"op": "replace", "path": "/name", "value": "x"}, {"op": "add", "path": "/foo", "value": "bar"}]
PASSWORD = {
    "methods": ["password"],
    "password": {"user": {"name": "nobody", "domain": {"id": "default"}, "password": "x"}},
}
GOOD: tuple[tuple[str, str, Any], ...] = (
    (
        "POST",
        "/compute/servers",
        {
            "server": {
                "name": "s",
                "imageRef": "<image>",
                "flavorRef": "42",
                "networks": [{"uuid": "<network>", "fixed_ip": "10.0.5.5", "tag": "t"}, {"port": "<port>"}],
                "min_count": 1,
                "max_count": 1,
                "user_data": "aGk=",
                "key_name": "k",
                "config_drive": True,
                "metadata": {"a": "b"},
                "tags": ["q"],
                "security_groups": [{"name": "default"}],
                "description": "d",
                "hostname": "h",
                "accessIPv4": "192.0.2.4",
                "availability_zone": "nova",
                "OS-DCF:diskConfig": "AUTO",
                "block_device_mapping_v2": [
                    {"boot_index": 0, "uuid": "<image>", "source_type": "image", "destination_type": "local"}
                ],
            },
            "os:scheduler_hints": {"foo": "x"},
        },
    ),
    (
        "POST",
        "/compute/servers/<server>/os-interface",
        {"interfaceAttachment": {"net_id": "<network>", "fixed_ips": [{"ip_address": "10.0.6.6"}], "tag": "x"}},
    ),
    ("PUT", "/compute/servers/<server>", {"server": {"name": "x", "description": "y", "accessIPv6": "::1"}}),
    ("POST", "/compute/servers/<server>/action", {"reboot": {"type": "SOFT"}}),
    ("POST", "/compute/servers/<server>/action", {"os-getConsoleOutput": {"length": 5}}),
    (
        "POST",
        "/compute/servers/<server>/action",
        {"rebuild": {"imageRef": "<image>", "name": "r", "metadata": {"a": "b"}, "user_data": "aGk="}},
    ),
    ("POST", "/compute/servers/<server>/metadata", {"metadata": {"a": "b"}}),
    ("PUT", "/compute/servers/<server>/tags", {"tags": ["a", "b"]}),
    (
        "POST",
        "/compute/flavors",
        {"flavor": {"name": "f", "ram": 64, "vcpus": 1, "disk": 1, "swap": 0, "id": "zz", "rxtx_factor": 1.0}},
    ),
    ("POST", "/compute/flavors/42/os-extra_specs", {"extra_specs": {"hw:cpu_policy": "shared"}}),
    ("POST", "/compute/os-keypairs", {"keypair": {"name": "k2", "type": "ssh"}}),
    (
        "POST",
        "/compute/os-server-groups",
        {"server_group": {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 3}}},
    ),
    (
        "POST",
        "/network/networks",
        {
            "network": {
                "name": "n",
                "mtu": 1400,
                "shared": False,
                "port_security_enabled": True,
                "polyport:storm_guard": {"flood_rate": 100},
                "provider:network_type": "local",
            }
        },
    ),
    ("PUT", "/network/networks/<network>", {"network": {"name": "n", "mtu": 1400, "admin_state_up": True}}),
    (
        "POST",
        "/network/subnets",
        {
            "subnet": {
                "network_id": "<network>",
                "ip_version": 4,
                "cidr": "10.9.0.0/16",
                "gateway_ip": "10.9.0.1",
                "allocation_pools": [{"start": "10.9.0.2", "end": "10.9.0.20"}],
                "dns_nameservers": ["192.0.2.53"],
                "host_routes": [{"destination": "198.51.100.0/24", "nexthop": "10.9.0.3"}],
            }
        },
    ),
    (
        "POST",
        "/network/subnets",
        {
            "subnet": {
                "network_id": "<network>",
                "ip_version": 6,
                "cidr": "fd00::/64",
                "ipv6_ra_mode": "slaac",
                "ipv6_address_mode": "slaac",
            }
        },
    ),
    (
        "PUT",
        "/network/subnets/<subnet>",
        {
            "subnet": {
                "gateway_ip": "10.0.0.1",
                "allocation_pools": [{"start": "10.0.0.2", "end": "10.0.255.20"}],
                "host_routes": [{"destination": "198.51.100.0/24", "nexthop": "10.0.0.3"}],
            }
        },
    ),
    (
        "POST",
        "/network/ports",
        {
            "port": {
                "network_id": "<network>",
                "mac_address": "fa:16:3e:01:02:03",
                "fixed_ips": [{"subnet_id": "<subnet>", "ip_address": "10.0.7.7"}],
                "security_groups": ["<group>"],
                "allowed_address_pairs": [{"ip_address": "10.0.8.0/24", "mac_address": "fa:16:3e:01:02:04"}],
                "extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400", "ip_version": 4}],
                "tags": ["a"],
                "binding:vnic_type": "normal",
                "binding:profile": {},
                "polyport:storm_guard": {"flood_rate": 10},
            }
        },
    ),
    (
        "PUT",
        "/network/ports/<port>",
        {
            "port": {
                "fixed_ips": [{"subnet_id": "<subnet>", "ip_address": "10.0.7.17"}],
                "security_groups": ["<group>"],
                "allowed_address_pairs": [{"ip_address": "10.0.8.0/24"}],
                "extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400"}],
            }
        },
    ),
    ("POST", "/network/security-groups", {"security_group": {"name": "g", "description": "d", "stateful": True}}),
    (
        "POST",
        "/network/security-group-rules",
        {
            "security_group_rule": {
                "security_group_id": "<group>",
                "direction": "ingress",
                "ethertype": "IPv4",
                "protocol": "tcp",
                "port_range_min": 1,
                "port_range_max": 2,
                "remote_ip_prefix": "10.0.0.0/8",
            }
        },
    ),
    ("PUT", "/network/networks/<network>/tags", {"tags": ["a", "b"]}),
    (
        "POST",
        "/image/images",
        {"name": "i", "disk_format": "raw", "container_format": "bare", "min_disk": 0, "tags": ["a"], "os_type": "x"},
    ),
    ("PATCH", "/image/images/<image>", IMAGE_PATCH),
    ("POST", "/identity/v3/auth/tokens", {"auth": {"identity": PASSWORD, "scope": {"project": {"id": "x"}}}}),
    ("POST", "/identity/v3/projects", {"project": {"name": "p", "domain_id": "default", "tags": ["a"]}}),
    ("POST", "/identity/v3/users", {"user": {"name": "u", "domain_id": "default", "enabled": True}}),
    ("POST", "/identity/v3/roles", {"role": {"name": "r", "description": "d"}}),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside of a body, the body's own first."""
    yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places(inner, (*at, key))


def changed(body: Any, at: tuple[Any, ...], new: Any) -> Any:
    """A copy of a body with something else at a path, or without what is there."""
    body = copy.deepcopy(body)
    holder = body
    for key in at[:-1]:
        holder = holder[key]
    if new is GONE:
        del holder[at[-1]]
    else:
        holder[at[-1]] = new
    return body


def named(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: named(inner, ids) for key, inner in value.items()}
    if isinstance(value, list):
        return [named(inner, ids) for inner in value]
    if isinstance(value, str):
        for name, given in ids.items():
            value = value.replace(f"<{name}>", given)
    return value


@pytest.fixture
async def ids(admin: Client) -> dict[str, str]:
    network = (await admin.made("/network/networks", {"network": {"name": "n"}}))["id"]
    subnet = {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"}}
    image = await make_image(admin)
    await admin.made("/compute/os-keypairs", {"keypair": {"name": "k"}})
    wanted = {"name": "s", "imageRef": image, "flavorRef": "42", "networks": "none"}
    server = (await admin.made("/compute/servers", {"server": wanted}, "2.60"))["id"]
    await admin.until(f"/compute/servers/{server}", lambda seen: seen.json()["server"]["status"] == "ACTIVE")
    return {
        "network": network,
        "subnet": (await admin.made("/network/subnets", subnet))["id"],
        "port": (await admin.made("/network/ports", {"port": {"network_id": network}}))["id"],
        "group": (await admin.made("/network/security-groups", {"security_group": {"name": "g"}}))["id"],
        "image": image,
        "server": server,
    }


every_good_body = pytest.mark.parametrize(
    ("method", "path", "body"), GOOD, ids=[f"{path}-{next(iter(body), '')}" for _, path, body in GOOD]
)


async def sent(client: Client, ids: dict[str, str], method: str, path: str, body: Any) -> httpx.Response:
    kind = "application/openstack-images-v2.1-json-patch" if method == "PATCH" else "application/json"
    return await client.call(method, named(path, ids), "2.90", json=body, headers={"content-type": kind})


@every_good_body
async def test_nothing_wrong(admin: Client, ids: dict[str, str], method: str, path: str, body: Any) -> None:
    answer = await sent(admin, ids, method, path, named(body, ids))
    assert answer.is_success or "auth/tokens" in path, answer.text


@every_good_body
async def test_one_thing_wrong(admin: Client, ids: dict[str, str], method: str, path: str, body: Any) -> None:
    good = named(body, ids)
    for at in [at for at in places(good) if at]:
        for new in (*WRONG, GONE):
            answer = await sent(admin, ids, method, path, changed(good, at, new))
            said = (at, repr(new)[:60], answer.status_code, answer.text[:300])
            assert 200 <= answer.status_code < 500, said
            if answer.status_code >= 400:
                assert SHAPES[path.split("/")[1]](answer.json()), said
