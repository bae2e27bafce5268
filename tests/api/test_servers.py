"""Servers: what a boot may say besides its NICs; changed, deleted."""

import base64
from typing import Any

import pytest
import sqlalchemy as sa

from polyport.db.engine import Tx
from tests.api.boots import NOWHERE, boot, image_of, make_port, nothing_left
from tests.api.client import Client, TestCloud
from tests.api.stock import make_image, make_network, make_server


async def test_images_and_flavors_have_to_fit(client: Client, other: Client) -> None:
    unknown = await boot(client, "none", imageRef=NOWHERE)
    assert unknown.json()["badRequest"]["message"] == "Can not find requested image"
    theirs = await make_image(other)
    assert (await boot(client, "none", imageRef=theirs)).json()["badRequest"][
        "message"
    ] == "Can not find requested image"
    flavor = await boot(client, "none", flavorRef="no-such")
    assert flavor.json()["badRequest"]["message"] == "Flavor no-such could not be found."
    body = {"disk_format": "raw", "container_format": "bare"}
    queued = await client.made("/image/images", body)
    assert (
        (await boot(client, "none", imageRef=queued["id"])).json()["badRequest"]["message"].endswith("is not active.")
    )
    for field, value, words in (("min_ram", 129, "Flavor's memory"), ("min_disk", 2, "Flavor's disk")):
        image_id = await make_image(client)
        await client.call(
            "PATCH",
            f"/image/images/{image_id}",
            json=[{"op": "replace", "path": f"/{field}", "value": value}],
            headers={"content-type": "application/openstack-images-v2.1-json-patch"},
        )
        answer = await boot(client, "none", imageRef=image_id)
        assert answer.json()["badRequest"]["message"].startswith(f"{words} is too small for requested image.")


async def test_what_clients_send_with_an_image(client: Client) -> None:
    image_id = await image_of(client)
    mapping = {"uuid": image_id, "boot_index": 0, "source_type": "image", "destination_type": "local"}
    mapping["delete_on_termination"] = True
    for reference in ({}, {"imageRef": ""}, {"imageRef": image_id}):
        body = {"name": "vnf", "flavorRef": "42", "networks": "none", "block_device_mapping_v2": [mapping], **reference}
        answer = await client.post("/compute/servers", {"server": body}, "2.90")
        assert answer.status_code == 202, answer.text
    for change in ({"destination_type": "volume"}, {"source_type": "blank"}, {"boot_index": 1}, {"uuid": NOWHERE}):
        answer = await boot(client, "none", block_device_mapping_v2=[mapping | change])
        assert answer.status_code == 400
        assert answer.json()["badRequest"]["message"].startswith("Block Device Mapping is Invalid")
    without = await client.post(
        "/compute/servers", {"server": {"name": "x", "flavorRef": "42", "networks": "none"}}, "2.90"
    )
    assert without.status_code == 400


async def test_security_groups_are_those_of_the_ports_made(client: Client) -> None:
    network_id = await make_network(client)
    group = await client.made("/network/security-groups", {"security_group": {"name": "web"}})
    port = await make_port(client, network_id)
    for named in ("web", group["id"]):
        answer = await boot(client, [{"uuid": network_id}, {"port": port["id"]}], security_groups=[{"name": named}])
        assert answer.status_code == 202, answer.text
        made = answer.json()["server"]
        assert made["security_groups"] == [{"name": named}]
        ports = (await client.get(f"/network/ports?device_id={made['id']}")).json()["ports"]
        assert ports[0]["security_groups"] == [group["id"]]
        assert ports[1]["security_groups"] != [group["id"]]
        shown = (await client.get(f"/compute/servers/{made['id']}")).json()["server"]
        assert shown["security_groups"] == [{"name": "web"}, {"name": "default"}]
        await client.delete(f"/compute/servers/{made['id']}")
    unknown = await boot(client, [{"uuid": network_id}], security_groups=[{"name": "no-such"}])
    assert unknown.json()["badRequest"]["message"] == "Unable to find security_group with name or id 'no-such'"
    default = await boot(client, [{"uuid": network_id}], security_groups=[{"name": "default"}])
    assert default.status_code == 202


async def test_everything_else_a_boot_may_say(client: Client) -> None:
    await client.post("/compute/os-keypairs", {"keypair": {"name": "mine", "public_key": KEY}})
    data = base64.b64encode(b"#!/bin/sh\n").decode()
    hints = {"different_host": [NOWHERE]}
    body = {
        "name": "Edge Router_1",
        "flavorRef": "42",
        "imageRef": await image_of(client),
        "networks": "none",
        "key_name": "mine",
        "user_data": data,
        "config_drive": "true",
        "metadata": {"role": "edge"},
        "tags": ["a", "b"],
        "description": "at the edge",
        "adminPass": "secret word",
        "accessIPv4": "192.0.2.1",
        "accessIPv6": "2001:DB8::1",
        "OS-DCF:diskConfig": "AUTO",
        "availability_zone": "nova",
        "trusted_image_certificates": ["c1"],
    }
    answer = await client.post("/compute/servers", {"server": body, "os:scheduler_hints": hints}, "2.89")
    assert answer.status_code == 202, answer.text
    assert answer.json()["server"]["adminPass"] == "secret word"
    shown = (await client.get(f"/compute/servers/{answer.json()['server']['id']}", "2.100")).json()["server"]
    wanted = {
        "name": "Edge Router_1",
        "OS-EXT-SRV-ATTR:hostname": "edge-router-1",
        "key_name": "mine",
        "config_drive": "True",
        "metadata": {"role": "edge"},
        "tags": ["a", "b"],
        "description": "at the edge",
        "accessIPv4": "192.0.2.1",
        "accessIPv6": "2001:db8::1",
        "OS-DCF:diskConfig": "AUTO",
        "pinned_availability_zone": "nova",
        "trusted_image_certificates": ["c1"],
        "scheduler_hints": hints,
        "server_groups": [],
    }
    assert {name: shown[name] for name in wanted} == wanted


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKWh1Iu9DeSYFpO0ZKpoKxmaBg9HVVCIhpIMCYnZxWCo someone@somewhere"

BAD = [
    {"name": ""},
    {"name": " x"},
    {"name": "x" * 256},
    {"name": 5},
    {"name": "a\0b"},
    {"name": None},
    {"flavorRef": None},
    {"flavorRef": ""},
    {"flavorRef": {}},
    {"imageRef": "abc"},
    {"imageRef": 5},
    {"min_count": 0},
    {"min_count": -1},
    {"min_count": "x"},
    {"max_count": 0},
    {"max_count": 1.5},
    {"max_count": 10**30},
    {"metadata": []},
    {"metadata": {"": "x"}},
    {"metadata": {"k" * 256: "x"}},
    {"metadata": {"k": "v" * 256}},
    {"metadata": {"k": 5}},
    {"metadata": {"k/": "v"}},
    {"key_name": "no-such"},
    {"key_name": 5},
    {"security_groups": "default"},
    {"security_groups": [{}]},
    {"security_groups": [{"name": ""}]},
    {"user_data": "not base64!"},
    {"user_data": "A" * 65540},
    {"user_data": "ü"},
    {"user_data": 5},
    {"config_drive": "maybe"},
    {"availability_zone": "moon"},
    {"availability_zone": "moon:host"},
    {"accessIPv4": "1.2.3"},
    {"accessIPv4": "2001:db8::1"},
    {"accessIPv6": "1.2.3.4"},
    {"accessIPv6": "nonsense"},
    {"OS-DCF:diskConfig": "auto"},
    {"block_device_mapping": [{"volume_id": NOWHERE}]},
    {"block_device_mapping_v2": "x"},
    {"block_device_mapping_v2": [{}, {}]},
    {"block_device_mapping_v2": [5]},
    {"personality": []},
    {"tags": ["a,b"]},
    {"tags": [str(at) for at in range(51)]},
    {"description": "x" * 256},
    {"hostname": "under_score"},
    {"hostname": "a.b"},
    {"hostname": "x" * 64},
    {"trusted_image_certificates": []},
    {"networks": [{"uuid": "abc"}]},
    {"networks": [{"uuid": 5}]},
    {"networks": [{"port": "abc"}]},
    {"networks": [{"uuid": NOWHERE, "fixed_ip": "10.0.0.999"}]},
    {"networks": [{"uuid": NOWHERE, "fixed_ip": 5}]},
    {"networks": [{"uuid": NOWHERE, "mtu": 9000}]},
    {"networks": [{"uuid": NOWHERE, "tag": "a,b"}]},
    {"networks": [5]},
    {"networks": [None]},
    {"networks": 5},
    {"networks": None},
    {"unknown": 1},
]


@pytest.mark.parametrize("change", BAD, ids=lambda change: str(change)[:50])
async def test_a_bad_body_is_refused_and_names_the_field(client: Client, change: dict[str, Any]) -> None:
    body = {"name": "vnf", "flavorRef": "42", "imageRef": await image_of(client), "networks": "none", **change}
    answer = await client.post("/compute/servers", {"server": body}, "2.90")
    assert answer.status_code == 400, answer.text
    field = next(iter(change))
    words = answer.json()["badRequest"]["message"]
    plain = {
        "block_device_mapping": ("Block Device", "block_device"),
        "availability_zone": ("zone", "host"),
        "flavorRef": "lavor",
    }
    expected = plain.get(field.removesuffix("_v2"), field)
    assert any(word in words for word in ((expected,) if isinstance(expected, str) else expected)), words
    assert await nothing_left(client)


@pytest.mark.parametrize(("field", "most"), [("name", 255), ("hostname", 63)])
async def test_names_of_many_have_room_for_their_numbers(client: Client, field: str, most: int) -> None:
    fits = await boot(client, "none", min_count=2, **{field: "x" * (most - 2)})
    assert fits.status_code == 202, fits.text
    key = {"name": "name", "hostname": "OS-EXT-SRV-ATTR:hostname"}[field]
    made = (await client.get("/compute/servers/detail", "2.90")).json()["servers"]
    assert sorted(server[key] for server in made) == ["x" * (most - 2) + number for number in ("-1", "-2")]
    refused = await boot(client, "none", min_count=2, **{field: "x" * (most - 1)})
    assert refused.status_code == 400
    assert refused.json()["badRequest"]["message"].startswith(f"Invalid {field} 'xxx")
    assert len((await client.get("/compute/servers")).json()["servers"]) == 2


async def test_too_much_metadata_is_over_the_limit(client: Client) -> None:
    answer = await boot(client, "none", metadata={str(at): "x" for at in range(129)})
    assert answer.status_code == 403
    assert answer.json()["forbidden"]["message"] == "Maximum number of metadata items exceeds 128"


async def test_no_host_is_up(client: Client, admin: Client) -> None:
    service = (await admin.get("/compute/os-services", "2.53")).json()["services"][0]
    path = f"/compute/os-services/{service['id']}"
    assert (await admin.put(path, {"status": "disabled"}, "2.53")).status_code == 200
    answer = await boot(client, "none")
    assert answer.status_code == 409
    assert answer.json()["conflictingRequest"]["message"].startswith("No valid host was found.")
    assert await nothing_left(client)
    await admin.put(path, {"status": "enabled"}, "2.53")
    assert (await boot(client, "none")).status_code == 202


async def test_only_administrators_choose_a_host(client: Client, admin: Client) -> None:
    host = (await admin.get("/compute/os-hypervisors")).json()["hypervisors"][0]["hypervisor_hostname"]
    assert (await boot(client, "none", host=host)).status_code == 403
    made = await boot(admin, "none", host=host, hypervisor_hostname=host)
    assert made.status_code == 202, made.text
    shown = (await admin.get(f"/compute/servers/{made.json()['server']['id']}")).json()["server"]
    assert shown["OS-EXT-SRV-ATTR:host"] == host
    assert (await boot(admin, "none", host="elsewhere")).status_code == 400
    for zone in (f"nova:{host}", f"nova::{host}", "nova:elsewhere"):
        assert (await boot(client, "none", availability_zone=zone)).status_code == 403
    assert (await boot(admin, "none", availability_zone=f"nova:{host}")).status_code == 202
    assert (await boot(admin, "none", availability_zone="nova:elsewhere")).status_code == 400


async def test_a_server_is_changed(client: Client) -> None:
    server = await make_server(client)
    path = f"/compute/servers/{server['id']}"
    body = {"name": "new", "accessIPv4": "192.0.2.7", "OS-DCF:diskConfig": "AUTO", "description": "d", "hostname": "h"}
    changed = await client.put(path, {"server": body}, "2.90")
    assert changed.status_code == 200, changed.text
    seen = (await client.get(path, "2.90")).json()["server"]
    assert (seen["name"], seen["accessIPv4"], seen["description"]) == ("new", "192.0.2.7", "d")
    assert seen["OS-EXT-SRV-ATTR:hostname"] == "h"
    assert changed.json()["server"].keys() == seen.keys()
    old = (await client.put(path, {"server": {"name": "old"}})).json()["server"]
    assert "OS-EXT-STS:vm_state" not in old
    assert old["name"] == "old"
    bodies: list[Any] = [{"name": ""}, {"name": "x" * 256}, {"description": "x"}, {"hostname": "x"}, {"status": "x"}]
    for body in bodies:
        assert (await client.put(path, {"server": body})).status_code == 400
    assert (await client.get("/compute/servers/no-such")).status_code == 404


async def test_deleting_frees_ports_at_once(client: Client) -> None:
    network_id = await make_network(client)
    port = await make_port(client, network_id)
    made = (await boot(client, [{"uuid": network_id}, {"port": port["id"]}])).json()["server"]
    path = f"/compute/servers/{made['id']}"
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404
    left = (await client.get("/network/ports")).json()["ports"]
    assert [(each["id"], each["device_id"], each["device_owner"], each["status"]) for each in left] == [
        (port["id"], "", "", "DOWN")
    ]
    assert await nothing_left(client)


async def test_the_host_cleans_up_behind(cloud: TestCloud, client: Client, admin: Client) -> None:
    server = await make_server(client, nics=3)
    assert (await client.delete(f"/compute/servers/{server['id']}")).status_code == 204
    query = "/compute/servers/detail?deleted=True&all_tenants=1"
    answer = await admin.until(query, lambda seen: bool(seen.json()["servers"]))
    gone = answer.json()["servers"][0]
    assert (gone["id"], gone["status"], gone["addresses"]) == (server["id"], "DELETED", {})
    path = f"/compute/servers/{server['id']}/os-instance-actions"
    delete_id = (await client.get(path, "2.21")).json()["instanceActions"][0]["request_id"]

    async def finished() -> Any:
        return (await client.get(f"{path}/{delete_id}", "2.51")).json()["instanceAction"]["events"][0]

    await client.until("/compute/servers", lambda seen: seen.status_code == 200)
    event = await finished()
    while event["finish_time"] is None:
        event = await finished()
    assert event["result"] == "Success"


async def test_a_group_that_keeps_its_servers_apart(client: Client) -> None:
    group = {"name": "apart", "policy": "anti-affinity"}
    made = await client.made("/compute/os-server-groups", {"server_group": group}, "2.64")

    async def join(group_id: str) -> Any:
        body = {"name": "vnf", "flavorRef": "42", "imageRef": await image_of(client), "networks": "none"}
        whole = {"server": body, "os:scheduler_hints": {"group": group_id}}
        return await client.post("/compute/servers", whole, "2.90")

    first = (await join(made["id"])).json()["server"]
    shown = (await client.get(f"/compute/servers/{first['id']}", "2.71")).json()["server"]
    assert shown["server_groups"] == [made["id"]]
    second = await join(made["id"])
    assert second.status_code == 409
    assert second.json()["conflictingRequest"]["message"].startswith("No valid host was found. Server group")
    assert (await join(NOWHERE)).status_code == 400
    assert (await join("nonsense")).status_code == 400
    await client.delete(f"/compute/servers/{first['id']}")
    assert (await join(made["id"])).status_code == 202


async def test_no_password_is_logged_when_the_disk_is_full(
    cloud: TestCloud, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    image = await make_image(client)

    def limit(tx: Tx) -> None:
        tx.tuples(sa.text("PRAGMA max_page_count = 1"))

    await cloud.cloud.database.write(limit)
    body = {"name": "vnf", "flavorRef": "42", "imageRef": image, "networks": "none", "adminPass": "a-secret-of-mine"}
    answer = await client.post("/compute/servers", {"server": {**body, "user_data": "QUFB" * 4096}}, "2.90")
    assert answer.status_code == 500
    assert "database or disk is full" in caplog.text
    assert "a-secret-of-mine" not in caplog.text
