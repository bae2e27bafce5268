"""Roles, who has them where, and the lists of that."""

from typing import Any

from tests.api.client import Client

V3 = "/identity/v3"


async def role_id(admin: Client, name: str) -> str:
    return str((await admin.get(f"{V3}/roles?name={name}")).json()["roles"][0]["id"])


async def test_the_roles_of_openstack_are_there_and_stay(admin: Client, client: Client) -> None:
    names = [role["name"] for role in (await admin.get(f"{V3}/roles")).json()["roles"]]
    assert names == ["admin", "manager", "member", "reader", "service"]
    reader = await role_id(admin, "reader")
    assert (await admin.delete(f"{V3}/roles/{reader}")).status_code == 403
    assert (await admin.patch(f"{V3}/roles/{reader}", {"role": {"name": "x"}})).status_code == 403
    assert (await admin.patch(f"{V3}/roles/{reader}", {"role": {"description": "x"}})).status_code == 200
    assert (await client.get(f"{V3}/roles")).status_code == 403
    rules = (await admin.get(f"{V3}/role_inferences")).json()["role_inferences"]
    assert {rule["prior_role"]["name"] for rule in rules} == {"admin", "manager", "member"}


async def test_a_roles_life(admin: Client, client: Client) -> None:
    role = await admin.made(f"{V3}/roles", {"role": {"name": "auditor", "color": "red"}})
    assert (role["name"], role["domain_id"], role["color"]) == ("auditor", None, "red")
    path = f"{V3}/roles/{role['id']}"
    assert (await admin.get(path)).json()["role"] == role
    assert (await admin.post(f"{V3}/roles", {"role": {"name": "auditor"}})).status_code == 409
    assert (await admin.patch(path, {"role": {"name": "member"}})).status_code == 409
    assert (await admin.patch(path, {"role": {"name": "checker"}})).json()["role"]["name"] == "checker"
    assert (await admin.post(f"{V3}/roles", {"role": {"name": "x", "domain_id": "default"}})).status_code == 400
    assert (await admin.get(f"{V3}/roles?domain_id=default")).json()["roles"] == []
    mine = f"{V3}/projects/{client.project_id}/users/{client.user_id}/roles"
    assert (await admin.put(f"{mine}/{role['id']}")).status_code == 204
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.get(path)).status_code == 404
    assert [one["name"] for one in (await admin.get(mine)).json()["roles"]] == ["member"]


async def test_roles_are_given_and_taken_in_all_three_places(admin: Client, client: Client) -> None:
    reader = await role_id(admin, "reader")
    for place in (f"{V3}/projects/{client.project_id}", f"{V3}/domains/default", f"{V3}/system"):
        roles = f"{place}/users/{client.user_id}/roles"
        path = f"{roles}/{reader}"
        assert (await admin.call("HEAD", path)).status_code == 404
        for _ in range(2):
            assert (await admin.put(path)).status_code == 204
        assert (await admin.call("HEAD", path)).status_code == 204
        assert (await admin.get(path)).status_code == 204
        assert "reader" in [role["name"] for role in (await admin.get(roles)).json()["roles"]]
        assert (await client.put(path)).status_code == 403
        assert (await admin.delete(path)).status_code == 204
        assert (await admin.delete(path)).status_code == 404


async def test_what_is_not_there_cannot_be_assigned(admin: Client, client: Client) -> None:
    reader, nothing = await role_id(admin, "reader"), "0" * 32
    for path in (
        f"{V3}/projects/{nothing}/users/{client.user_id}/roles/{reader}",
        f"{V3}/projects/{client.project_id}/users/{nothing}/roles/{reader}",
        f"{V3}/projects/{client.project_id}/users/{client.user_id}/roles/{nothing}",
        f"{V3}/domains/{nothing}/users/{client.user_id}/roles/{reader}",
        f"{V3}/system/users/{nothing}/roles/{reader}",
    ):
        assert (await admin.put(path)).status_code == 404
    assert (await admin.get(f"{V3}/projects/{nothing}/users/{client.user_id}/roles")).status_code == 404


async def assignments(admin: Client, query: str) -> list[dict[str, Any]]:
    answer = await admin.get(f"{V3}/role_assignments?{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["role_assignments"])


async def test_assignments_are_listed(admin: Client, client: Client, other: Client) -> None:
    member, reader = await role_id(admin, "member"), await role_id(admin, "reader")
    (mine,) = await assignments(admin, f"user.id={client.user_id}")
    path = f"{V3}/projects/{client.project_id}/users/{client.user_id}/roles/{member}"
    assert mine == {
        "role": {"id": member},
        "user": {"id": client.user_id},
        "scope": {"project": {"id": client.project_id}},
        "links": {"assignment": "http://cloud.test:8774" + path},
    }
    assert await assignments(admin, f"scope.project.id={client.project_id}") == [mine]
    assert mine in await assignments(admin, f"role.id={member}")
    assert await assignments(admin, f"role.id={reader}&user.id={client.user_id}") == []
    assert await assignments(admin, f"scope.domain.id=default&user.id={client.user_id}") == []
    assert await assignments(admin, f"group.id={'0' * 32}") == []
    system = await assignments(admin, "scope.system=all")
    assert [one["scope"] for one in system] == [{"system": {"all": True}}]
    (named,) = await assignments(admin, f"user.id={client.user_id}&include_names")
    domain = {"id": "default", "name": "Default"}
    assert named["role"] == {"id": member, "name": "member"}
    assert named["user"] == {"id": client.user_id, "name": "demo-member", "domain": domain}
    assert named["scope"]["project"] == {"id": client.project_id, "name": "demo", "domain": domain}
    effective = await assignments(admin, f"user.id={client.user_id}&effective=true")
    assert {one["role"]["id"] for one in effective} == {member, reader}
    (implied,) = await assignments(admin, f"user.id={client.user_id}&effective&role.id={reader}")
    assert "prior_role" in implied["links"]
    assert (await client.get(f"{V3}/role_assignments")).status_code == 403
