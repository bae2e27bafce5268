"""How many addresses networks have left, through HTTP."""

from tests.api.client import Client
from tests.api.stock import make_network


async def test_what_there_is_and_what_is_taken(admin: Client, client: Client) -> None:
    network = await make_network(client)
    (first,) = (await client.get(f"/network/subnets?network_id={network}")).json()["subnets"]
    pools = [{"start": "10.8.0.10", "end": "10.8.0.19"}]
    four = {"network_id": network, "ip_version": 4, "cidr": "10.8.0.0/24", "allocation_pools": pools}
    six = {"network_id": network, "ip_version": 6, "cidr": "fd00:8::/64", "gateway_ip": None}
    made = [(await client.post("/network/subnets", {"subnet": subnet})).json()["subnet"] for subnet in (four, six)]
    fixed = [{"subnet_id": made[0]["id"]}, {"subnet_id": made[0]["id"], "ip_address": "10.8.0.200"}]
    await client.post("/network/ports", {"port": {"network_id": network, "fixed_ips": fixed}})
    path = f"/network/network-ip-availabilities/{network}"
    shown = (await admin.get(path)).json()["network_ip_availability"]
    assert [
        (subnet["subnet_id"], subnet["cidr"], subnet["total_ips"], subnet["used_ips"])
        for subnet in shown["subnet_ip_availability"]
    ] == [
        (first["id"], first["cidr"], 253, 0),
        (made[0]["id"], "10.8.0.0/24", 10, 2),
        (made[1]["id"], "fd00:8::/64", 2**64 - 1, 0),
    ]
    assert (shown["total_ips"], shown["used_ips"]) == (2**64 + 262, 2)
    assert (shown["network_id"], shown["project_id"]) == (network, client.project_id)
    only = (await admin.get(f"/network/network-ip-availabilities?ip_version=4&network_id={network}")).json()
    assert [entry["total_ips"] for entry in only["network_ip_availabilities"]] == [263]


async def test_they_are_for_administrators(admin: Client, client: Client) -> None:
    network = await make_network(client)
    assert (await client.get("/network/network-ip-availabilities")).status_code == 403
    assert (await client.get(f"/network/network-ip-availabilities/{network}")).status_code == 403
    missing = await admin.get("/network/network-ip-availabilities/00000000-0000-4000-8000-000000000000")
    assert missing.status_code == 404
    assert missing.json()["NeutronError"]["type"] == "NetworkNotFound"


async def test_a_filter_that_is_none_is_named(admin: Client) -> None:
    for query, name in (("ip_version=5", "ip_version"), ("color=red", "color")):
        refused = await admin.get(f"/network/network-ip-availabilities?{query}")
        assert refused.status_code == 400
        assert name in refused.json()["NeutronError"]["message"]
    by_name = await admin.get("/network/network-ip-availabilities?network_name=none&fields=network_id")
    assert by_name.json() == {"network_ip_availabilities": []}
