"""Addresses of servers, by network name."""

from tests.api.client import Client
from tests.api.stock import make_server


async def test_addresses_in_the_order_of_nics(client: Client) -> None:
    server = await make_server(client, nics=3)
    answer = await client.get(f"/compute/servers/{server['id']}/ips")
    found = answer.json()["addresses"]
    assert [entry.keys() for entry in found["net1"]] == [{"version", "addr"}] * 3
    assert [entry["addr"] for entry in found["net1"]] == [entry["addr"] for entry in server["addresses"]["net1"]]
    one = await client.get(f"/compute/servers/{server['id']}/ips/net1")
    assert one.json() == found
    assert (await client.get(f"/compute/servers/{server['id']}/ips/no-such")).status_code == 404
    assert (await client.get("/compute/servers/no-such/ips")).status_code == 404


async def test_both_versions_of_a_network(client: Client) -> None:
    network = await client.made("/network/networks", {"network": {"name": "dual"}})
    for version, cidr in ((4, "10.3.0.0/24"), (6, "2001:db8:3::/64")):
        subnet = {"network_id": network["id"], "ip_version": version, "cidr": cidr}
        await client.made("/network/subnets", {"subnet": subnet})
    server = await make_server(client)
    for _ in range(2):
        path = f"/compute/servers/{server['id']}/os-interface"
        await client.made(path, {"interfaceAttachment": {"net_id": network["id"]}})
    found = (await client.get(f"/compute/servers/{server['id']}/ips")).json()["addresses"]["dual"]
    assert [entry["version"] for entry in found] == [4, 6, 4, 6]
