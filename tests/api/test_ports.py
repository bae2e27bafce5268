"""Ports, through HTTP: alone, many at once, and under a server."""

from typing import Any

import httpx
import pytest

from tests.api.client import Client, TestCloud
from tests.api.stock import make_network, make_server

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["NeutronError"]["type"]


def addresses(port: dict[str, Any]) -> list[str]:
    return [ip["ip_address"] for ip in port["fixed_ips"]]


async def ports_of(client: Client, device_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(f"/network/ports?device_id={device_id}")).json()["ports"]
    return found


async def test_a_port_from_its_beginning_to_its_end(client: Client) -> None:
    network = await make_network(client)
    port = await client.made("/network/ports", {"port": {"network_id": network, "name": "left"}})
    assert port["status"] == "DOWN"
    assert port["mac_address"].startswith("fa:16:3e:")
    assert addresses(port) == ["10.0.0.2"]
    assert port["device_id"] == port["device_owner"] == ""
    assert port["port_security_enabled"] is True
    assert port["binding:vnic_type"] == "normal"
    assert "binding:host_id" not in port
    groups = (await client.get("/network/security-groups?name=default")).json()["security_groups"]
    assert port["security_groups"] == [groups[0]["id"]]
    path = f"/network/ports/{port['id']}"
    assert (await client.get(path)).json()["port"] == port
    changed = await client.put(path, {"port": {"name": "right", "admin_state_up": False, "device_id": "mine"}})
    assert changed.json()["port"]["name"] == "right"
    assert changed.json()["port"]["admin_state_up"] is False
    assert changed.json()["port"]["device_id"] == "mine"
    assert changed.json()["port"]["revision_number"] == port["revision_number"] + 1
    assert (await client.delete(path)).status_code == 204
    assert error(await client.get(path)) == (404, "PortNotFound")
    assert (await client.delete(path)).status_code == 404


async def test_many_ports_on_one_network_are_made_in_order_or_not_at_all(client: Client) -> None:
    network = await make_network(client)
    wanted = [{"network_id": network, "name": f"p{n}", "tags": [f"t{n}"]} for n in range(12)]
    made = await client.post("/network/ports", {"ports": wanted})
    assert made.status_code == 201
    assert [port["name"] for port in made.json()["ports"]] == [entry["name"] for entry in wanted]
    assert [addresses(port) for port in made.json()["ports"]] == [[f"10.0.0.{n}"] for n in range(2, 14)]
    assert len({port["mac_address"] for port in made.json()["ports"]}) == 12
    assert made.json()["ports"][3]["tags"] == ["t3"]
    wrapped = await client.post("/network/ports", {"ports": [{"port": wanted[0]}, {"port": wanted[1]}]})
    assert [port["name"] for port in wrapped.json()["ports"]] == ["p0", "p1"]
    for port in wrapped.json()["ports"]:
        assert (await client.delete(f"/network/ports/{port['id']}")).status_code == 204
    wanted[7]["network_id"] = UNKNOWN
    refused = await client.post("/network/ports", {"ports": wanted})
    assert error(refused) == (404, "NetworkNotFound")
    wanted[7] = {"network_id": network, "name": 7}
    refused = await client.post("/network/ports", {"ports": wanted})
    assert refused.status_code == 400
    assert "[7].name" in refused.json()["NeutronError"]["message"]
    assert len((await client.get("/network/ports")).json()["ports"]) == 12


async def test_addresses_as_they_are_asked_for(client: Client) -> None:
    network = await make_network(client)
    subnet = (await client.get("/network/subnets")).json()["subnets"][0]["id"]

    async def port(fixed_ips: Any) -> httpx.Response:
        return await client.post("/network/ports", {"port": {"network_id": network, "fixed_ips": fixed_ips}})

    both = (await port([{"ip_address": "10.0.0.77"}, {"subnet_id": subnet}])).json()["port"]
    assert addresses(both) == ["10.0.0.77", "10.0.0.2"]
    assert addresses((await port([])).json()["port"]) == []
    assert error(await port([{"ip_address": "10.0.0.77"}])) == (409, "IpAddressInUse")
    assert error(await port([{"ip_address": "192.0.2.1"}])) == (400, "InvalidIpForNetwork")
    assert error(await port([{"subnet_id": subnet, "ip_address": "192.0.2.1"}])) == (400, "InvalidIpForSubnet")
    assert error(await port([{"subnet_id": UNKNOWN}])) == (400, "InvalidInput")
    assert error(await port([{"ip_address": "nonsense"}])) == (400, "InvalidInput")
    assert error(await port([{"ip_address": "10.0.0.9"}] * 2)) == (400, "InvalidInput")
    assert error(await port([{}])) == (400, "InvalidInput")
    assert error(await port([{"subnet_id": subnet}] * 65)) == (400, "InvalidInput")
    assert (await port("10.0.0.9")).status_code == 400


async def test_no_address_left_names_the_network(client: Client) -> None:
    network = await make_network(client, cidr="10.0.0.0/30")
    await client.made("/network/ports", {"port": {"network_id": network}})
    answer = await client.post("/network/ports", {"port": {"network_id": network}})
    assert error(answer) == (409, "IpAddressGenerationFailure")
    assert network in answer.json()["NeutronError"]["message"]


async def test_addresses_change_and_those_that_stay_are_kept(client: Client) -> None:
    network = await make_network(client)
    subnet = (await client.get("/network/subnets")).json()["subnets"][0]["id"]
    port = await client.made("/network/ports", {"port": {"network_id": network}})
    path = f"/network/ports/{port['id']}"

    async def change(*fixed_ips: dict[str, str]) -> list[str]:
        answer = await client.put(path, {"port": {"fixed_ips": list(fixed_ips)}})
        assert answer.status_code == 200, answer.text
        return addresses(answer.json()["port"])

    assert await change(port["fixed_ips"][0], {"ip_address": "10.0.0.50"}) == ["10.0.0.2", "10.0.0.50"]
    assert await change({"subnet_id": subnet}) == ["10.0.0.2"]
    assert await change({"ip_address": "10.0.0.51"}, {"subnet_id": subnet}) == ["10.0.0.51", "10.0.0.2"]
    assert await change() == []
    again = await client.made(
        "/network/ports", {"port": {"network_id": network, "fixed_ips": [{"ip_address": "10.0.0.2"}]}}
    )
    assert addresses(again) == ["10.0.0.2"]
    refused = await client.put(path, {"port": {"fixed_ips": [{"ip_address": "10.0.0.2"}]}})
    assert error(refused) == (409, "IpAddressInUse")
    assert addresses((await client.get(path)).json()["port"]) == []


async def test_mac_addresses_are_unique_on_a_network_and_nowhere_else(client: Client) -> None:
    one, two = await make_network(client), await make_network(client, "net2")
    mac = "02-00-00-AA-BB-CC"

    async def port(network: str, address: str) -> httpx.Response:
        return await client.post("/network/ports", {"port": {"network_id": network, "mac_address": address}})

    assert (await port(one, mac)).json()["port"]["mac_address"] == "02:00:00:aa:bb:cc"
    assert error(await port(one, mac)) == (409, "MacAddressInUse")
    assert (await port(two, mac)).status_code == 201
    for bad in ("01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "nonsense", "02:00:00:aa:bb", ""):
        assert error(await port(one, bad)) == (400, "InvalidInput")
    twice = {"ports": [{"network_id": one, "mac_address": "02:00:00:00:00:01"}] * 2}
    assert error(await client.post("/network/ports", twice)) == (409, "MacAddressInUse")


async def test_a_free_ports_mac_changes_and_its_automatic_address_with_it(client: Client) -> None:
    network = await make_network(client)
    body = {
        "network_id": network,
        "ip_version": 6,
        "cidr": "2001:db8::/64",
        "ipv6_ra_mode": "slaac",
        "ipv6_address_mode": "slaac",
    }
    await client.made("/network/subnets", {"subnet": body})
    port = await client.made("/network/ports", {"port": {"network_id": network, "mac_address": "fa:16:3e:00:00:01"}})
    assert addresses(port) == ["10.0.0.2", "2001:db8::f816:3eff:fe00:1"]
    changed = await client.put(f"/network/ports/{port['id']}", {"port": {"mac_address": "fa:16:3e:00:00:02"}})
    assert addresses(changed.json()["port"]) == ["10.0.0.2", "2001:db8::f816:3eff:fe00:2"]


async def test_port_security_and_what_depends_on_it(client: Client) -> None:
    network = await make_network(client)
    port = await client.made("/network/ports", {"port": {"network_id": network}})
    path = f"/network/ports/{port['id']}"
    refused = await client.put(path, {"port": {"port_security_enabled": False}})
    assert error(refused) == (409, "PortSecurityPortHasSecurityGroup")
    # The words of an orchestrator that opens a port of a VNF.
    opened = await client.put(path, {"port": {"port_security_enabled": False, "security_groups": None}})
    assert opened.json()["port"]["port_security_enabled"] is False
    assert opened.json()["port"]["security_groups"] == []
    pairs = [{"ip_address": "0.0.0.0/0"}]
    refused = await client.put(path, {"port": {"allowed_address_pairs": pairs}})
    assert error(refused) == (409, "AddressPairAndPortSecurityRequired")
    closed = await client.put(path, {"port": {"port_security_enabled": True, "allowed_address_pairs": pairs}})
    assert closed.json()["port"]["allowed_address_pairs"] == [
        {"ip_address": "0.0.0.0/0", "mac_address": port["mac_address"]}
    ]
    body = {"network_id": network, "port_security_enabled": False}
    assert (await client.made("/network/ports", {"port": body}))["security_groups"] == []
    for more in ({"security_groups": port["security_groups"]}, {"allowed_address_pairs": pairs}):
        assert (await client.post("/network/ports", {"port": {**body, **more}})).status_code in (400, 409)


async def test_a_networks_default_for_port_security(client: Client) -> None:
    network = await client.made("/network/networks", {"network": {"port_security_enabled": False}})
    port = await client.made("/network/ports", {"port": {"network_id": network["id"]}})
    assert port["port_security_enabled"] is False
    assert port["security_groups"] == []


async def test_allowed_address_pairs(client: Client) -> None:
    network = await make_network(client)

    async def port(*pairs: Any) -> httpx.Response:
        body = {"network_id": network, "allowed_address_pairs": list(pairs)}
        return await client.post("/network/ports", {"port": body})

    made = await port(
        {"ip_address": "10.0.0.200"},
        {"ip_address": "10.1.0.7/16", "mac_address": "02:00:00:00:00:01"},
        {"ip_address": "2001:DB8::1"},
    )
    mac = made.json()["port"]["mac_address"]
    assert made.json()["port"]["allowed_address_pairs"] == [
        {"ip_address": "10.0.0.200", "mac_address": mac},
        {"ip_address": "10.1.0.0/16", "mac_address": "02:00:00:00:00:01"},
        {"ip_address": "2001:db8::1", "mac_address": mac},
    ]
    assert error(await port({"mac_address": "02:00:00:00:00:01"})) == (400, "AddressPairMissingIP")
    twice = await port({"ip_address": "10.0.0.9"}, {"ip_address": "10.0.0.9"})
    assert error(twice) == (400, "DuplicateAddressPairInRequest")
    for bad in ({"ip_address": "x"}, {"ip_address": "fe80::1%eth0"}, {"ip_address": "10.0.0.1", "mac_address": "x"}):
        assert error(await port(bad)) == (400, "InvalidInput")
    assert (await port({"ip_address": "10.0.0.1", "port": 80})).status_code == 400


async def test_dhcp_options(client: Client) -> None:
    network = await make_network(client)
    options = [{"opt_name": "mtu", "opt_value": "1400"}, {"opt_name": "router", "opt_value": "", "ip_version": "4"}]
    port = await client.made("/network/ports", {"port": {"network_id": network, "extra_dhcp_opts": options}})
    assert port["extra_dhcp_opts"] == [
        {"opt_name": "mtu", "opt_value": "1400", "ip_version": 4},
        {"opt_name": "router", "opt_value": "", "ip_version": 4},
    ]
    change = [{"opt_name": "mtu", "opt_value": None}, {"opt_name": "dns-server", "opt_value": "::1", "ip_version": 6}]
    changed = await client.put(f"/network/ports/{port['id']}", {"port": {"extra_dhcp_opts": change}})
    assert [option["opt_name"] for option in changed.json()["port"]["extra_dhcp_opts"]] == ["router", "dns-server"]
    for bad in (
        {"opt_name": "", "opt_value": "x"},
        {"opt_name": "x", "opt_value": "a\nb"},
        {"opt_name": "x", "opt_value": "y", "ip_version": 5},
    ):
        answer = await client.put(f"/network/ports/{port['id']}", {"port": {"extra_dhcp_opts": [bad]}})
        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"security_groups": [UNKNOWN]}, UNKNOWN),
        ({"security_groups": ["nonsense"]}, "security_groups"),
        ({"binding:vnic_type": "direct"}, "binding:vnic_type"),
        ({"name": ["x"]}, "name"),
        ({"qos_policy_id": UNKNOWN}, "qos_policy_id"),
        ({"device_id": "x" * 256}, "device_id"),
        ({"tags": ["a,b"]}, "a,b"),
    ],
)
async def test_wishes_that_are_refused_name_the_attribute(client: Client, wish: dict[str, Any], named: str) -> None:
    network = await make_network(client)
    answer = await client.post("/network/ports", {"port": {"network_id": network, **wish}})
    assert answer.status_code in (400, 404)
    assert named in answer.json()["NeutronError"]["message"]
    assert (await client.get("/network/ports")).json()["ports"] == []


async def test_ports_of_others_are_not_there(client: Client, other: Client, admin: Client) -> None:
    network = await make_network(client)
    port = await client.made("/network/ports", {"port": {"network_id": network}})
    path = f"/network/ports/{port['id']}"
    assert (await other.get(path)).status_code == 404
    assert (await other.put(path, {"port": {"name": "x"}})).status_code == 404
    assert (await other.delete(path)).status_code == 404
    groups = (await other.get("/network/security-groups")).json()["security_groups"]
    refused = await client.put(path, {"port": {"security_groups": [groups[0]["id"]]}})
    assert error(refused) == (404, "SecurityGroupNotFound")
    seen = (await admin.get(path)).json()["port"]
    assert (seen["binding:host_id"], seen["binding:vif_type"]) == ("", "unbound")
    for name in ("binding:host_id", "binding:profile"):
        value: Any = "h" if name == "binding:host_id" else {}
        assert (await client.put(path, {"port": {name: value}})).status_code == 403
        assert (await client.post("/network/ports", {"port": {"network_id": network, name: value}})).status_code == 403


async def test_ports_of_a_server_are_listed_in_the_order_of_its_nics(client: Client) -> None:
    network = await make_network(client)
    wanted = [{"network_id": network, "name": f"p{n}"} for n in range(6)]
    made = (await client.post("/network/ports", {"ports": wanted})).json()["ports"]
    shuffled = [made[n] for n in (4, 0, 5, 2, 1, 3)]
    server = await make_server(client, networks=[{"port": port["id"]} for port in shuffled])
    found = await ports_of(client, server["id"])
    assert [port["id"] for port in found] == [port["id"] for port in shuffled]
    assert {port["status"] for port in found} == {"ACTIVE"}
    assert all(port["device_owner"].startswith("compute:") for port in found)
    pages, path = [], f"/network/ports?device_id={server['id']}&limit=4"
    while path:
        page = (await client.get(path)).json()
        pages += [port["id"] for port in page["ports"]]
        path = next((link["href"] for link in page["ports_links"] if link["rel"] == "next"), "")
        path = path.removeprefix("http://cloud.test:8774")
    assert pages == [port["id"] for port in shuffled]
    by_name = (await client.get(f"/network/ports?device_id={server['id']}&sort_key=name&sort_dir=asc")).json()["ports"]
    assert [port["name"] for port in by_name] == [f"p{n}" for n in range(6)]


async def test_a_port_under_a_server_changes_but_not_its_server(client: Client) -> None:
    server = await make_server(client, nics=2)
    port = (await ports_of(client, server["id"]))[0]
    path = f"/network/ports/{port['id']}"
    change = {"name": "wan", "port_security_enabled": False, "security_groups": []}
    assert (await client.put(path, {"port": change})).status_code == 200
    for wish, refusal in (
        ({"device_id": ""}, "PortInUse"),
        ({"device_owner": "x"}, "PortInUse"),
        ({"mac_address": "fa:16:3e:00:00:01"}, "PortBound"),
    ):
        assert error(await client.put(path, {"port": wish})) == (409, refusal)
    same = {"device_id": port["device_id"], "mac_address": port["mac_address"], "device_owner": port["device_owner"]}
    assert (await client.put(path, {"port": same})).status_code == 200


async def test_deleting_a_port_under_a_server_is_for_administrators(
    cloud: TestCloud, client: Client, admin: Client
) -> None:
    server = await make_server(client, nics=3)
    before = await ports_of(client, server["id"])
    path = f"/network/ports/{before[1]['id']}"
    assert error(await client.delete(path)) == (403, "PolicyNotAuthorized")
    assert (await admin.delete(path)).status_code == 204
    after = await ports_of(client, server["id"])
    assert [port["id"] for port in after] == [before[0]["id"], before[2]["id"]]
    interfaces = (await client.get(f"/compute/servers/{server['id']}/os-interface")).json()["interfaceAttachments"]
    assert [interface["port_id"] for interface in interfaces] == [before[0]["id"], before[2]["id"]]
