"""Server groups."""

from typing import Any

import pytest

from tests.api.boots import image_of
from tests.api.client import Client


def group(policy: str, name: str = "pair", **more: Any) -> dict[str, Any]:
    return {"server_group": {"name": name, "policies": [policy], **more}}


async def test_a_group_is_made_shown_and_deleted(client: Client) -> None:
    answer = await client.post("/compute/os-server-groups", group("anti-affinity"))
    assert answer.status_code == 200
    made = answer.json()["server_group"]
    assert made == {
        "id": made["id"],
        "name": "pair",
        "policies": ["anti-affinity"],
        "members": [],
        "metadata": {},
    }
    path = f"/compute/os-server-groups/{made['id']}"
    assert (await client.get(path)).json()["server_group"] == made
    assert (await client.get("/compute/os-server-groups")).json()["server_groups"] == [made]
    owned = (await client.get(path, "2.13")).json()["server_group"]
    assert (owned["project_id"], owned["user_id"]) == (client.project_id, client.user_id)
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404


async def test_one_policy_with_rules_from_2_64_on(client: Client) -> None:
    body = {"server_group": {"name": "n", "policy": "anti-affinity", "rules": {"max_server_per_host": "3"}}}
    made = await client.made("/compute/os-server-groups", body, "2.64")
    assert (made["policy"], made["rules"]) == ("anti-affinity", {"max_server_per_host": 3})
    assert "policies" not in made
    assert (await client.post("/compute/os-server-groups", body, "2.63")).status_code == 400
    assert (await client.post("/compute/os-server-groups", group("affinity"), "2.64")).status_code == 400
    wrong = {"server_group": {"name": "n", "policy": "affinity", "rules": {"max_server_per_host": 3}}}
    assert (await client.post("/compute/os-server-groups", wrong, "2.64")).status_code == 400


async def test_soft_policies_came_with_2_15(client: Client) -> None:
    assert (await client.post("/compute/os-server-groups", group("soft-affinity"), "2.14")).status_code == 400
    assert (await client.post("/compute/os-server-groups", group("soft-affinity"), "2.15")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        group("closeness"),
        group("affinity", name=""),
        group("affinity", name="x" * 256),
        group("affinity", zzz=1),
        {"server_group": {"name": "n", "policies": []}},
        {"server_group": {"name": "n", "policies": ["affinity", "affinity"]}},
        {"server_group": {"name": "n"}},
        {"server_group": None},
        {},
    ],
)
async def test_bad_groups_are_refused(client: Client, body: Any) -> None:
    assert (await client.post("/compute/os-server-groups", body)).status_code == 400
    assert (await client.get("/compute/os-server-groups")).json() == {"server_groups": []}


async def test_groups_are_their_projects(client: Client, other: Client, admin: Client) -> None:
    made = await client.made("/compute/os-server-groups", group("affinity"))
    path = f"/compute/os-server-groups/{made['id']}"
    assert (await other.get(path)).status_code == 404
    assert (await other.delete(path)).status_code == 404
    assert (await other.get("/compute/os-server-groups?all_projects=1")).json() == {"server_groups": []}
    assert (await admin.get("/compute/os-server-groups")).json() == {"server_groups": []}
    listed = (await admin.get("/compute/os-server-groups?all_projects=1")).json()["server_groups"]
    assert [entry["id"] for entry in listed] == [made["id"]]


async def test_lists_come_in_the_order_of_creation_and_in_parts(client: Client) -> None:
    for name in ("z", "a", "m"):
        await client.made("/compute/os-server-groups", group("affinity", name=name))

    async def names(query: str) -> list[str]:
        listed = (await client.get(f"/compute/os-server-groups{query}")).json()["server_groups"]
        return [entry["name"] for entry in listed]

    assert await names("") == ["z", "a", "m"]
    assert await names("?limit=1&offset=1") == ["a"]
    assert (await client.get("/compute/os-server-groups?limit=x")).status_code == 400


async def test_there_is_a_limit_and_deleting_gives_back(client: Client, admin: Client) -> None:
    body = {"quota_set": {"server_groups": 1}}
    await admin.put(f"/compute/os-quota-sets/{client.project_id}", body)
    made = await client.made("/compute/os-server-groups", group("affinity"))
    refused = await client.post("/compute/os-server-groups", group("affinity"))
    assert refused.status_code == 403
    assert refused.json()["forbidden"]["message"] == "Quota exceeded, too many server groups."
    await client.delete(f"/compute/os-server-groups/{made['id']}")
    await client.made("/compute/os-server-groups", group("affinity"))


async def test_a_group_has_no_more_members_than_the_quota_says(client: Client, admin: Client) -> None:
    await admin.put(f"/compute/os-quota-sets/{client.project_id}", {"quota_set": {"server_group_members": 2}})
    made = await client.made("/compute/os-server-groups", group("affinity"))
    server = {"name": "vnf", "flavorRef": "42", "imageRef": await image_of(client), "networks": "none"}
    body = {"server": {**server, "min_count": 2}, "os:scheduler_hints": {"group": made["id"]}}
    assert (await client.post("/compute/servers", body, "2.60")).status_code == 202
    body["server"]["min_count"] = 1
    refused = await client.post("/compute/servers", body, "2.60")
    assert refused.status_code == 403
    assert refused.json()["forbidden"]["message"] == "Quota exceeded, too many servers in group"
    members = (await client.get(f"/compute/os-server-groups/{made['id']}")).json()["server_group"]["members"]
    assert len(members) == 2
    assert (await client.delete(f"/compute/servers/{members[0]}")).status_code == 204
    assert (await client.post("/compute/servers", body, "2.60")).status_code == 202
