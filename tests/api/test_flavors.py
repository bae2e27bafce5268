"""Flavors: what everybody sees, what administrators make of them."""

from typing import Any

import pytest

from tests.api.client import Client

NANO = {"name": "nano", "ram": 64, "vcpus": 1, "disk": 0}


async def names(client: Client, query: str = "") -> list[str]:
    answer = await client.get(f"/compute/flavors{query}")
    assert answer.status_code == 200, answer.text
    return [flavor["name"] for flavor in answer.json()["flavors"]]


async def test_a_new_cloud_has_the_flavors_examples_speak_of(client: Client) -> None:
    listed = (await client.get("/compute/flavors/detail")).json()["flavors"]
    tiny = next(flavor for flavor in listed if flavor["name"] == "m1.tiny")
    assert {key: tiny[key] for key in ("id", "ram", "vcpus", "disk", "swap")} == {
        "id": "1",
        "ram": 512,
        "vcpus": 1,
        "disk": 1,
        "swap": "",
    }
    assert tiny["OS-FLV-EXT-DATA:ephemeral"] == 0
    assert tiny["os-flavor-access:is_public"] is True
    assert tiny["links"][0] == {"rel": "self", "href": "http://cloud.test:8774/compute/v2.1/flavors/1"}
    assert (await client.get("/compute/flavors/1")).json()["flavor"] == tiny


async def test_views_grow_with_the_version(client: Client) -> None:
    old = (await client.get("/compute/flavors/1", "2.54")).json()["flavor"]
    described = (await client.get("/compute/flavors/1", "2.55")).json()["flavor"]
    specified = (await client.get("/compute/flavors/1", "2.61")).json()["flavor"]
    latest = (await client.get("/compute/flavors/1", "2.75")).json()["flavor"]
    assert described.keys() - old.keys() == {"description"}
    assert specified.keys() - described.keys() == {"extra_specs"}
    assert (specified["swap"], latest["swap"]) == ("", 0)
    assert "description" in (await client.get("/compute/flavors", "2.55")).json()["flavors"][0]


async def test_a_name_is_not_an_id(client: Client) -> None:
    assert (await client.get("/compute/flavors/m1.tiny")).status_code == 404


async def test_lists_are_filtered_sorted_and_paged(client: Client) -> None:
    assert await names(client, "?minRam=4096") == ["m1.medium", "m1.large", "m1.xlarge"]
    assert await names(client, "?minDisk=100") == ["m1.xlarge"]
    by_memory = await names(client, "?sort_key=memory_mb&sort_dir=desc")
    assert by_memory[0] == "m1.xlarge"
    first = (await client.get("/compute/flavors?limit=3")).json()
    assert len(first["flavors"]) == 3
    (link,) = first["flavors_links"]
    assert link["rel"] == "next"
    walked = [flavor["name"] for flavor in first["flavors"]]
    path = link["href"].removeprefix("http://cloud.test:8774")
    while path:
        page = (await client.get(path)).json()
        walked += [flavor["name"] for flavor in page["flavors"]]
        path = page.get("flavors_links", [{"href": ""}])[0]["href"].removeprefix("http://cloud.test:8774")
    assert walked == await names(client)


@pytest.mark.parametrize(
    "query",
    ["?limit=-1", "?limit=ten", "?marker=none", "?minRam=x", "?minDisk=-1", "?sort_key=zzz", "?sort_dir=up"],
)
async def test_bad_queries_name_the_parameter(client: Client, query: str) -> None:
    answer = await client.get(f"/compute/flavors{query}")
    assert answer.status_code == 400
    assert query[1:].split("=")[0].split("_")[0] in answer.json()["badRequest"]["message"]


async def test_unknown_parameters_are_ignored_until_they_are_refused(client: Client) -> None:
    assert (await client.get("/compute/flavors?colour=red", "2.74")).status_code == 200
    assert (await client.get("/compute/flavors?colour=red", "2.75")).status_code == 400


async def test_an_administrator_makes_describes_and_deletes_a_flavor(client: Client, admin: Client) -> None:
    made = await admin.made("/compute/flavors", {"flavor": {**NANO, "id": "vnf", "swap": "16"}})
    assert (made["id"], made["ram"], made["swap"], made["rxtx_factor"]) == ("vnf", 64, 16, 1.0)
    assert (await client.get("/compute/flavors/vnf")).json()["flavor"] == made
    described = await admin.put("/compute/flavors/vnf", {"flavor": {"description": "small"}}, "2.55")
    assert described.json()["flavor"]["description"] == "small"
    assert (await admin.put("/compute/flavors/vnf", {"flavor": {"description": "x"}}, "2.54")).status_code == 404
    assert (await admin.delete("/compute/flavors/vnf")).status_code == 202
    assert (await admin.delete("/compute/flavors/vnf")).status_code == 404


async def test_ids_are_drawn_where_none_is_given(admin: Client) -> None:
    made = await admin.made("/compute/flavors", {"flavor": {**NANO, "id": None}})
    assert len(made["id"]) == 36


async def test_names_and_ids_are_unique(admin: Client) -> None:
    await admin.made("/compute/flavors", {"flavor": {**NANO, "id": "vnf"}})
    same_id = await admin.post("/compute/flavors", {"flavor": {**NANO, "name": "other", "id": "vnf"}})
    same_name = await admin.post("/compute/flavors", {"flavor": {**NANO, "id": "other"}})
    assert (same_id.status_code, same_name.status_code) == (409, 409)
    assert same_name.json()["conflictingRequest"]["message"] == "Flavor with name nano already exists."


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " x"),
        ("name", "x" * 256),
        ("name", None),
        ("name", "a\u0000b"),
        ("ram", 0),
        ("ram", -1),
        ("ram", "many"),
        ("ram", 2**31),
        ("ram", 10**30),
        ("ram", "9" * 300),
        ("ram", True),
        ("ram", 1.5),
        ("vcpus", 0),
        ("disk", -1),
        ("swap", -1),
        ("id", ""),
        ("id", "a/b"),
        ("id", "x" * 256),
        ("rxtx_factor", 0),
        ("rxtx_factor", -1.0),
        ("rxtx_factor", 1e300),
        ("os-flavor-access:is_public", "perhaps"),
        ("description", "too early"),
        ("cpus", 1),
    ],
)
async def test_bad_fields_are_named(admin: Client, field: str, value: Any) -> None:
    before = await names(admin, "?is_public=None")
    answer = await admin.post("/compute/flavors", {"flavor": {**NANO, field: value}})
    assert answer.status_code == 400, answer.text
    assert field in answer.json()["badRequest"]["message"]
    assert await names(admin, "?is_public=None") == before


async def test_a_private_flavor_is_seen_by_those_it_is_given_to(client: Client, other: Client, admin: Client) -> None:
    await admin.made("/compute/flavors", {"flavor": {**NANO, "id": "p", "os-flavor-access:is_public": False}})
    assert (await client.get("/compute/flavors/p")).status_code == 404
    given = await admin.post("/compute/flavors/p/action", {"addTenantAccess": {"tenant": client.project_id}})
    assert given.json() == {"flavor_access": [{"flavor_id": "p", "tenant_id": client.project_id}]}
    assert (await client.get("/compute/flavors/p")).status_code == 200
    assert "nano" in await names(client)
    assert (await other.get("/compute/flavors/p")).status_code == 404
    assert "nano" not in await names(other)
    twice = await admin.post("/compute/flavors/p/action", {"addTenantAccess": {"tenant": client.project_id}})
    assert twice.status_code == 409
    assert (await admin.get("/compute/flavors/p/os-flavor-access")).json() == given.json()
    taken = await admin.post("/compute/flavors/p/action", {"removeTenantAccess": {"tenant": client.project_id}})
    assert taken.json() == {"flavor_access": []}
    again = await admin.post("/compute/flavors/p/action", {"removeTenantAccess": {"tenant": client.project_id}})
    assert again.status_code == 404
    assert (await client.get("/compute/flavors/p")).status_code == 404


async def test_is_public_chooses_what_administrators_see(client: Client, admin: Client) -> None:
    await admin.made("/compute/flavors", {"flavor": {**NANO, "os-flavor-access:is_public": False}})
    assert "nano" not in await names(admin)
    assert await names(admin, "?is_public=False") == ["nano"]
    assert {"nano", "m1.tiny"} <= set(await names(admin, "?is_public=None"))
    assert "nano" not in await names(client, "?is_public=None")
    assert (await admin.get("/compute/flavors?is_public=perhaps")).status_code == 400


async def test_access_to_what_everybody_has(client: Client, admin: Client) -> None:
    assert (await admin.get("/compute/flavors/1/os-flavor-access")).status_code == 404
    body = {"addTenantAccess": {"tenant": client.project_id}}
    assert (await admin.post("/compute/flavors/1/action", body, "2.7")).status_code == 409
    assert (await admin.post("/compute/flavors/1/action", body, "2.6")).status_code == 200
    unknown = await admin.post("/compute/flavors/1/action", {"addTenantAccess": {"tenant": "nobody"}}, "2.6")
    assert unknown.status_code == 400
    assert (await admin.post("/compute/flavors/1/action", {})).status_code == 400


async def test_extra_specs_are_added_changed_and_removed(client: Client, admin: Client) -> None:
    path = "/compute/flavors/1/os-extra_specs"
    specs = {"hw:cpu_policy": "shared", "vnf:kind": "router"}
    assert (await admin.post(path, {"extra_specs": specs})).json() == {"extra_specs": specs}
    assert (await client.get(path)).json() == {"extra_specs": specs}
    assert (await client.get(f"{path}/vnf:kind")).json() == {"vnf:kind": "router"}
    changed = await admin.put(f"{path}/vnf:kind", {"vnf:kind": 7})
    assert changed.json() == {"vnf:kind": "7"}
    assert (await client.get("/compute/flavors/1", "2.61")).json()["flavor"]["extra_specs"]["vnf:kind"] == "7"
    assert (await admin.put(f"{path}/vnf:kind", {"other": "x"})).status_code == 400
    assert (await admin.delete(f"{path}/vnf:kind")).status_code == 200
    assert (await admin.delete(f"{path}/vnf:kind")).status_code == 404
    assert (await client.get(f"{path}/vnf:kind")).status_code == 404
    assert (await client.post(path, {"extra_specs": specs})).status_code == 403


@pytest.mark.parametrize(
    ("key", "value"),
    [("hw:cpu_polcy", "shared"), ("hw:cpu_policy", "often"), ("hw:numa_nodes", "none"), ("resources:VGPU", "a")],
)
async def test_extra_specs_of_known_kinds_are_checked(admin: Client, key: str, value: str) -> None:
    path, body = "/compute/flavors/1/os-extra_specs", {"extra_specs": {key: value}}
    assert (await admin.post(path, body, "2.86")).status_code == 400
    assert (await admin.get(path)).json() == {"extra_specs": {}}
    assert (await admin.post(path, body, "2.85")).status_code == 200
    assert (await admin.get(path)).json() == body


@pytest.mark.parametrize("specs", [{}, {"a b": "x"}, {"": "x"}, {"a": None}, {"a": "x" * 256}, {"a": []}, []])
async def test_bad_extra_specs_are_refused(admin: Client, specs: Any) -> None:
    path = "/compute/flavors/1/os-extra_specs"
    assert (await admin.post(path, {"extra_specs": specs})).status_code == 400
    assert (await admin.get(path)).json() == {"extra_specs": {}}
