"""Subnets, through HTTP: the rules of addresses in both versions."""

from typing import Any

import httpx
import pytest

from tests.api.client import Client


async def wish(client: Client, cidr: str = "10.0.0.0/24", **more: Any) -> httpx.Response:
    """Ask for a subnet, on a new network unless one is named."""
    if "network_id" not in more:
        more["network_id"] = (await client.made("/network/networks", {"network": {}}))["id"]
    body = {"ip_version": 6 if ":" in cidr else 4, "cidr": cidr, **more}
    return await client.post("/network/subnets", {"subnet": body})


async def made(client: Client, cidr: str = "10.0.0.0/24", **more: Any) -> dict[str, Any]:
    answer = await wish(client, cidr, **more)
    assert answer.status_code == 201, answer.text
    subnet: dict[str, Any] = answer.json()["subnet"]
    return subnet


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["NeutronError"]["type"]


async def test_a_subnet_from_its_beginning_to_its_end(client: Client) -> None:
    subnet = await made(client, "10.0.0.7/24", name="first")
    assert subnet["cidr"] == "10.0.0.0/24"
    assert subnet["gateway_ip"] == "10.0.0.1"
    assert subnet["enable_dhcp"] is True
    assert subnet["allocation_pools"] == [{"start": "10.0.0.2", "end": "10.0.0.254"}]
    assert subnet["dns_nameservers"] == subnet["host_routes"] == []
    path = f"/network/subnets/{subnet['id']}"
    assert (await client.get(path)).json()["subnet"] == subnet
    change = {
        "name": "second",
        "gateway_ip": None,
        "dns_nameservers": ["192.0.2.53", "2001:db8::53"],
        "host_routes": [{"destination": "203.0.113.9/24", "nexthop": "10.0.0.9"}],
        "allocation_pools": [{"start": "10.0.0.20", "end": "10.0.0.29"}, {"start": "10.0.0.1", "end": "10.0.0.9"}],
    }
    changed = (await client.put(path, {"subnet": change})).json()["subnet"]
    assert changed["name"] == "second"
    assert changed["gateway_ip"] is None
    assert changed["dns_nameservers"] == ["192.0.2.53", "2001:db8::53"]
    assert changed["host_routes"] == [{"destination": "203.0.113.0/24", "nexthop": "10.0.0.9"}]
    assert changed["allocation_pools"] == [
        {"start": "10.0.0.1", "end": "10.0.0.9"},
        {"start": "10.0.0.20", "end": "10.0.0.29"},
    ]
    assert changed["revision_number"] == subnet["revision_number"] + 1
    back = await client.put(path, {"subnet": {"gateway_ip": "10.0.0.1"}})
    assert error(back) == (409, "GatewayConflictWithAllocationPools")
    assert (await client.delete(path)).status_code == 204
    assert error(await client.get(path)) == (404, "SubnetNotFound")


async def test_gateways(client: Client) -> None:
    assert (await made(client, gateway_ip=None))["gateway_ip"] is None
    assert (await made(client, gateway_ip=None))["allocation_pools"] == [{"start": "10.0.0.1", "end": "10.0.0.254"}]
    middle = await made(client, gateway_ip="10.0.0.100")
    assert middle["allocation_pools"] == [
        {"start": "10.0.0.1", "end": "10.0.0.99"},
        {"start": "10.0.0.101", "end": "10.0.0.254"},
    ]
    assert (await made(client, gateway_ip="192.0.2.1"))["gateway_ip"] == "192.0.2.1"
    for gateway in ("fe80::1", "2001:db8::", "2001:db9::1"):
        subnet = await made(client, "2001:db8::/64", gateway_ip=gateway)
        assert subnet["gateway_ip"] == gateway
        assert subnet["allocation_pools"] == [{"start": "2001:db8::1", "end": "2001:db8::ffff:ffff:ffff:ffff"}]
    none = ("0.0.0.0", "127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255")
    for gateway in ("10.0.0.0", "10.0.0.255", "nonsense", "2001:db8::1", *none):
        answer = await wish(client, gateway_ip=gateway)
        assert error(answer) == (400, "InvalidInput")
        assert gateway in answer.json()["NeutronError"]["message"]
    for gateway in ("::", "::1", "ff02::2", "10.0.0.1"):
        assert error(await wish(client, "2001:db8::/64", gateway_ip=gateway)) == (400, "InvalidInput")


@pytest.mark.parametrize(
    ("pools", "refusal"),
    [
        ([("10.0.0.9", "10.0.0.5")], (400, "InvalidAllocationPool")),
        ([("10.0.0.x", "10.0.0.5")], (400, "InvalidAllocationPool")),
        ([("10.0.1.2", "10.0.1.5")], (400, "OutOfBoundsAllocationPool")),
        ([("10.0.0.0", "10.0.0.5")], (400, "OutOfBoundsAllocationPool")),
        ([("10.0.0.10", "10.0.0.20"), ("10.0.0.20", "10.0.0.30")], (409, "OverlappingAllocationPools")),
        ([("10.0.0.1", "10.0.0.20")], (409, "GatewayConflictWithAllocationPools")),
    ],
)
async def test_allocation_pools_that_cannot_be(
    client: Client, pools: list[tuple[str, str]], refusal: tuple[int, str]
) -> None:
    wished = [{"start": start, "end": end} for start, end in pools]
    assert error(await wish(client, allocation_pools=wished)) == refusal
    assert (await client.get("/network/subnets")).json()["subnets"] == []


@pytest.mark.parametrize(
    "more",
    [
        {"cidr": "10.0.0.0"},
        {"cidr": "10.0.0.0/33"},
        {"cidr": "nonsense/24"},
        {"cidr": "0.0.0.0/0"},
        {"cidr": "127.0.0.0/24"},
        {"cidr": "224.0.0.0/24"},
        {"cidr": "10.0.0.0/31"},
        {"cidr": "10.0.0.0/24", "ip_version": 6},
        {"cidr": "10.0.0.0/24", "ip_version": 5},
        {"cidr": "10.0.0.0/24", "dns_nameservers": ["nonsense"]},
        {"cidr": "10.0.0.0/24", "dns_nameservers": ["192.0.2.1"] * 2},
        {"cidr": "10.0.0.0/24", "dns_nameservers": [f"192.0.2.{n}" for n in range(6)]},
        {"cidr": "10.0.0.0/24", "host_routes": [{"destination": "2001:db8::/32", "nexthop": "10.0.0.1"}]},
        {"cidr": "10.0.0.0/24", "host_routes": [{"destination": "192.0.2.0/24", "nexthop": "x"}]},
        {"cidr": "10.0.0.0/24", "host_routes": [{"destination": "192.0.2.0/24"}]},
        {"cidr": "10.0.0.0/24", "ipv6_ra_mode": "slaac"},
        {"cidr": "::/64"},
        {"cidr": "fe80::/64"},
        {"cidr": "2001:db8::%eth0/64"},
        {"cidr": "2001:db8::%any text\n/64"},
        {"cidr": "2001:db8::/64", "host_routes": [{"destination": "2001:db8:1::%x/64", "nexthop": "2001:db8::9"}]},
        {"cidr": "2001:db8::/64", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful"},
        {"cidr": "2001:db8::/64", "ipv6_ra_mode": "often"},
        {"cidr": "2001:db8::/64", "ipv6_ra_mode": "slaac", "enable_dhcp": False},
        {"cidr": "2001:db8::/48", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"},
        {"cidr": None},
        {"cidr": None, "use_default_subnetpool": True},
        {"cidr": None, "prefixlen": 24},
        {"cidr": None, "subnetpool_id": "prefix_delegation"},
    ],
)
async def test_subnets_that_cannot_be(client: Client, more: dict[str, Any]) -> None:
    network = await client.made("/network/networks", {"network": {}})
    body = {"ip_version": 6 if ":" in (more["cidr"] or "") else 4, "network_id": network["id"], **more}
    answer = await client.post("/network/subnets", {"subnet": body})
    assert answer.status_code == 400, answer.text
    assert answer.json()["NeutronError"]["message"]
    assert (await client.get("/network/subnets")).json()["subnets"] == []


@pytest.mark.parametrize(
    ("cidr", "those"),
    [
        ("0.0.0.0/1", "0.0.0.0/8"),
        ("126.0.0.0/7", "127.0.0.0/8"),
        ("168.0.0.0/6", "169.254.0.0/16"),
        ("169.254.1.0/24", "169.254.0.0/16"),
        ("224.0.0.0/3", "224.0.0.0/4"),
        ("240.0.0.0/4", "255.255.255.255/32"),
        ("8000::/1", "fe80::/10"),
        ("ff00::/16", "ff00::/8"),
    ],
)
async def test_subnets_with_addresses_that_no_host_has(client: Client, cidr: str, those: str) -> None:
    answer = await wish(client, cidr)
    assert error(answer) == (400, "InvalidInput")
    message = answer.json()["NeutronError"]["message"]
    assert message.endswith(f"cidr '{cidr}' has addresses that ports may not have: those of {those}.")
    assert (await client.get("/network/subnets")).json()["subnets"] == []


async def test_small_subnets_without_dhcp(client: Client) -> None:
    pair = await made(client, "10.0.0.0/31", enable_dhcp=False)
    assert (pair["gateway_ip"], pair["allocation_pools"]) == ("10.0.0.0", [{"start": "10.0.0.1", "end": "10.0.0.1"}])
    single = await made(client, "10.0.0.9/32", enable_dhcp=False)
    assert (single["gateway_ip"], single["allocation_pools"]) == (None, [{"start": "10.0.0.9", "end": "10.0.0.9"}])


@pytest.mark.parametrize("cidr", ["10.0.0.0/31", "10.0.0.9/32", "2001:db8::/127", "2001:db8::9/128"])
async def test_every_address_a_small_subnet_hands_out_may_be_asked_for(client: Client, cidr: str) -> None:
    subnet = await made(client, cidr, enable_dhcp=False, gateway_ip=None)
    port = await client.made("/network/ports", {"port": {"network_id": subnet["network_id"]}})
    assert port["fixed_ips"][0]["ip_address"] == subnet["allocation_pools"][0]["start"]
    path = f"/network/ports/{port['id']}"
    for change in ({"fixed_ips": port["fixed_ips"]}, {"mac_address": "fa:16:3e:12:34:56"}):
        answer = await client.put(path, {"port": change})
        assert answer.status_code == 200, answer.text
        assert answer.json()["port"]["fixed_ips"] == port["fixed_ips"]


async def test_who_names_a_subnet_gets_its_last_address(client: Client) -> None:
    pool = [{"start": "10.0.0.9", "end": "10.0.0.9"}]
    small = await made(client, allocation_pools=pool)
    large = await made(client, "10.0.1.0/24", network_id=small["network_id"])
    any_subnet: dict[str, Any] = {"network_id": small["network_id"]}
    the_small = {**any_subnet, "fixed_ips": [{"subnet_id": small["id"]}]}
    answer = await client.post("/network/ports", {"ports": [any_subnet, the_small]})
    assert answer.status_code == 201, answer.text
    found = [port["fixed_ips"][0]["subnet_id"] for port in answer.json()["ports"]]
    assert found == [large["id"], small["id"]]
    refused = await client.post("/network/ports", {"ports": [any_subnet, the_small]})
    assert error(refused) == (409, "IpAddressGenerationFailure")


async def test_subnets_of_one_network_do_not_overlap(client: Client) -> None:
    first = await made(client, "10.0.0.0/24")
    for cidr in ("10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/16"):
        answer = await wish(client, cidr, network_id=first["network_id"])
        assert error(answer) == (400, "InvalidInput")
        assert "overlaps" in answer.json()["NeutronError"]["message"]
    await made(client, "10.0.1.0/24", network_id=first["network_id"])
    await made(client, "10.0.0.0/24")


async def test_automatic_addresses_come_to_every_port_and_go_with_their_subnet(client: Client) -> None:
    v4 = await made(client, "10.0.0.0/24")
    mac = "fa:16:3e:12:34:56"
    body = {"port": {"network_id": v4["network_id"], "mac_address": mac}}
    port = await client.made("/network/ports", body)
    v6 = await made(
        client, "2001:db8:1::/64", network_id=v4["network_id"], ipv6_ra_mode="slaac", ipv6_address_mode="slaac"
    )
    automatic = {"subnet_id": v6["id"], "ip_address": "2001:db8:1:0:f816:3eff:fe12:3456"}
    path = f"/network/ports/{port['id']}"
    assert (await client.get(path)).json()["port"]["fixed_ips"] == [*port["fixed_ips"], automatic]
    later = await client.made("/network/ports", {"port": {"network_id": v4["network_id"]}})
    assert [ip["subnet_id"] for ip in later["fixed_ips"]] == [v4["id"], v6["id"]]
    refused = await client.post(
        "/network/ports",
        {"port": {"network_id": v4["network_id"], "fixed_ips": [{"ip_address": "2001:db8:1::5"}]}},
    )
    assert error(refused) == (400, "AllocationOnAutoAddressSubnet")
    # What a client reads it may write back.
    same = await client.put(path, {"port": {"fixed_ips": [*port["fixed_ips"], automatic]}})
    assert same.json()["port"]["fixed_ips"] == [*port["fixed_ips"], automatic]
    before = same.json()["port"]["revision_number"]
    assert (await client.delete(f"/network/subnets/{v6['id']}")).status_code == 204
    after = (await client.get(path)).json()["port"]
    assert after["fixed_ips"] == port["fixed_ips"]
    # Whoever read the port before has not seen that.
    assert after["revision_number"] == before + 1


async def test_a_subnet_with_addresses_in_use_stays(client: Client) -> None:
    subnet = await made(client)
    port = await client.made("/network/ports", {"port": {"network_id": subnet["network_id"]}})
    assert error(await client.delete(f"/network/subnets/{subnet['id']}")) == (409, "SubnetInUse")
    assert (await client.delete(f"/network/ports/{port['id']}")).status_code == 204
    assert (await client.delete(f"/network/subnets/{subnet['id']}")).status_code == 204


async def test_subnets_of_others_are_not_there(client: Client, other: Client) -> None:
    subnet = await made(client)
    path = f"/network/subnets/{subnet['id']}"
    assert (await other.get(path)).status_code == 404
    assert (await other.put(path, {"subnet": {"name": "x"}})).status_code == 404
    assert (await other.delete(path)).status_code == 404
    theirs = await other.made("/network/networks", {"network": {}})
    body = {"port": {"network_id": theirs["id"], "fixed_ips": [{"subnet_id": subnet["id"]}]}}
    assert error(await other.post("/network/ports", body)) == (400, "InvalidInput")


async def test_a_subnet_does_not_move_or_grow(client: Client) -> None:
    subnet = await made(client)
    for change in ({"cidr": "10.0.1.0/24"}, {"network_id": subnet["network_id"]}, {"ip_version": 6}):
        answer = await client.put(f"/network/subnets/{subnet['id']}", {"subnet": change})
        assert answer.status_code == 400
        assert next(iter(change)) in answer.json()["NeutronError"]["message"]


async def test_the_least_mtu_of_ipv6(client: Client) -> None:
    network = await client.made("/network/networks", {"network": {"mtu": 1279}})
    assert error(await wish(client, "2001:db8::/64", network_id=network["id"])) == (409, "NetworkMTUSubnetConflict")
    path = f"/network/networks/{network['id']}"
    assert (await client.put(path, {"network": {"mtu": 1280}})).status_code == 200
    await made(client, "2001:db8::/64", network_id=network["id"])
    assert error(await client.put(path, {"network": {"mtu": 1279}})) == (409, "NetworkMTUSubnetConflict")


async def test_subnets_of_shared_networks(client: Client, admin: Client) -> None:
    common = await admin.made("/network/networks", {"network": {"shared": True}})
    shared = await made(admin, "10.9.0.0/24", network_id=common["id"])
    own = await made(client)
    for query, found in (("true", [shared["id"]]), ("false", [own["id"]])):
        listed = (await client.get(f"/network/subnets?shared={query}")).json()["subnets"]
        assert [subnet["id"] for subnet in listed] == found


async def test_many_in_one_request(client: Client) -> None:
    network = await client.made("/network/networks", {"network": {}})
    body = [{"network_id": network["id"], "ip_version": 4, "cidr": f"10.0.{n}.0/24"} for n in (0, 1, 2)]
    answer = await client.post("/network/subnets", {"subnets": body})
    assert [subnet["cidr"] for subnet in answer.json()["subnets"]] == [entry["cidr"] for entry in body]
    again = await client.post("/network/subnets", {"subnets": [{**body[0], "cidr": "10.9.0.0/24"}, body[1]]})
    assert again.status_code == 400
    assert len((await client.get("/network/subnets")).json()["subnets"]) == 3
