"""Quotas of the network service, through HTTP."""

import pytest

from tests.api.client import Client
from tests.api.stock import make_network


async def test_limits_and_what_is_used_of_them(client: Client, admin: Client) -> None:
    await make_network(client)
    path = f"/network/quotas/{client.project_id}"
    quota = (await client.get(path)).json()["quota"]
    assert set(quota) == {
        "network",
        "subnet",
        "port",
        "router",
        "floatingip",
        "security_group",
        "security_group_rule",
    }
    details = (await client.get(path + "/details")).json()["quota"]
    assert details["network"] == {"limit": quota["network"], "used": 1, "reserved": 0}
    assert details["port"]["used"] == 0
    assert (await client.put(path, {"quota": {"network": 1}})).status_code == 403
    changed = await admin.put(path, {"quota": {"network": 1}})
    assert changed.status_code == 200
    assert changed.json()["quota"]["network"] == 1
    assert (await client.get(path + "/default")).json()["quota"] == quota
    assert [entry["project_id"] for entry in (await admin.get("/network/quotas")).json()["quotas"]] == [
        client.project_id
    ]
    assert (await admin.delete(path)).status_code == 204
    assert (await client.get(path)).json()["quota"] == quota


async def test_a_project_sees_its_own_limits_only(client: Client, other: Client) -> None:
    assert (await other.get(f"/network/quotas/{client.project_id}")).status_code == 403
    assert (await other.get("/network/quotas/tenant")).json()["tenant"]["tenant_id"] == other.project_id


async def test_over_quota_in_neutrons_words_and_nothing_made(client: Client, admin: Client) -> None:
    network = await make_network(client)
    await admin.put(f"/network/quotas/{client.project_id}", {"quota": {"port": 3, "network": 1, "subnet": 1}})
    ports = {"ports": [{"network_id": network}] * 4}
    refused = await client.post("/network/ports", ports)
    assert refused.status_code == 409
    assert refused.json()["NeutronError"] == {
        "type": "OverQuota",
        "message": "Quota exceeded for resources: ['port'].",
        "detail": "",
    }
    assert (await client.get("/network/ports")).json()["ports"] == []
    made = (await client.post("/network/ports", {"ports": ports["ports"][:3]})).json()["ports"]
    assert (await client.post("/network/ports", {"port": {"network_id": network}})).status_code == 409
    assert (await client.delete(f"/network/ports/{made[0]['id']}")).status_code == 204
    assert (await client.post("/network/ports", {"port": {"network_id": network}})).status_code == 201
    assert (await client.post("/network/networks", {"network": {}})).status_code == 409
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/24"}
    assert (await client.post("/network/subnets", {"subnet": subnet})).status_code == 409


async def test_groups_and_rules_are_counted_and_given_back(client: Client) -> None:
    async def used() -> tuple[int, int]:
        quota = (await client.get(f"/network/quotas/{client.project_id}/details")).json()["quota"]
        return quota["security_group"]["used"], quota["security_group_rule"]["used"]

    await client.get("/network/security-groups")
    assert await used() == (1, 4)
    group = await client.made("/network/security-groups", {"security_group": {"name": "web"}})
    assert await used() == (2, 6)
    rule = {"security_group_id": group["id"], "direction": "ingress", "remote_group_id": group["id"]}
    await client.made("/network/security-group-rules", {"security_group_rule": rule})
    assert await used() == (2, 7)
    assert (await client.delete(f"/network/security-groups/{group['id']}")).status_code == 204
    assert await used() == (1, 4)


async def test_a_limit_below_what_is_used_is_refused_unless_it_is_forced(client: Client, admin: Client) -> None:
    await make_network(client)
    path = f"/network/quotas/{client.project_id}"
    for asked in ({}, {"check_limit": True}, {"force": False}):
        refused = await admin.put(path, {"quota": {"network": 0, **asked}})
        assert refused.status_code == 400
        assert refused.json()["NeutronError"]["type"] == "InvalidQuotaValue"
    assert (await admin.put(path, {"quota": {"network": 1}})).status_code == 200
    assert (await admin.put(path, {"quota": {"network": "0", "check_limit": False}})).status_code == 200
    assert (await admin.put(path, {"quota": {"network": 0, "force": True}})).status_code == 200


async def test_what_is_no_projects_id(admin: Client) -> None:
    for project in ("a%00b", "x" * 65, "a%20b"):
        assert (await admin.put(f"/network/quotas/{project}", {"quota": {"port": 1}})).status_code == 404
        assert (await admin.get(f"/network/quotas/{project}")).status_code == 404


@pytest.mark.parametrize("quota", [{"port": -2}, {"port": "many"}, {"port": 2**40}, {"gold": 1}, {"port": None}, []])
async def test_limits_that_cannot_be(client: Client, admin: Client, quota: object) -> None:
    answer = await admin.put(f"/network/quotas/{client.project_id}", {"quota": quota})
    assert answer.status_code == 400
    assert (await admin.get("/network/quotas")).json()["quotas"] == []
