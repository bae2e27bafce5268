"""Lists of servers: filters, sorting, pages, and who may ask for what."""

from typing import Any

import pytest

from tests.api.client import Client
from tests.api.stock import make_image, make_network


async def names(client: Client, query: str = "", version: str | None = None) -> list[str]:
    answer = await client.get(f"/compute/servers{query}", version)
    assert answer.status_code == 200, answer.text
    return [server["name"] for server in answer.json()["servers"]]


async def three(client: Client, **more: Any) -> dict[str, str]:
    """Servers `web-1`, `web-2` and `DB`: name -> id."""
    image_id = await make_image(client)
    network_id = await make_network(client)
    made = {}
    for name in ("web-1", "web-2", "DB"):
        body = {
            "name": name,
            "flavorRef": "42" if name != "DB" else "84",
            "imageRef": image_id,
            "networks": [{"uuid": network_id}] * 2,
            "tags": [name, "all"],
            **more,
        }
        answer = await client.post("/compute/servers", {"server": body}, "2.52")
        assert answer.status_code == 202, answer.text
        made[name] = answer.json()["server"]["id"]
        path = f"/compute/servers/{made[name]}"
        await client.until(path, lambda seen: seen.json()["server"]["status"] == "ACTIVE")
    return made


async def test_newest_first_and_in_pages(client: Client) -> None:
    made = await three(client)
    assert await names(client) == ["DB", "web-2", "web-1"]
    assert await names(client, "/detail") == ["DB", "web-2", "web-1"]
    first = (await client.get("/compute/servers?limit=2&name=e")).json()
    assert [server["name"] for server in first["servers"]] == ["web-2", "web-1"]
    seen = []
    path = "/compute/servers/detail?limit=1"
    while path:
        page = (await client.get(path)).json()
        seen += [server["name"] for server in page["servers"]]
        following = [link["href"] for link in page.get("servers_links", []) if link["rel"] == "next"]
        path = following[0].replace("http://cloud.test:8774", "") if following else ""
    assert seen == ["DB", "web-2", "web-1"]
    assert await names(client, f"?marker={made['web-2']}") == ["web-1"]
    assert await names(client, "?sort_key=display_name&sort_dir=asc") == ["DB", "web-1", "web-2"]
    assert await names(client, "?sort_key=display_name") == ["web-2", "web-1", "DB"]
    assert await names(client, f"?sort_key=display_name&sort_dir=asc&marker={made['DB']}&limit=1") == ["web-1"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?name=web", ["web-2", "web-1"]),
        ("?name=WEB", ["web-2", "web-1"]),
        ("?name=^web-%5B0-9%5D%2B$", ["web-2", "web-1"]),
        ("?name=^.*-1$", ["web-1"]),
        ("?name=^eb", []),
        ("?name=DB|2$", ["DB", "web-2"]),
        ("?name=%25", []),
        ("?status=ACTIVE", ["DB", "web-2", "web-1"]),
        ("?status=active&status=ERROR", ["DB", "web-2", "web-1"]),
        ("?status=SHUTOFF", []),
        ("?status=nonsense", []),
        ("?flavor=84", ["DB"]),
        ("?flavor=no-such", []),
        ("?image=no-such", []),
        ("?ip=10.0.0.", ["DB", "web-2", "web-1"]),
        ("?ip=10.0.0.5", ["web-2"]),
        ("?ip=0.0.5", []),
        ("?ip=^10.*5$", ["web-2"]),
        ("?ip=192|0.5", []),
        ("?changes-since=2001-01-01T00:00:00Z", ["DB", "web-2", "web-1"]),
        ("?changes-since=2101-01-01T00:00:00Z", []),
        ("?unknown=5", ["DB", "web-2", "web-1"]),
        ("?host=nowhere", ["DB", "web-2", "web-1"]),
        ("?limit=0", []),
    ],
)
async def test_filters(client: Client, query: str, found: list[str]) -> None:
    await three(client)
    assert await names(client, query) == found
    assert await names(client, f"/detail{query}") == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?tags=all", ["DB", "web-2", "web-1"]),
        ("?tags=all,DB", ["DB"]),
        ("?tags-any=DB,web-1", ["DB", "web-1"]),
        ("?not-tags=all,DB", ["web-2", "web-1"]),
        ("?not-tags-any=DB,web-1", ["web-2"]),
    ],
)
async def test_filters_by_tags(client: Client, query: str, found: list[str]) -> None:
    await three(client)
    assert await names(client, query, "2.26") == found
    assert await names(client, query, "2.25") == ["DB", "web-2", "web-1"]


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("?limit=-1", None),
        ("?limit=x", None),
        ("?limit=99999999999999999999", None),
        ("?marker=no-such", None),
        ("?sort_key=no-such", None),
        ("?sort_dir=up&sort_key=uuid", None),
        ("?changes-since=2011/01/01", None),
        ("?changes-since=yesterday", None),
        ("?status=nonsense", "2.38"),
        ("?unknown=5", "2.75"),
        ("?name=(", None),
        ("?name=[", None),
        ("?name=" + "a" * 300 + "*", None),
        ("?locked=maybe", "2.73"),
        ("?sort_key=locked", "2.72"),
    ],
)
async def test_bad_queries_are_refused(client: Client, query: str, version: str | None) -> None:
    assert (await client.get(f"/compute/servers{query}", version)).status_code == 400
    assert (await client.get(f"/compute/servers/detail{query}", version)).status_code == 400


@pytest.mark.parametrize("key", ["host", "node", "launched_on"])
async def test_only_administrators_sort_by_host(client: Client, admin: Client, key: str) -> None:
    refused = await client.get(f"/compute/servers?sort_key=display_name&sort_key={key}")
    assert refused.status_code == 403
    assert refused.json()["forbidden"]["message"] == f"Only administrators can sort servers by {key}"
    assert await names(admin, f"?sort_key={key}") == []


async def test_each_project_sees_its_own(client: Client, other: Client, admin: Client) -> None:
    await three(client)
    assert await names(other) == []
    assert await names(admin) == []
    assert await names(admin, "?all_tenants=1") == ["DB", "web-2", "web-1"]
    assert await names(admin, f"?all_tenants=1&project_id={other.project_id}") == []
    assert await names(admin, f"?all_tenants&tenant_id={client.project_id}&name=DB") == ["DB"]
    assert (await client.get("/compute/servers?all_tenants=1")).status_code == 403
    assert (await client.get("/compute/servers?status=DELETED")).status_code == 403
    assert await names(client, "?all_tenants=0") == ["DB", "web-2", "web-1"]


async def test_filters_of_administrators_and_of_later_versions(client: Client, admin: Client) -> None:
    made = await three(client)
    assert await names(admin, "?all_tenants=1&host=nowhere") == []
    assert await names(admin, f"?all_tenants=1&uuid={made['DB']}") == ["DB"]
    assert await names(admin, f"?all_tenants=1&user_id={client.user_id}&power_state=1") == ["DB", "web-2", "web-1"]
    assert await names(client, "?vm_state=stopped", "2.82") == ["DB", "web-2", "web-1"]
    assert await names(client, "?vm_state=stopped", "2.83") == []
    assert await names(client, "?task_state=None", "2.83") == ["DB", "web-2", "web-1"]
    await client.post(f"/compute/servers/{made['DB']}/action", {"lock": {}})
    assert await names(client, "?locked=true", "2.73") == ["DB"]
    assert await names(client, "?locked=true", "2.72") == ["DB", "web-2", "web-1"]


async def test_what_changed_and_what_is_no_more(client: Client, admin: Client) -> None:
    made = await three(client)
    stamp = (await client.get(f"/compute/servers/{made['DB']}")).json()["server"]["updated"]
    assert (await client.delete(f"/compute/servers/{made['web-1']}")).status_code == 204
    assert await names(client) == ["DB", "web-2"]
    answer = await client.get(f"/compute/servers/detail?changes-since={stamp}")
    states = {server["name"]: server["status"] for server in answer.json()["servers"]}
    assert states["web-1"] == "DELETED"
    assert await names(client, f"?changes-before={stamp}", "2.65") == ["DB", "web-2"]
    assert "web-1" not in await names(client, "?changes-before=2001-01-01T00:00:00Z", "2.66")
    assert await names(admin, "?all_tenants=1&deleted=true") == ["web-1"]
    assert await names(admin, "?all_tenants=1&status=deleted") == ["web-1"]
