"""Shared images: offered to a project, accepted or not."""

from tests.api.client import Client


async def offered(owner: Client, to: Client) -> str:
    image = await owner.made("/image/images", {"name": "offered", "visibility": "shared"})
    answer = await owner.post(f"/image/images/{image['id']}/members", {"member": to.project_id})
    assert answer.status_code == 200
    expected = {"image_id": image["id"], "member_id": to.project_id, "status": "pending"}
    assert {name: answer.json()[name] for name in expected} == expected
    return str(image["id"])


async def listed(caller: Client, query: str = "") -> list[str]:
    return [image["id"] for image in (await caller.get("/image/images" + query)).json()["images"]]


async def test_an_offer_is_in_the_members_list_when_it_is_accepted(client: Client, other: Client) -> None:
    image_id = await offered(client, other)
    path = f"/image/images/{image_id}/members/{other.project_id}"
    assert (await other.get(f"/image/images/{image_id}")).status_code == 200
    assert await listed(other) == []
    assert await listed(other, "?visibility=shared&member_status=pending") == [image_id]
    accepted = await other.put(path, {"status": "accepted"})
    assert (accepted.status_code, accepted.json()["status"]) == (200, "accepted")
    assert await listed(other) == [image_id]
    assert (await other.put(path, {"status": "rejected"})).status_code == 200
    assert await listed(other) == []
    assert await listed(other, "?member_status=all") == [image_id]
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 404
    assert (await other.get(f"/image/images/{image_id}")).status_code == 404


async def test_who_may_do_what(client: Client, other: Client, admin: Client, cloud) -> None:  # type: ignore[no-untyped-def]
    image_id = await offered(client, other)
    stranger = await cloud.client("third", "member")
    members = f"/image/images/{image_id}/members"
    mine = f"{members}/{other.project_id}"
    assert (await client.put(mine, {"status": "accepted"})).status_code == 403
    assert (await other.put(mine, {"status": "perhaps"})).status_code == 400
    assert (await other.post(members, {"member": stranger.project_id})).status_code == 403
    assert (await other.delete(mine)).status_code == 403
    for call in (stranger.get(members), stranger.get(mine), stranger.put(mine, {"status": "accepted"})):
        assert (await call).status_code == 404
    assert (await client.post(members, {"member": other.project_id})).status_code == 409
    assert (await client.post(members, {"member": stranger.project_id})).status_code == 200
    assert (await client.post(members, {})).status_code == 400
    assert (await client.post(members, {"member": ""})).status_code == 400
    assert len((await client.get(members)).json()["members"]) == 2
    assert [member["member_id"] for member in (await other.get(members)).json()["members"]] == [other.project_id]
    assert (await other.get(f"{members}/{stranger.project_id}")).status_code == 404
    assert len((await admin.get(members)).json()["members"]) == 2


async def test_only_shared_images_have_members(client: Client, other: Client) -> None:
    image_id = await offered(client, other)
    headers = {"content-type": "application/openstack-images-v2.1-json-patch"}
    private = [{"op": "replace", "path": "/visibility", "value": "private"}]
    assert (await client.patch(f"/image/images/{image_id}", private, headers=headers)).status_code == 200
    assert (await client.get(f"/image/images/{image_id}/members")).status_code == 403
    assert (await client.post(f"/image/images/{image_id}/members", {"member": "x"})).status_code == 403
    assert (await other.get(f"/image/images/{image_id}")).status_code == 404
