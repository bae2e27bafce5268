"""What was done to a server, and what became of it."""

import asyncio
from typing import Any

from tests.api.client import Client
from tests.api.stock import make_server


async def actions(client: Client, server_id: str, query: str = "", version: str = "2.100") -> list[dict[str, Any]]:
    answer = await client.get(f"/compute/servers/{server_id}/os-instance-actions{query}", version)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["instanceActions"]
    return found


async def finished(client: Client, server_id: str, request_id: str, version: str = "2.100") -> dict[str, Any]:
    path = f"/compute/servers/{server_id}/os-instance-actions/{request_id}"
    while True:
        action: dict[str, Any] = (await client.get(path, version)).json()["instanceAction"]
        if all(event["finish_time"] for event in action["events"]):
            return action
        await asyncio.sleep(0.005)


async def test_actions_newest_first_with_their_events(client: Client, admin: Client) -> None:
    server = await make_server(client, nics=1)
    path = f"/compute/servers/{server['id']}"
    attached = await client.post(f"{path}/os-interface", {})
    request_id = attached.headers["x-openstack-request-id"]
    await finished(client, server["id"], request_id)
    await client.post(f"{path}/action", {"lock": None})
    await client.post(f"{path}/action", {"unlock": None})
    found = await actions(client, server["id"])
    assert [action["action"] for action in found] == ["unlock", "lock", "attach_interface", "create"]
    assert found[2]["request_id"] == request_id
    assert found[3].keys() == {
        *("action", "instance_uuid", "request_id", "user_id", "project_id", "start_time", "message", "updated_at"),
    }
    assert (found[3]["user_id"], found[3]["project_id"]) == (client.user_id, client.project_id)
    action = await finished(client, server["id"], request_id)
    event = action["events"][0]
    assert (event["event"], event["result"], event["details"]) == ("compute_attach_interface", "Success", None)
    assert event.keys() == {"event", "start_time", "finish_time", "result", "hostId", "details"}
    seen = await finished(admin, server["id"], request_id)
    assert seen["events"][0].keys() == event.keys() | {"host", "traceback"}


async def test_what_each_version_shows(client: Client, admin: Client) -> None:
    server = await make_server(client)
    request_id = (await actions(client, server["id"]))[0]["request_id"]
    path = f"/compute/servers/{server['id']}/os-instance-actions/{request_id}"
    shown = {}
    for version in ("2.1", "2.50", "2.51", "2.58", "2.62", "2.84"):
        shown[version] = (await client.get(path, version)).json()["instanceAction"]
    assert "events" not in shown["2.1"]
    assert "events" not in shown["2.50"]
    assert shown["2.51"]["events"][0].keys() == {"event", "start_time", "finish_time", "result"}
    assert "updated_at" not in shown["2.51"]
    assert "updated_at" in shown["2.58"]
    assert "hostId" in shown["2.62"]["events"][0]
    assert "details" in shown["2.84"]["events"][0]
    assert "traceback" in (await admin.get(path)).json()["instanceAction"]["events"][0]


async def test_pages(client: Client) -> None:
    server = await make_server(client)
    path = f"/compute/servers/{server['id']}"
    for _ in range(2):
        await client.post(f"{path}/action", {"lock": None})
        await client.post(f"{path}/action", {"unlock": None})
    everything = await actions(client, server["id"])
    answer = (await client.get(f"{path}/os-instance-actions?limit=2", "2.58")).json()
    assert answer["instanceActions"] == everything[:2]
    following = answer["links"][0]["href"].replace("http://cloud.test:8774", "")
    assert (await client.get(following, "2.58")).json()["instanceActions"] == everything[2:4]
    assert len(await actions(client, server["id"], "?limit=2", "2.57")) == 5
    old = "?changes-since=2001-01-01T00:00:00Z"
    assert len(await actions(client, server["id"], old, "2.58")) == 5
    assert await actions(client, server["id"], "?changes-before=2001-01-01T00:00:00Z", "2.66") == []
    for query in ("?marker=no-such", "?limit=x", "?changes-since=x", "?unknown=1"):
        assert (await client.get(f"{path}/os-instance-actions{query}", "2.75")).status_code == 400


async def test_of_deleted_servers_from_2_21_on(client: Client, other: Client) -> None:
    server = await make_server(client)
    await client.delete(f"/compute/servers/{server['id']}")
    path = f"/compute/servers/{server['id']}/os-instance-actions"
    assert (await client.get(path, "2.20")).status_code == 404
    assert [action["action"] for action in await actions(client, server["id"], version="2.21")] == ["delete", "create"]
    assert (await other.get(path, "2.21")).status_code == 404
    assert (await client.get(f"{path}/req-nothing", "2.21")).status_code == 404
