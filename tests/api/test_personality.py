"""Files put into a guest at boot, which appliances read their first configuration from."""

import base64
from typing import Any

import pytest

from polyport.compute import plans
from polyport.ids import HostName
from tests.api.boots import active, boot, image_of, nothing_left
from tests.api.client import Client, TestCloud


def file(path: str, content: bytes) -> dict[str, str]:
    return {"path": path, "contents": base64.b64encode(content).decode()}


async def planned(cloud: TestCloud) -> list[tuple[tuple[str, str], ...]]:
    """What the host is told of files, server by server."""
    host = HostName(cloud.config.host)
    plan = await cloud.cloud.database.read(lambda tx: plans.plan_for(tx, host, 0, plans.Kept()))
    return [server.files for server in plan.servers]


async def test_files_reach_the_host_and_stay_until_a_rebuild_brings_others(cloud: TestCloud, client: Client) -> None:
    day_0 = [file("iosxe_config.txt", b"hostname r1\n"), file("/etc/ü \x00'$(x)", b"")]
    answer = await boot(client, "none", "2.56", personality=day_0)
    assert answer.status_code == 202, answer.text
    server_id = answer.json()["server"]["id"]
    await active(client, server_id)
    assert await planned(cloud) == [tuple((each["path"], each["contents"]) for each in day_0)]

    image_id = await image_of(client)
    path = f"/compute/servers/{server_id}/action"
    for version, more, wanted in (
        ("2.90", {}, day_0),
        ("2.56", {"personality": day_0[:1]}, day_0[:1]),
        ("2.1", {"personality": []}, []),
    ):
        again = await client.post(path, {"rebuild": {"imageRef": image_id, **more}}, version)
        assert again.status_code == 202, again.text
        await active(client, server_id)
        assert await planned(cloud) == [tuple((each["path"], each["contents"]) for each in wanted)]


async def test_content_may_be_broken_into_lines(cloud: TestCloud, client: Client) -> None:
    content = bytes(range(200))
    in_lines = base64.encodebytes(content).decode()
    assert (await boot(client, None, "2.1", personality=[{"path": "a", "contents": in_lines}])).status_code == 202
    assert await planned(cloud) == [(("a", base64.b64encode(content).decode()),)]


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"path": "a", "contents": "not base64!"}, "personality[0].contents"),
        ({"path": "a", "contents": "ü"}, "personality[0].contents"),
        ({"path": "a", "contents": 5}, "personality[0].contents"),
        ({"path": "", "contents": ""}, "personality[0].path"),
        ({"path": 5, "contents": ""}, "personality[0].path"),
        ({"path": "a"}, "contents"),
        ({"path": "a", "contents": "", "mode": "0777"}, "mode"),
        ("a", "personality[0]"),
    ],
)
async def test_what_is_no_file_is_refused_and_named(client: Client, entry: Any, field: str) -> None:
    answer = await boot(client, "none", "2.56", personality=[entry])
    assert answer.status_code == 400
    assert field in answer.json()["badRequest"]["message"]
    assert await nothing_left(client)


async def test_files_are_limited_in_number_and_length(client: Client, admin: Client) -> None:
    fits = [file("p" * 255, bytes(10240))] * 5
    for wrong, words in (
        ([*fits, fits[0]], "limit exceeded: there are 6, and there may be 5"),
        ([fits[0], file("p" * 256, b"")], "exceeds maximum 255: personality[1].path"),
        ([file("ü" * 128, b"")], "exceeds maximum 255: personality[0].path"),
        ([file("p", bytes(10241))], "exceeds maximum 10240: personality[0].contents"),
    ):
        answer = await boot(client, None, "2.1", personality=wrong)
        assert answer.status_code == 403
        assert words in answer.json()["forbidden"]["message"]
    assert await nothing_left(client)
    assert (await boot(client, None, "2.1", personality=fits)).status_code == 202

    path = f"/compute/os-quota-sets/{client.project_id}"
    wanted = {"injected_files": 1, "injected_file_content_bytes": -1}
    assert (await admin.put(path, {"quota_set": wanted}, "2.1")).json()["quota_set"].items() >= wanted.items()
    limits = (await client.get("/compute/limits", "2.1")).json()["limits"]["absolute"]
    assert (limits["maxPersonality"], limits["maxPersonalitySize"]) == (1, -1)
    assert (await boot(client, None, "2.1", personality=fits[:2])).status_code == 403
    assert (await boot(client, None, "2.1", personality=[file("p", bytes(99_999))])).status_code == 202
