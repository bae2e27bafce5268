"""Projects, their tree and their tags."""

import pytest

from tests.api.client import Client, TestCloud

PROJECTS = "/identity/v3/projects"


async def test_a_projects_life(admin: Client) -> None:
    answer = await admin.post(PROJECTS, {"project": {"name": "vnf", "description": "d", "budget": 7}})
    assert answer.status_code == 201
    project = answer.json()["project"]
    expected = {
        "name": "vnf",
        "description": "d",
        "budget": 7,
        "domain_id": "default",
        "parent_id": "default",
        "is_domain": False,
        "enabled": True,
        "tags": [],
        "options": {},
    }
    assert {name: project[name] for name in expected} == expected
    path = f"{PROJECTS}/{project['id']}"
    assert (await admin.get(path)).json()["project"] == project
    change = {"project": {"name": "vnf2", "enabled": False, "budget": 8, "tags": ["t"]}}
    changed = (await admin.patch(path, change)).json()["project"]
    assert (changed["name"], changed["enabled"], changed["budget"], changed["tags"]) == ("vnf2", False, 8, ["t"])
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.get(path)).status_code == 404
    assert (await admin.delete(path)).status_code == 404
    assert (await admin.patch(path, change)).status_code == 404


async def test_names_find_projects(admin: Client) -> None:
    await admin.made(PROJECTS, {"project": {"name": "vnf"}})
    assert (await admin.get(PROJECTS + "/vnf")).status_code == 404
    found = (await admin.get(PROJECTS + "?name=vnf&domain_id=default")).json()["projects"]
    assert [project["name"] for project in found] == ["vnf"]
    assert (await admin.get(PROJECTS + "?name=vnf&is_domain=true")).json()["projects"] == []
    assert (await admin.post(PROJECTS, {"project": {"name": "vnf"}})).status_code == 409


async def test_a_project_may_be_below_another(admin: Client) -> None:
    above = await admin.made(PROJECTS, {"project": {"name": "l1", "parent_id": "default"}})
    first = above
    for level in range(2, 6):
        below = {"name": f"l{level}", "parent_id": above["id"]}
        above = await admin.made(PROJECTS, {"project": below})
        assert above["parent_id"] == below["parent_id"]
    too_deep = {"project": {"name": "l6", "parent_id": above["id"]}}
    assert (await admin.post(PROJECTS, too_deep)).status_code == 403
    assert (await admin.delete(f"{PROJECTS}/{first['id']}")).status_code == 403
    found = (await admin.get(f"{PROJECTS}?parent_id={first['id']}")).json()["projects"]
    assert [project["name"] for project in found] == ["l2"]
    assert (await admin.delete(f"{PROJECTS}/{above['id']}")).status_code == 204
    moved = {"project": {"parent_id": first["id"]}}
    assert (await admin.patch(f"{PROJECTS}/{first['id']}", moved)).status_code == 403
    same = {"project": {"parent_id": "default", "domain_id": "default", "is_domain": False}}
    assert (await admin.patch(f"{PROJECTS}/{first['id']}", same)).status_code == 200


@pytest.mark.parametrize(
    ("project", "status", "word"),
    [
        ({}, 400, "name"),
        ({"name": "x" * 65}, 400, "name"),
        ({"name": "x", "domain_id": "no-such"}, 404, "domain"),
        ({"name": "x", "parent_id": "no-such"}, 404, "project"),
        ({"name": "x", "is_domain": True}, 400, "is_domain"),
        ({"name": "x", "tags": ["a,b"]}, 400, "tags"),
        ({"name": "x", "tags": [str(number) for number in range(81)]}, 400, "tags"),
        ({"name": "x", "options": {"immutable": True}}, 400, "immutable"),
        ({"name": "x", "description": "a\x00"}, 400, "description"),
    ],
)
async def test_what_a_project_cannot_be(admin: Client, project: object, status: int, word: str) -> None:
    answer = await admin.post(PROJECTS, {"project": project})
    assert (answer.status_code, word in answer.json()["error"]["message"]) == (status, True), answer.text


async def test_tags(admin: Client) -> None:
    project = await admin.made(PROJECTS, {"project": {"name": "a", "tags": ["x", "x"]}})
    await admin.made(PROJECTS, {"project": {"name": "b", "tags": ["x", "y"]}})
    path = f"{PROJECTS}/{project['id']}/tags"
    assert (await admin.put(path + "/z")).status_code == 201
    assert (await admin.get(path)).json()["tags"] == ["x", "z"]
    assert (await admin.get(path + "/z")).status_code == 204
    assert (await admin.get(path + "/y")).status_code == 404
    assert (await admin.put(path + "/a,b")).status_code == 400

    async def tagged(query: str) -> list[str]:
        found = (await admin.get(PROJECTS + query)).json()["projects"]
        return [one["name"] for one in found if one["name"] in "ab"]

    assert await tagged("?tags=x") == ["a", "b"]
    assert await tagged("?tags=x,z") == ["a"]
    assert await tagged("?tags-any=y,z") == ["a", "b"]
    assert await tagged("?not-tags=x,y") == ["a"]
    assert await tagged("?not-tags-any=z") == ["b"]
    assert (await admin.delete(path + "/z")).status_code == 204
    assert (await admin.delete(path + "/z")).status_code == 404
    assert (await admin.put(path, {"tags": ["m", "l"]})).json()["tags"] == ["l", "m"]
    assert (await admin.put(path, {"tags": "m"})).status_code == 400
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.get(path)).json()["tags"] == []


async def test_a_member_sees_its_own_project_only(cloud: TestCloud, client: Client, other: Client) -> None:
    mine = f"{PROJECTS}/{client.project_id}"
    assert (await client.get(mine)).json()["project"]["name"] == "demo"
    assert (await client.get(mine + "/tags")).status_code == 200
    for call in (
        other.get(mine),
        other.get(mine + "/tags"),
        client.get(f"{PROJECTS}/{'0' * 32}"),
        client.get(PROJECTS),
        client.post(PROJECTS, {"project": {"name": "x"}}),
        client.patch(mine, {"project": {"name": "x"}}),
        client.delete(mine),
    ):
        assert (await call).status_code == 403
