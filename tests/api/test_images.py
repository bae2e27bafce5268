"""Images: records, lists, and what may be changed by whom."""

import uuid

import pytest

from tests.api.client import Client

PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}
OLD_PATCH = {"content-type": "application/openstack-images-v2.0-json-patch"}
OCTETS = {"content-type": "application/octet-stream"}


async def change(caller: Client, image_id: str, *operations: tuple[str, str, object]) -> tuple[int, dict[str, object]]:
    body = [{"op": operation, "path": path, "value": value} for operation, path, value in operations]
    answer = await caller.patch(f"/image/images/{image_id}", body, headers=PATCH)
    return answer.status_code, answer.json()


async def test_an_image_begins_as_a_record_that_waits_for_bytes(client: Client) -> None:
    answer = await client.post(
        "/image/images",
        {
            "name": "cirros",
            "disk_format": "raw",
            "container_format": "bare",
            "hw_vif_model": "virtio",
            "tags": ["b", "a"],
        },
    )
    assert answer.status_code == 201
    image = answer.json()
    assert answer.headers["location"] == f"http://cloud.test:8774/image/v2/images/{image['id']}"
    expected = {
        "name": "cirros",
        "status": "queued",
        "visibility": "shared",
        "owner": client.project_id,
        "disk_format": "raw",
        "container_format": "bare",
        "size": None,
        "checksum": None,
        "protected": False,
        "os_hidden": False,
        "min_disk": 0,
        "min_ram": 0,
        "tags": ["a", "b"],
        "hw_vif_model": "virtio",
        "file": f"/v2/images/{image['id']}/file",
    }
    assert {name: image[name] for name in expected} == expected
    assert (await client.get(f"/image/images/{image['id']}")).json() == image


async def test_a_name_is_no_id(client: Client) -> None:
    await client.made("/image/images", {"name": "cirros"})
    assert (await client.get("/image/images/cirros")).status_code == 404
    found = (await client.get("/image/images?name=cirros")).json()["images"]
    assert [image["name"] for image in found] == ["cirros"]
    assert (await client.get("/image/images/")).status_code == 404
    assert (await client.delete("/image/images/")).status_code == 404


async def test_an_id_may_be_chosen_once_and_for_all(client: Client, other: Client) -> None:
    wanted = {"id": str(uuid.uuid4()), "name": "mine"}
    assert (await client.post("/image/images", wanted)).json()["id"] == wanted["id"]
    assert (await other.post("/image/images", wanted)).status_code == 409
    assert (await client.delete(f"/image/images/{wanted['id']}")).status_code == 204
    assert (await client.get(f"/image/images/{wanted['id']}")).status_code == 404
    assert (await client.delete(f"/image/images/{wanted['id']}")).status_code == 404
    # Hosts may still have the old bytes under it.
    assert (await client.post("/image/images", wanted)).status_code == 409
    assert (await client.post("/image/images", {"id": "cirros"})).status_code == 400


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"name": 7}, 400, "name"),
        ({"name": "x" * 256}, 400, "name"),
        ({"name": "a\x00b"}, 400, "name"),
        ({"disk_format": "wrong"}, 400, "disk_format"),
        ({"disk_format": "vmdk"}, 400, "disk_format"),
        ({"container_format": "ova"}, 400, "container_format"),
        ({"min_ram": -1}, 400, "min_ram"),
        ({"min_disk": 2**40}, 400, "min_disk"),
        ({"protected": "yes"}, 400, "protected"),
        ({"visibility": "nobody"}, 400, "visibility"),
        ({"tags": "a"}, 400, "tags"),
        ({"tags": ["x" * 256]}, 400, "tags"),
        ({"tags": [str(number) for number in range(129)]}, 413, "tags"),
        ({f"p{number}": "x" for number in range(129)}, 413, "properties"),
        ({"property": 7}, 400, "property"),
        ({"property": None}, 400, "property"),
        ({"property": {"a": "b"}}, 400, "property"),
        ({"p" * 256: "x"}, 400, "property"),
        ({"status": "active"}, 403, "status"),
        ({"size": 1}, 403, "size"),
        ({"os_glance_foo": "bar"}, 403, "os_glance_foo"),
        ({"locations": []}, 403, "locations"),
        ({"visibility": "public"}, 403, "public"),
        ({"owner": "0" * 32}, 403, "owned"),
        ([], 400, "body"),
    ],
)
async def test_what_an_image_cannot_be(client: Client, body: object, status: int, word: str) -> None:
    answer = await client.post("/image/images", body)
    assert (answer.status_code, word in answer.json()["error"]["message"]) == (status, True), answer.text


async def test_bodies_that_are_no_json(client: Client) -> None:
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for content in (
        b"",
        b"{",
        b"nonsense",
        b'{"name": "\\ud800"}',
        b"\xff\xfe",
        deep,
        b'{"name": ' + b"9" * 5000 + b"}",
    ):
        for method, path in (("POST", "/image/images"), ("PATCH", f"/image/images/{uuid.uuid4()}")):
            answer = await client.call(method, path, content=content, headers=PATCH if method == "PATCH" else {})
            assert answer.status_code in (400, 404), (content[:20], answer.text)


async def test_changes_are_patches_in_either_dialect(client: Client) -> None:
    image = await client.made("/image/images", {"name": "a", "color": "red", "size_of/it": "big"})
    status, changed = await change(
        client,
        image["id"],
        ("replace", "/name", "b"),
        ("add", "/shape", "round"),
        ("replace", "/color", "blue"),
        ("remove", "/size_of~1it", None),
        ("replace", "/tags", ["z", "y"]),
        ("replace", "/min_ram", 64),
        ("replace", "/protected", True),
    )
    assert status == 200
    assert changed["name"] == "b"
    assert (changed["shape"], changed["color"]) == ("round", "blue")
    assert "size_of/it" not in changed
    assert (changed["tags"], changed["min_ram"], changed["protected"]) == (["y", "z"], 64, True)
    old = [{"replace": "/name", "value": "c"}, {"remove": "/shape"}]
    answer = await client.patch(f"/image/images/{image['id']}", old, headers=OLD_PATCH)
    assert answer.status_code == 200
    assert answer.json()["name"] == "c"
    assert "shape" not in answer.json()
    assert (await client.get(f"/image/images/{image['id']}")).json() == answer.json()


async def test_a_patch_is_done_whole_or_not_at_all(client: Client) -> None:
    image = await client.made("/image/images", {"name": "a"})
    path = f"/image/images/{image['id']}"
    for operations, status in (
        ([("replace", "/name", "b"), ("replace", "/nothing", "x")], 409),
        ([("replace", "/name", "b"), ("remove", "/nothing", "x")], 409),
        ([("replace", "/name", "b"), ("remove", "/name", "x")], 403),
        ([("replace", "/name", "b"), ("replace", "/status", "active")], 403),
        ([("replace", "/name", "b"), ("replace", "/id", "x")], 403),
        ([("replace", "/name", "b"), ("add", "/os_glance_foo", "x")], 403),
        ([("replace", "/name", "b"), ("replace", "/visibility", "public")], 403),
        ([("replace", "/name", "b"), ("replace", "/owner", "0" * 32)], 403),
        ([("replace", "/name", "b"), ("replace", "/min_disk", "one")], 400),
        ([("replace", "/name", "b"), ("replace", "name", "x")], 400),
        ([("replace", "/name", "b"), ("replace", "/a/b", "x")], 400),
        ([("replace", "/name", "b"), ("replace", "/a~2", "x")], 400),
        ([("replace", "/name", "b"), ("move", "/name", "x")], 400),
    ):
        assert (await change(client, image["id"], *operations))[0] == status, operations
    for body in ({}, [7], [{"op": "add"}], [{"op": "add", "path": "/x"}], [{"op": "add", "path": 7, "value": "x"}]):
        assert (await client.patch(path, body, headers=PATCH)).status_code == 400, body
    assert (
        await client.patch(path, [{"add": "/a", "replace": "/b", "value": "x"}], headers=OLD_PATCH)
    ).status_code == 400
    assert (await client.patch(path, [])).status_code == 415
    assert (await client.get(path)).json() == image


async def test_what_belongs_to_others(client: Client, other: Client, admin: Client) -> None:
    private = await client.made("/image/images", {"name": "private", "visibility": "private"})
    path = f"/image/images/{private['id']}"
    assert (await other.get(path)).status_code == 404
    assert (await other.delete(path)).status_code == 404
    assert (await change(other, private["id"], ("replace", "/name", "x")))[0] == 404
    assert (await other.get(path + "/file")).status_code == 404
    assert (await other.put(path + "/tags/x")).status_code == 404
    assert (await admin.get(path)).status_code == 200

    public = await admin.made("/image/images", {"name": "public", "visibility": "public"})
    path = f"/image/images/{public['id']}"
    assert (await other.get(path)).status_code == 200
    assert (await other.delete(path)).status_code == 403
    assert (await change(other, public["id"], ("replace", "/name", "x")))[0] == 403
    assert (await other.put(path + "/tags/x")).status_code == 403
    upload = await other.call("PUT", path + "/file", content=b"x", headers=OCTETS)
    assert upload.status_code == 403
    assert (await other.post(path + "/actions/deactivate")).status_code == 403


async def test_a_reader_only_reads(cloud, client: Client) -> None:  # type: ignore[no-untyped-def]
    reader = await cloud.client("demo", "reader")
    image = await client.made("/image/images", {"name": "a"})
    path = f"/image/images/{image['id']}"
    assert (await reader.get(path)).status_code == 200
    assert (await reader.post("/image/images", {"name": "b"})).status_code == 403
    assert (await reader.delete(path)).status_code == 403
    assert (await change(reader, image["id"], ("replace", "/name", "x")))[0] == 403


async def names(caller: Client, query: str = "") -> list[str]:
    answer = await caller.get("/image/images" + query)
    assert answer.status_code == 200, answer.text
    return sorted(image["name"] for image in answer.json()["images"])


async def test_a_list_shows_what_the_caller_may_use(client: Client, other: Client, admin: Client) -> None:
    for caller, name, visibility in (
        (client, "mine", "private"),
        (client, "offered", "shared"),
        (client, "for-whom-it-may-concern", "community"),
        (other, "theirs", "private"),
        (admin, "everybodys", "public"),
    ):
        await caller.made("/image/images", {"name": name, "visibility": visibility})
    assert await names(client) == ["everybodys", "for-whom-it-may-concern", "mine", "offered"]
    assert await names(other) == ["everybodys", "theirs"]
    assert await names(other, "?visibility=community") == ["for-whom-it-may-concern"]
    assert await names(other, "?visibility=all") == ["everybodys", "for-whom-it-may-concern", "theirs"]
    assert await names(other, "?visibility=private") == ["theirs"]
    assert await names(client, "?visibility=shared") == ["offered"]
    assert await names(other, f"?owner={client.project_id}") == []
    assert await names(admin) == ["everybodys", "mine", "offered", "theirs"]
    assert (await client.get("/image/images?visibility=x")).status_code == 400


async def test_filters(client: Client) -> None:
    for name, more in (
        ("a", {"disk_format": "raw", "container_format": "bare", "tags": ["x", "y"], "min_ram": 64}),
        ("b", {"disk_format": "qcow2", "container_format": "bare", "tags": ["x"], "color": "red"}),
        ("c,d", {"disk_format": "raw", "os_hidden": True}),
        ("e", {"protected": True, 'odd"key': "1", "color": "red"}),
    ):
        await client.made("/image/images", {"name": name, **more})
    for query, expected in (
        ("", ["a", "b", "e"]),
        ("?os_hidden=true", ["c,d"]),
        ("?name=a", ["a"]),
        ("?name=in:a,e", ["a", "e"]),
        ('?os_hidden=true&name=in:"c,d",a', ["c,d"]),
        ("?disk_format=raw", ["a"]),
        ("?disk_format=in:raw,qcow2", ["a", "b"]),
        ("?container_format=bare&disk_format=qcow2", ["b"]),
        ("?status=queued", ["a", "b", "e"]),
        ("?status=active", []),
        ("?tag=x", ["a", "b"]),
        ("?tag=x&tag=y", ["a"]),
        ("?min_ram=64", ["a"]),
        ("?protected=true", ["e"]),
        ("?color=red", ["b", "e"]),
        ("?color=red&odd%22key=1", ["e"]),
        ("?color=blue", []),
        ("?size_min=1", []),
        ("?created_at=gt:2020-01-01T00:00:00Z", ["a", "b", "e"]),
        ("?created_at=lt:2020-01-01T00:00:00Z", []),
        ("?created_at=gte:2020-01-01T00:00:00%2B02:00&updated_at=neq:2020-01-01T00:00:00", ["a", "b", "e"]),
        ("?created_at=2020-01-01T00:00:00Z", []),
    ):
        assert await names(client, query) == expected, query
    exact = (await client.get("/image/images?name=a")).json()["images"][0]["created_at"]
    assert "a" in await names(client, f"?created_at=eq:{exact}")
    assert "a" in await names(client, f"?created_at=lte:{exact}&created_at=gte:{exact}")
    for query in (
        "?size_min=x",
        "?size_min=99999999999999999999",
        "?created_at=gt:now",
        "?created_at=0000",
        "?member_status=x",
        "?protected=x",
        "?os_hidden=x",
        "?name=in:a%0Ab",
    ):
        assert (await client.get("/image/images" + query)).status_code == 400, query


async def test_pages_and_order(client: Client) -> None:
    made = [await client.made("/image/images", {"name": name}) for name in ("b", "a", "d", "c", "a")]
    newest = [image["id"] for image in reversed(made)]
    whole = (await client.get("/image/images")).json()
    assert [image["id"] for image in whole["images"]] == newest
    assert "next" not in whole
    walked, path = [], "/v2/images?limit=2&sort_key=name&sort_key=created_at&sort_dir=asc"
    while path:
        page = (await client.get("/image" + path)).json()
        walked += [image["name"] for image in page["images"]]
        path = page.get("next")
    assert walked == ["a", "a", "b", "c", "d"]
    by_sort = (await client.get("/image/images?sort=name:desc,id:asc&limit=2")).json()
    assert [image["name"] for image in by_sort["images"]] == ["d", "c"]
    assert (await client.get("/image/images?sort=size:desc")).status_code == 200
    assert (await client.get("/image/images?limit=0")).json()["images"] == []
    for query in (
        "?limit=x",
        "?limit=-1",
        "?marker=nothing",
        f"?marker={uuid.uuid4()}",
        "?sort_key=color",
        "?sort=color:asc",
        "?sort=name:up",
        "?sort=name&sort_key=name",
        "?sort_key=name&sort_dir=asc&sort_dir=asc",
    ):
        assert (await client.get("/image/images" + query)).status_code == 400, query


async def test_tags(client: Client) -> None:
    image = await client.made("/image/images", {"name": "a"})
    path = f"/image/images/{image['id']}"
    for tag in ("red", "gr%C3%BCn", "red"):
        assert (await client.put(f"{path}/tags/{tag}")).status_code == 204
    assert (await client.get(path)).json()["tags"] == ["grün", "red"]
    assert (await client.delete(f"{path}/tags/red")).status_code == 204
    assert (await client.delete(f"{path}/tags/red")).status_code == 404
    assert (await client.put(f"{path}/tags/{'x' * 256}")).status_code == 400
    assert (await client.get(path)).json()["tags"] == ["grün"]


async def test_a_protected_image_stays(client: Client) -> None:
    image = await client.made("/image/images", {"name": "a", "protected": True})
    path = f"/image/images/{image['id']}"
    assert (await client.delete(path)).status_code == 403
    assert (await change(client, image["id"], ("replace", "/protected", False)))[0] == 200
    assert (await client.delete(path)).status_code == 204


async def test_an_administrator_may_give_away_and_publish(admin: Client, client: Client) -> None:
    image = await admin.made("/image/images", {"name": "a", "owner": client.project_id, "visibility": "private"})
    assert (await client.get(f"/image/images/{image['id']}")).json()["owner"] == client.project_id
    assert (await change(admin, image["id"], ("replace", "/visibility", "public")))[0] == 200
    # A public image of one's own may be changed, and be left public.
    assert (await change(client, image["id"], ("replace", "/visibility", "public"), ("add", "/x", "y")))[0] == 200


async def test_documents(cloud, client: Client) -> None:  # type: ignore[no-untyped-def]
    anonymous = cloud.anonymous()
    for path, status in (("/image", 300), ("/image/", 300), ("/image/versions", 200)):
        answer = await client.http.get(path)
        assert answer.status_code == status
        current = [version["id"] for version in answer.json()["versions"] if version["status"] == "CURRENT"]
        assert current == ["v2.9"]
        assert answer.json()["versions"][0]["links"][0]["href"] == "http://cloud.test:8774/image/v2/"
    for name in ("image", "images", "member", "members"):
        assert (await client.get(f"/image/schemas/{name}")).json()["name"] == name
    formats = (await client.get("/image/schemas/image")).json()["properties"]["disk_format"]["enum"]
    assert formats == [None, "raw", "qcow2", "iso", "ami", "aki", "ari"]
    assert (await client.get("/image/info/import")).json()["import-methods"]["value"] == []
    assert (await anonymous.get("/image/images")).status_code == 401
    assert (await client.get("/image/tasks")).status_code == 404
    assert (await client.put("/image/images", {})).status_code == 405
