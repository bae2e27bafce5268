"""Metadata of servers."""

from typing import Any

import pytest

from tests.api.client import Client
from tests.api.stock import make_server
from tests.api.test_plans import Host, boot, host, seen

__all__ = ["host"]

NOWHERE = "9d1d6e0a-3b54-4f8b-a0b0-00000000dead"


async def test_items_come_change_and_go(client: Client) -> None:
    server = await make_server(client, metadata={"a": "1"})
    path = f"/compute/servers/{server['id']}/metadata"
    assert (await client.get(path)).json() == {"metadata": {"a": "1"}}
    added = await client.post(path, {"metadata": {"b": "2", "a": "3"}})
    assert added.json() == {"metadata": {"a": "3", "b": "2"}}
    one = await client.put(f"{path}/c", {"meta": {"c": "4"}})
    assert one.json() == {"meta": {"c": "4"}}
    assert (await client.get(f"{path}/c")).json() == {"meta": {"c": "4"}}
    assert (await client.delete(f"{path}/a")).status_code == 204
    assert (await client.delete(f"{path}/a")).status_code == 404
    assert (await client.get(f"{path}/a")).status_code == 404
    assert (await client.get(path)).json() == {"metadata": {"b": "2", "c": "4"}}
    assert (await client.put(path, {"metadata": {"x": "y"}})).json() == {"metadata": {"x": "y"}}
    shown = (await client.get(f"/compute/servers/{server['id']}")).json()["server"]
    assert shown["metadata"] == {"x": "y"}


async def test_items_change_while_a_task_is_under_way(client: Client, host: Host) -> None:
    server_id = await boot(client)
    await host.report(await host.one())
    path = f"/compute/servers/{server_id}"
    assert (await client.post(f"{path}/action", {"reboot": {"type": "SOFT"}})).status_code == 202
    asked = await host.one()
    assert (await client.put(f"{path}/metadata", {"metadata": {"x": "y"}})).status_code == 200
    assert (await client.delete(f"{path}/metadata/x")).status_code == 204
    await host.report(asked)
    assert (await seen(client, server_id))["status"] == "REBOOT"
    await host.report(await host.one())
    assert (await seen(client, server_id))["status"] == "ACTIVE"


BAD: list[Any] = [
    {},
    {"metadata": None},
    {"metadata": []},
    {"metadata": {"": "x"}},
    {"metadata": {"k" * 256: "x"}},
    {"metadata": {"a/b": "x"}},
    {"metadata": {"k": "v" * 256}},
    {"metadata": {"k": 5}},
    {"metadata": {"k": None}},
    {"metadata": {}, "more": 1},
]


@pytest.mark.parametrize("body", BAD, ids=lambda body: str(body)[:40])
async def test_bad_items_are_refused(client: Client, body: Any) -> None:
    server = await make_server(client, metadata={"a": "1"})
    path = f"/compute/servers/{server['id']}/metadata"
    for method in ("POST", "PUT"):
        assert (await client.call(method, path, json=body)).status_code == 400
    items: list[Any] = [{}, {"meta": {}}, {"meta": {"x": "1", "y": "2"}}, {"meta": {"other": "1"}}, {"meta": {"k": 5}}]
    for item in items:
        assert (await client.put(f"{path}/k", item)).status_code == 400
    assert (await client.get(path)).json() == {"metadata": {"a": "1"}}


async def test_limits_and_states(client: Client, admin: Client) -> None:
    server = await make_server(client)
    path = f"/compute/servers/{server['id']}/metadata"
    many = {str(at): "x" for at in range(129)}
    for method in ("POST", "PUT"):
        assert (await client.call(method, path, json={"metadata": many})).status_code == 403
    assert (await client.get(f"/compute/servers/{NOWHERE}/metadata")).status_code == 404
    assert (await client.put(f"/compute/servers/{NOWHERE}/metadata", {"metadata": {}})).status_code == 404
    await admin.post(f"/compute/servers/{server['id']}/action", {"os-resetState": {"state": "error"}})
    refused = await client.post(path, {"metadata": {"a": "b"}})
    words = f"Cannot 'update_instance_metadata' instance {server['id']} while it is in vm_state error"
    assert refused.json()["conflictingRequest"]["message"] == words
