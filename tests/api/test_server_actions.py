"""Actions on servers: each from the states that allow it, refused by name from the others."""

from typing import Any

import pytest

from tests.api.client import Client
from tests.api.stock import make_image, make_server

NOWHERE = "9d1d6e0a-3b54-4f8b-a0b0-00000000dead"


async def act(client: Client, server_id: str, action: Any, version: str | None = None) -> Any:
    return await client.post(f"/compute/servers/{server_id}/action", action, version)


async def settled(client: Client, server_id: str, status: str) -> dict[str, Any]:
    answer = await client.until(
        f"/compute/servers/{server_id}",
        lambda seen: (
            seen.json()["server"]["status"] == status and seen.json()["server"]["OS-EXT-STS:task_state"] is None
        ),
    )
    server: dict[str, Any] = answer.json()["server"]
    return server


async def test_a_life_of_starts_and_stops(client: Client) -> None:
    server_id = (await make_server(client))["id"]
    for action, status, power in (
        ({"os-stop": None}, "SHUTOFF", 4),
        ({"os-start": None}, "ACTIVE", 1),
        ({"pause": None}, "PAUSED", 3),
        ({"unpause": None}, "ACTIVE", 1),
        ({"reboot": {"type": "SOFT"}}, "ACTIVE", 1),
        ({"reboot": {"type": "HARD"}}, "ACTIVE", 1),
        ({"os-stop": {}}, "SHUTOFF", 4),
        ({"reboot": {"type": "hard"}}, "ACTIVE", 1),
    ):
        answer = await act(client, server_id, action)
        assert answer.status_code == 202, answer.text
        assert answer.content == b""
        server = await settled(client, server_id, status)
        assert server["OS-EXT-STS:power_state"] == power


@pytest.mark.parametrize(
    ("before", "state", "refused"),
    [
        (None, "active", ["os-start", "unpause", "resume", "unshelve", "restore", "unrescue", "shelveOffload"]),
        ({"os-stop": None}, "stopped", ["os-stop", "pause", "unpause", "resume", "unshelve"]),
        ({"pause": None}, "paused", ["os-start", "os-stop", "pause", "rebuild", "resume"]),
    ],
)
async def test_what_a_state_does_not_allow(
    client: Client, before: dict[str, Any] | None, state: str, refused: list[str]
) -> None:
    server = await make_server(client)
    if before is not None:
        await act(client, server["id"], before)
        await settled(client, server["id"], {"stopped": "SHUTOFF", "paused": "PAUSED"}[state])
    for action in refused:
        body = {"imageRef": server["image"]["id"]} if action == "rebuild" else None
        answer = await act(client, server["id"], {action: body})
        assert answer.status_code == 409, answer.text
        words = answer.json()["conflictingRequest"]["message"]
        name = {"shelveOffload": "shelve_offload"}.get(action, action.removeprefix("os-"))
        assert words == f"Cannot '{name}' instance {server['id']} while it is in vm_state {state}"
    soft = await act(client, server["id"], {"reboot": {"type": "SOFT"}})
    assert soft.status_code == (202 if state == "active" else 409)


async def test_what_this_cloud_does_not_have(client: Client) -> None:
    server_id = (await make_server(client))["id"]
    for action in ("suspend", "shelve", "rescue", "createImage", "migrate", "evacuate", "changePassword"):
        answer = await act(client, server_id, {action: {}})
        assert answer.status_code == 400
        assert "is not supported by this cloud" in answer.json()["badRequest"]["message"]
        assert (await act(client, NOWHERE, {action: {}})).status_code == 404
    resize = await act(client, server_id, {"resize": {"flavorRef": "2"}})
    assert resize.status_code == 400
    assert (await act(client, server_id, {"resize": {"flavorRef": None}})).status_code == 400
    consoles: tuple[tuple[Any, str, str], ...] = (
        ({"os-getVNCConsole": {"type": "novnc"}}, "/action", "2.1"),
        ({"remote_console": {"protocol": "vnc", "type": "novnc"}}, "/remote-consoles", "2.6"),
    )
    for body, path, version in consoles:
        answer = await client.post(f"/compute/servers/{server_id}{path}", body, version)
        assert answer.status_code == 400
        assert answer.json()["badRequest"]["message"] == "Unavailable console type novnc."
    early = await client.post(f"/compute/servers/{server_id}/remote-consoles", consoles[1][0], "2.5")
    assert early.status_code == 404


BAD: list[Any] = [
    {},
    {"os-start": None, "os-stop": None},
    {"no-such-action": None},
    [],
    None,
    {"reboot": None},
    {"reboot": {}},
    {"reboot": {"type": "WARM"}},
    {"reboot": {"type": 5}},
    {"rebuild": {}},
    {"rebuild": {"imageRef": "abc"}},
    {"rebuild": {"imageRef": NOWHERE}},
    {"rebuild": {"imageRef": NOWHERE, "unknown": 1}},
    {"rebuild": {"imageRef": NOWHERE, "key_name": "x"}},
    {"rebuild": {"imageRef": NOWHERE, "metadata": {"a": 5}}},
    {"os-getConsoleOutput": {"length": -2}},
    {"os-getConsoleOutput": {"length": "x"}},
    {"os-getConsoleOutput": {"length": 10**20}},
    {"os-getConsoleOutput": []},
    {"os-resetState": {"state": "active"}},
    {"addFixedIp": 5},
]


@pytest.mark.parametrize("body", BAD, ids=lambda body: str(body)[:50])
async def test_bad_actions_are_refused(client: Client, body: Any) -> None:
    server_id = (await make_server(client))["id"]
    answer = await act(client, server_id, body)
    assert answer.status_code in (400, 403), answer.text
    assert (await settled(client, server_id, "ACTIVE"))["id"] == server_id


async def test_a_rebuild_begins_anew(client: Client) -> None:
    server = await make_server(client, nics=2)
    image_id = await make_image(client, "other")
    old = (await client.get(f"/compute/servers/{server['id']}/os-interface")).json()
    await client.made("/compute/os-keypairs", {"keypair": {"name": "mine"}})
    body = {
        "imageRef": image_id,
        "name": "new",
        "metadata": {"k": "v"},
        "description": "fresh",
        "key_name": "mine",
        "user_data": "aGk=",
        "adminPass": "word",
    }
    answer = await act(client, server["id"], {"rebuild": body}, "2.90")
    assert answer.status_code == 202, answer.text
    view = answer.json()["server"]
    assert (view["status"], view["name"], view["adminPass"]) == ("REBUILD", "new", "word")
    assert (view["key_name"], view["user_data"], view["description"]) == ("mine", "aGk=", "fresh")
    assert view["image"]["id"] == image_id
    seen = await settled(client, server["id"], "ACTIVE")
    assert (seen["metadata"], seen["image"]["id"]) == ({"k": "v"}, image_id)
    new = (await client.get(f"/compute/servers/{server['id']}/os-interface")).json()["interfaceAttachments"]
    assert [nic["port_id"] for nic in new] == [nic["port_id"] for nic in old["interfaceAttachments"]]
    plain = await act(client, server["id"], {"rebuild": {"imageRef": image_id}})
    assert plain.json()["server"]["adminPass"] not in ("word", "")
    assert "key_name" not in plain.json()["server"]
    await settled(client, server["id"], "ACTIVE")
    await act(client, server["id"], {"os-stop": None})
    await settled(client, server["id"], "SHUTOFF")
    await act(client, server["id"], {"rebuild": {"imageRef": image_id}})
    await settled(client, server["id"], "SHUTOFF")


async def test_locks(client: Client, admin: Client) -> None:
    server_id = (await make_server(client))["id"]
    assert (await act(client, server_id, {"lock": {"locked_reason": "mine"}}, "2.73")).status_code == 202
    shown = (await client.get(f"/compute/servers/{server_id}", "2.73")).json()["server"]
    assert (shown["locked"], shown["locked_reason"]) == (True, "mine")
    stop = await act(client, server_id, {"os-stop": None})
    assert stop.status_code == 409
    assert stop.json()["conflictingRequest"]["message"] == f"Instance {server_id} is locked"
    assert (await client.delete(f"/compute/servers/{server_id}")).status_code == 409
    assert (await act(client, server_id, {"unlock": None})).status_code == 202
    assert (await act(admin, server_id, {"lock": None})).status_code == 202
    assert (await act(client, server_id, {"unlock": None})).status_code == 403
    assert (await act(admin, server_id, {"os-stop": None})).status_code == 202
    assert (await act(admin, server_id, {"unlock": None})).status_code == 202
    assert (await client.delete(f"/compute/servers/{server_id}")).status_code == 204


async def test_locking_anew_does_not_open_the_lock_of_an_administrator(client: Client, admin: Client) -> None:
    server_id = (await make_server(client))["id"]
    await act(admin, server_id, {"lock": {"locked_reason": "under investigation"}}, "2.73")
    assert (await act(client, server_id, {"lock": {"locked_reason": "mine"}}, "2.73")).status_code == 202
    shown = (await client.get(f"/compute/servers/{server_id}", "2.73")).json()["server"]
    assert shown["locked_reason"] == "under investigation"
    assert (await act(client, server_id, {"unlock": None})).status_code == 403


async def test_an_administrator_sets_a_state(client: Client, admin: Client) -> None:
    server_id = (await make_server(client))["id"]
    assert (await act(client, server_id, {"os-resetState": {"state": "error"}})).status_code == 403
    assert (await act(admin, server_id, {"os-resetState": {"state": "error"}})).status_code == 202
    assert (await client.get(f"/compute/servers/{server_id}")).json()["server"]["status"] == "ERROR"
    assert (await act(admin, server_id, {"os-resetState": {"state": "up"}})).status_code == 400
    assert (await act(client, server_id, {"reboot": {"type": "HARD"}})).status_code == 202
    await settled(client, server_id, "ACTIVE")


async def test_console_output(client: Client) -> None:
    server_id = (await make_server(client))["id"]
    whole = await act(client, server_id, {"os-getConsoleOutput": {}})
    assert whole.status_code == 200, whole.text
    text = whole.json()["output"]
    last = (await act(client, server_id, {"os-getConsoleOutput": {"length": 1}})).json()["output"]
    assert text.endswith(last)
    assert len(last.splitlines()) <= 1
    for length, wanted in ((0, ""), (-1, text), (None, text), ("1", last)):
        answer = await act(client, server_id, {"os-getConsoleOutput": {"length": length}})
        assert answer.json() == {"output": wanted}
    assert (await act(client, NOWHERE, {"os-getConsoleOutput": {}})).status_code == 404


async def test_force_delete_deletes(client: Client) -> None:
    server_id = (await make_server(client))["id"]
    assert (await act(client, server_id, {"forceDelete": None})).status_code == 202
    assert (await client.get(f"/compute/servers/{server_id}")).status_code == 404
    assert (await act(client, server_id, {"forceDelete": None})).status_code == 404
