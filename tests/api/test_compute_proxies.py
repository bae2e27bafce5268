"""What compute showed of other services until 2.35, for clients from that time."""

import pytest

from tests.api.client import Client
from tests.api.stock import make_image, make_server


async def test_images_are_shown_in_computes_own_words(client: Client, other: Client) -> None:
    image_id = await make_image(client, "tiny")
    listed = (await client.get("/compute/images")).json()["images"]
    assert [(image["id"], image["name"]) for image in listed] == [(image_id, "tiny")]
    (detailed,) = (await client.get("/compute/images/detail")).json()["images"]
    assert (detailed["status"], detailed["progress"], detailed["minDisk"]) == ("ACTIVE", 100, 0)
    assert (await client.get(f"/compute/images/{image_id}")).json()["image"] == detailed
    assert (await client.get("/compute/images?name=other")).json() == {"images": []}
    assert (await client.get("/compute/images?status=SAVING")).json() == {"images": []}
    assert len((await client.get("/compute/images?status=active")).json()["images"]) == 1
    assert (await other.get(f"/compute/images/{image_id}")).status_code == 404
    assert (await client.get("/compute/images?marker=zzz")).status_code == 400


async def test_images_come_in_pages(client: Client) -> None:
    made = [await make_image(client, name) for name in ("one", "two", "three")]
    first = (await client.get("/compute/images?limit=2")).json()
    (link,) = first["images_links"]
    second = (await client.get(link["href"].removeprefix("http://cloud.test:8774"))).json()
    assert [image["id"] for image in first["images"] + second["images"]] == made[::-1]


async def test_networks_and_security_groups_are_shown(client: Client, other: Client) -> None:
    network = await client.made("/network/networks", {"network": {"name": "net1"}})
    (listed,) = (await client.get("/compute/os-networks")).json()["networks"]
    assert (listed["id"], listed["label"]) == (network["id"], "net1")
    assert (await client.get(f"/compute/os-networks/{network['id']}")).json()["network"] == listed
    (tenant,) = (await client.get("/compute/os-tenant-networks")).json()["networks"]
    assert tenant == {"id": network["id"], "label": "net1", "cidr": None}
    assert (await client.get(f"/compute/os-tenant-networks/{network['id']}")).json()["network"] == tenant
    assert (await other.get(f"/compute/os-networks/{network['id']}")).status_code == 404
    group = await client.made("/network/security-groups", {"security_group": {"name": "web"}})
    rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp"}
    ports = {"port_range_min": 80, "port_range_max": 81}
    await client.made("/network/security-group-rules", {"security_group_rule": {**rule, **ports}})
    groups = (await client.get("/compute/os-security-groups")).json()["security_groups"]
    web = next(entry for entry in groups if entry["name"] == "web")
    ((shown),) = web["rules"]
    assert (shown["ip_protocol"], shown["from_port"], shown["to_port"]) == ("tcp", 80, 81)
    assert shown["ip_range"] == {"cidr": "0.0.0.0/0"}
    assert (await client.get(f"/compute/os-security-groups/{group['id']}")).json()["security_group"] == web
    assert (await other.get(f"/compute/os-security-groups/{group['id']}")).status_code == 404


@pytest.mark.parametrize(
    "path", ["/images", "/images/detail", "/os-networks", "/os-tenant-networks", "/os-security-groups"]
)
async def test_they_are_gone_from_2_36_on(client: Client, path: str) -> None:
    assert (await client.get(f"/compute{path}", "2.35")).status_code == 200
    assert (await client.get(f"/compute{path}", "2.36")).status_code == 404


async def test_groups_of_a_server_and_its_volumes_stay(client: Client, other: Client) -> None:
    server = await make_server(client, nics=2)
    path = f"/compute/servers/{server['id']}"
    groups = (await client.get(f"{path}/os-security-groups", "2.90")).json()["security_groups"]
    assert [group["name"] for group in groups] == ["default"]
    assert (await client.get(f"{path}/os-volume_attachments", "2.90")).json() == {"volumeAttachments": []}
    assert (await client.get(f"{path}/os-volume_attachments/x", "2.90")).status_code == 404
    assert (await other.get(f"{path}/os-security-groups", "2.90")).status_code == 404
    assert (await other.get(f"{path}/os-volume_attachments", "2.90")).status_code == 404


async def test_a_server_joins_and_leaves_a_group_with_all_its_ports(client: Client, other: Client) -> None:
    server = await make_server(client, nics=3)
    path = f"/compute/servers/{server['id']}"
    web = await client.made("/network/security-groups", {"security_group": {"name": "web"}})

    async def names() -> list[str]:
        groups = (await client.get(f"{path}/os-security-groups")).json()["security_groups"]
        return [group["name"] for group in groups]

    async def act(name: str, group: object) -> int:
        return (await client.post(f"{path}/action", {name: {"name": group}})).status_code

    assert await act("addSecurityGroup", "web") == 202
    assert await act("addSecurityGroup", web["id"]) == 202
    assert await names() == ["default", "web"]
    ports = (await client.get(f"/network/ports?device_id={server['id']}")).json()["ports"]
    assert [len(port["security_groups"]) for port in ports] == [2, 2, 2]
    assert await act("removeSecurityGroup", "default") == 202
    assert await names() == ["web"]
    assert await act("removeSecurityGroup", "default") == 404
    assert await act("addSecurityGroup", "none") == 404
    assert await act("addSecurityGroup", 5) == 400
    assert (await other.post(f"{path}/action", {"addSecurityGroup": {"name": "default"}})).status_code == 404
    assert await names() == ["web"]


async def test_groups_of_other_projects_are_left_out_of_a_servers(client: Client, admin: Client) -> None:
    server = await make_server(client, nics=1)
    path = f"/compute/servers/{server['id']}"
    group = await admin.made("/network/security-groups", {"security_group": {"name": "inspection"}})
    answer = await admin.post(f"{path}/action", {"addSecurityGroup": {"name": group["id"]}})
    assert answer.status_code == 202, answer.text
    shown = (await client.get(f"{path}/os-security-groups")).json()["security_groups"]
    assert [each["name"] for each in shown] == ["default"]
    shown = (await admin.get(f"{path}/os-security-groups")).json()["security_groups"]
    assert [each["name"] for each in shown] == ["default", "inspection"]


@pytest.mark.parametrize("what", ["tags", "os-volume_attachments", "os-security-groups", "os-interface", "metadata"])
async def test_a_server_that_is_none_is_named_in_the_clients_words(client: Client, what: str) -> None:
    answer = await client.get(f"/compute/servers/vnf1/{what}", "2.60")
    assert answer.status_code == 404
    assert answer.json()["itemNotFound"]["message"] == "Instance vnf1 could not be found."
