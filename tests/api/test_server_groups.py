"""Server groups."""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from polyport.compute import reports
from polyport.db.engine import Tx
from polyport.ids import HostName
from polyport.plan import HostReport
from tests.api.boots import image_of, nothing_left
from tests.api.client import Client, TestCloud
from tests.api.stock import make_network
from tests.api.test_plans import FACTS


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


async def add_hosts(cloud: TestCloud, *names: str) -> None:
    """Hosts beside the cloud's own, `localhost`."""

    def register(tx: Tx) -> None:
        for name in names:
            reports.record(tx, HostReport(host=HostName(name), facts=FACTS))

    await cloud.cloud.database.write(register)


async def boot_into(client: Client, group_id: str | None, count: int = 1, **more: Any) -> httpx.Response:
    server = {"name": "vnf", "flavorRef": "42", "imageRef": await image_of(client), "networks": "none", **more}
    body = {"server": {**server, "min_count": count, "max_count": count}}
    hints = {} if group_id is None else {"os:scheduler_hints": {"group": group_id}}
    return await client.post("/compute/servers", {**body, **hints}, "2.74")


async def homes(admin: Client) -> Sequence[str]:
    """The hosts of all servers, in alphabetical order."""
    servers = (await admin.get("/compute/servers/detail?all_tenants=1")).json()["servers"]
    return sorted(server["OS-EXT-SRV-ATTR:host"] for server in servers)


async def test_servers_of_one_request_see_each_other(client: Client, admin: Client, cloud: TestCloud) -> None:
    await add_hosts(cloud, "second", "third")
    apart = await client.made("/compute/os-server-groups", group("anti-affinity"))
    too_many = await boot_into(client, apart["id"], 4)
    assert too_many.status_code == 409
    assert "wants its servers on different hosts" in too_many.json()["conflictingRequest"]["message"]
    assert await nothing_left(client)
    network_id = await make_network(client)
    assert (await boot_into(client, apart["id"], 3, networks=[{"uuid": network_id}] * 2)).status_code == 202
    assert await homes(admin) == ["localhost", "second", "third"]
    ports = (await admin.get(f"/network/ports?network_id={network_id}")).json()["ports"]
    assert sorted(port["binding:host_id"] for port in ports) == ["localhost"] * 2 + ["second"] * 2 + ["third"] * 2
    for name in ("localhost", "second", "third"):
        found = await admin.get(f"/compute/os-hypervisors/detail?hypervisor_hostname_pattern={name}", "2.53")
        assert found.json()["hypervisors"][0]["running_vms"] == 1
    assert (await boot_into(client, apart["id"])).status_code == 409


async def test_as_many_on_one_host_as_the_rule_says(client: Client, admin: Client, cloud: TestCloud) -> None:
    await add_hosts(cloud, "second")
    body = {"server_group": {"name": "n", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}}
    pairs = await client.made("/compute/os-server-groups", body, "2.64")
    assert (await boot_into(client, pairs["id"], 5)).status_code == 409
    assert (await boot_into(client, pairs["id"], 4)).status_code == 202
    assert await homes(admin) == ["localhost", "localhost", "second", "second"]


async def test_servers_of_one_request_stay_together(client: Client, admin: Client, cloud: TestCloud) -> None:
    await add_hosts(cloud, "second")
    together = await client.made("/compute/os-server-groups", group("affinity"))
    assert (await boot_into(client, together["id"], 3)).status_code == 202
    assert len(set(await homes(admin))) == 1


async def test_servers_of_one_request_share_the_hosts_out(client: Client, admin: Client, cloud: TestCloud) -> None:
    await add_hosts(cloud, "second", "third")
    body = {"host": "localhost", "binary": "nova-compute"}
    assert (await admin.put("/compute/os-services/disable", body)).status_code == 200
    assert (await boot_into(client, None, 4)).status_code == 202
    assert await homes(admin) == ["second", "second", "third", "third"]


async def test_a_host_that_is_named_and_that_its_group_rules_out(admin: Client, cloud: TestCloud) -> None:
    await add_hosts(cloud, "second")
    apart = await admin.made("/compute/os-server-groups", group("anti-affinity"))
    assert (await boot_into(admin, apart["id"], host="second")).status_code == 202
    for count, name in ((1, "second"), (2, "localhost")):
        refused = await boot_into(admin, apart["id"], count, host=name)
        assert refused.status_code == 409
        message = refused.json()["conflictingRequest"]["message"]
        assert message.endswith(f"server group {apart['id']}, anti-affinity, rules out host {name}.")
    together = await admin.made("/compute/os-server-groups", group("affinity"))
    assert (await boot_into(admin, together["id"], host="second")).status_code == 202
    refused = await boot_into(admin, together["id"], availability_zone="nova:localhost")
    assert refused.status_code == 409
    assert refused.json()["conflictingRequest"]["message"].endswith(", affinity, rules out host localhost.")
    missing = await boot_into(admin, together["id"], host="nowhere")
    assert missing.status_code == 400
    assert missing.json()["badRequest"]["message"] == "Compute host nowhere could not be found."
    assert await homes(admin) == ["second", "second"]
