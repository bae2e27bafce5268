"""What a project used in a span of time."""

import pytest

from tests.api.boots import image_of
from tests.api.client import Client
from tests.api.stock import make_image, make_server

EVER = "start=2020-01-01T00:00:00&end=2999-01-01T00:00:00"


async def test_use_is_counted_by_project_and_server(client: Client, other: Client, admin: Client) -> None:
    server = await make_server(client, flavor="2")
    gone = await make_server(client)
    await client.delete(f"/compute/servers/{gone['id']}")
    answer = await client.get(f"/compute/os-simple-tenant-usage/{client.project_id}?{EVER}")
    assert answer.status_code == 200
    usage = answer.json()["tenant_usage"]
    found = {entry["instance_id"]: entry for entry in usage["server_usages"]}
    assert found.keys() == {server["id"], gone["id"]}
    running, ended = found[server["id"]], found[gone["id"]]
    assert (running["flavor"], running["vcpus"], running["memory_mb"]) == ("m1.small", 1, 2048)
    assert (running["state"], running["ended_at"]) == ("active", None)
    assert ended["state"] == "terminated"
    assert ended["hours"] < 1 < running["hours"]
    assert usage["total_memory_mb_usage"] >= running["hours"] * 2048
    listed = (await admin.get(f"/compute/os-simple-tenant-usage?{EVER}")).json()["tenant_usages"]
    assert [entry["tenant_id"] for entry in listed] == [client.project_id]
    assert "server_usages" not in listed[0]
    none = await other.get(f"/compute/os-simple-tenant-usage/{other.project_id}?{EVER}")
    assert none.json()["tenant_usage"].items() >= {"total_hours": 0, "server_usages": []}.items()
    assert (await other.get(f"/compute/os-simple-tenant-usage/{client.project_id}")).status_code == 403


async def test_a_span_before_the_server_has_no_use(client: Client) -> None:
    await make_server(client)
    span = "start=2020-01-01&end=2020-02-01"
    answer = await client.get(f"/compute/os-simple-tenant-usage/{client.project_id}?{span}")
    assert answer.json()["tenant_usage"]["server_usages"] == []


async def test_servers_come_in_pages(client: Client) -> None:
    made = sorted([(await make_server(client))["id"] for _ in range(3)])
    path = f"/compute/os-simple-tenant-usage/{client.project_id}?{EVER}&limit=2"
    first = (await client.get(path, "2.40")).json()
    assert [entry["instance_id"] for entry in first["tenant_usage"]["server_usages"]] == made[:2]
    (link,) = first["tenant_usage_links"]
    second = (await client.get(link["href"].removeprefix("http://cloud.test:8774"), "2.40")).json()
    assert [entry["instance_id"] for entry in second["tenant_usage"]["server_usages"]] == made[2:]


@pytest.mark.parametrize("query", ["start=yesterday", "end=9", "start=2021-01-01&end=2020-01-01", "limit=-1"])
async def test_bad_spans_are_refused(client: Client, query: str) -> None:
    answer = await client.get(f"/compute/os-simple-tenant-usage/{client.project_id}?{query}", "2.40")
    assert answer.status_code == 400


async def test_before_pages_all_servers_count(client: Client, admin: Client) -> None:
    more = {"instances": -1, "cores": -1, "ram": -1}
    await admin.put(f"/compute/os-quota-sets/{client.project_id}", {"quota_set": more})
    await make_server(client)
    body = {"name": "v", "flavorRef": "42", "imageRef": await image_of(client), "networks": "none", "min_count": 1000}
    await client.made("/compute/servers", {"server": body}, "2.60")
    path = f"/compute/os-simple-tenant-usage/{client.project_id}?{EVER}"
    await client.until(path, lambda seen: len(seen.json()["tenant_usage"]["server_usages"]) == 1001)


async def test_a_project_with_more_servers_than_a_page_is_told_of_the_next(admin: Client) -> None:
    image = await make_image(admin)
    body = {"name": "s", "flavorRef": "42", "imageRef": image, "networks": "none"}
    for count in (1000, 3):
        await admin.made("/compute/servers", {"server": {**body, "min_count": count}}, "2.90")
    await admin.until("/compute/servers?status=BUILD&limit=1", lambda seen: seen.json()["servers"] == [], 60)
    path = f"/compute/os-simple-tenant-usage/{admin.project_id}?{EVER}"
    first = (await admin.get(path, "2.40")).json()
    assert len(first["tenant_usage"]["server_usages"]) == 1000
    following = first["tenant_usage_links"][0]["href"].removeprefix("http://cloud.test:8774")
    second = (await admin.get(following, "2.40")).json()
    assert len(second["tenant_usage"]["server_usages"]) == 3
    assert "tenant_usage_links" not in second
    used = [each["instance_id"] for page in (first, second) for each in page["tenant_usage"]["server_usages"]]
    assert len(set(used)) == 1003
