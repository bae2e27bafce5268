"""Tags of servers."""

from typing import Any

import pytest

from tests.api.client import Client
from tests.api.stock import make_server


async def tags(client: Client, server_id: str) -> list[str]:
    answer = await client.get(f"/compute/servers/{server_id}/tags", "2.26")
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["tags"]
    return found


async def test_tags_come_and_go_one_by_one(client: Client) -> None:
    server = await make_server(client)
    path = f"/compute/servers/{server['id']}/tags"
    assert await tags(client, server["id"]) == []
    added = await client.put(f"{path}/edge", version="2.26")
    assert added.status_code == 201
    assert added.headers["location"].endswith(f"/servers/{server['id']}/tags/edge")
    assert (await client.put(f"{path}/edge", version="2.26")).status_code == 204
    await client.put(f"{path}/two%20words", version="2.26")
    assert await tags(client, server["id"]) == ["edge", "two words"]
    assert (await client.get(f"{path}/edge", "2.26")).status_code == 204
    assert (await client.delete(f"{path}/edge", "2.26")).status_code == 204
    assert (await client.get(f"{path}/edge", "2.26")).status_code == 404
    assert (await client.delete(f"{path}/edge", "2.26")).status_code == 404
    shown = (await client.get(f"/compute/servers/{server['id']}", "2.26")).json()["server"]
    assert shown["tags"] == ["two words"]


async def test_all_tags_are_replaced_and_removed(client: Client) -> None:
    server = await make_server(client)
    path = f"/compute/servers/{server['id']}/tags"
    replaced = await client.put(path, {"tags": ["b", "a", "b"]}, "2.26")
    assert replaced.json() == {"tags": ["b", "a"]}
    assert (await client.delete(path, "2.26")).status_code == 204
    assert await tags(client, server["id"]) == []


FIFTY_ONE = [str(at) for at in range(51)]
BAD = (["a,b"], ["a/b"], [""], ["x" * 61], [1], None, "a", FIFTY_ONE)


@pytest.mark.parametrize("body", [{}, {"tags": [], "more": 1}, *({"tags": tags} for tags in BAD)])
async def test_bad_tags_are_refused(client: Client, body: Any) -> None:
    server = await make_server(client)
    await client.put(f"/compute/servers/{server['id']}/tags", {"tags": ["kept"]}, "2.26")
    answer = await client.put(f"/compute/servers/{server['id']}/tags", body, "2.26")
    assert answer.status_code == 400
    assert await tags(client, server["id"]) == ["kept"]


async def test_fifty_are_the_most(client: Client) -> None:
    server = await make_server(client)
    path = f"/compute/servers/{server['id']}/tags"
    await client.put(path, {"tags": [str(at) for at in range(50)]}, "2.26")
    assert (await client.put(f"{path}/one-more", version="2.26")).status_code == 400
    assert (await client.put(f"{path}/{'x' * 61}", version="2.26")).status_code == 400
    assert (await client.put(f"{path}/7", version="2.26")).status_code == 204


async def test_there_are_none_before_2_26_nor_for_others(client: Client, other: Client) -> None:
    server = await make_server(client)
    path = f"/compute/servers/{server['id']}/tags"
    await client.put(path, {"tags": ["kept"]}, "2.26")
    assert (await client.get(path, "2.25")).status_code == 404
    assert (await client.put(f"{path}/a", version="2.25")).status_code == 404
    assert (await other.get(path, "2.26")).status_code == 404
    assert (await other.put(f"{path}/a", version="2.26")).status_code == 404
    assert (await other.delete(path, "2.26")).status_code == 404
    assert await tags(client, server["id"]) == ["kept"]
