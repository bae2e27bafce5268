"""NICs of a boot: any number on one network, in the order asked for, all of them or nothing."""

from typing import Any

import pytest

from tests.api.boots import NOWHERE, active, boot, make_port, nothing_left
from tests.api.client import Client
from tests.api.stock import make_image, make_network, make_server


async def test_one_network_many_times_and_a_port_in_the_middle(client: Client) -> None:
    network_id = await make_network(client)
    port = await make_port(client, network_id, fixed_ips=[{"ip_address": "10.0.0.99"}])
    entries = [{"uuid": network_id}, {"port": port["id"]}, {"uuid": network_id, "fixed_ip": "10.0.0.50", "tag": "in"}]
    answer = await boot(client, entries)
    assert answer.status_code == 202, answer.text
    made = answer.json()["server"]
    assert set(made) == {"id", "links", "OS-DCF:diskConfig", "security_groups", "adminPass"}
    assert answer.headers["location"] == made["links"][0]["href"]
    server = await active(client, made["id"])
    addresses = [entry["addr"] for entry in server["addresses"]["net1"]]
    assert addresses[1:] == ["10.0.0.99", "10.0.0.50"]
    listed = await client.get(f"/compute/servers/{made['id']}/os-interface", "2.70")
    nics = listed.json()["interfaceAttachments"]
    assert [nic["fixed_ips"][0]["ip_address"] for nic in nics] == addresses
    assert [nic["tag"] for nic in nics] == [None, None, "in"]
    assert nics[1]["port_id"] == port["id"]
    assert {nic["port_state"] for nic in nics} == {"ACTIVE"}
    ports = (await client.get(f"/network/ports?device_id={made['id']}")).json()["ports"]
    assert [each["id"] for each in ports] == [nic["port_id"] for nic in nics]
    assert [entry["OS-EXT-IPS-MAC:mac_addr"] for entry in server["addresses"]["net1"]] == [
        nic["mac_addr"] for nic in nics
    ]


async def test_twelve_nics_keep_their_order(client: Client) -> None:
    network_id = await make_network(client)
    ports = [await make_port(client, network_id, name=f"p{at}") for at in range(12)]
    order = [ports[at]["id"] for at in (11, 0, 10, 1, 9, 2, 8, 3, 7, 4, 6, 5)]
    made = (await boot(client, [{"port": port_id} for port_id in order])).json()["server"]
    nics = (await client.get(f"/compute/servers/{made['id']}/os-interface")).json()["interfaceAttachments"]
    assert [nic["port_id"] for nic in nics] == order


async def test_two_networks_of_one_name_share_a_key(client: Client) -> None:
    one = await make_network(client, "twins", "10.1.0.0/24")
    two = await make_network(client, "twins", "10.2.0.0/24")
    made = (await boot(client, [{"uuid": two}, {"uuid": one}, {"uuid": two}])).json()["server"]
    server = (await client.get(f"/compute/servers/{made['id']}")).json()["server"]
    assert list(server["addresses"]) == ["twins"]
    assert [entry["addr"][:5] for entry in server["addresses"]["twins"]] == ["10.2.", "10.1.", "10.2."]
    ips = (await client.get(f"/compute/servers/{made['id']}/ips/twins")).json()
    assert [entry["addr"] for entry in ips["twins"]] == [entry["addr"] for entry in server["addresses"]["twins"]]


@pytest.mark.parametrize("bad", range(3))
async def test_one_bad_nic_and_there_is_nothing(client: Client, bad: int) -> None:
    network_id = await make_network(client)
    port = await make_port(client, network_id)
    await make_port(client, network_id, fixed_ips=[{"ip_address": "10.0.0.7"}])
    mistakes: list[tuple[dict[str, Any], int, str]] = [
        ({"uuid": NOWHERE}, 400, f"Network {NOWHERE} could not be found."),
        ({"port": NOWHERE}, 400, f"Port id {NOWHERE} could not be found."),
        ({"uuid": network_id, "fixed_ip": "10.0.0.7"}, 400, "Fixed IP address 10.0.0.7 is already in use."),
        ({"uuid": network_id, "fixed_ip": "192.0.2.9"}, 400, "Fixed IP 192.0.2.9 is not a valid ip address"),
        ({"uuid": network_id, "fixed_ip": "10.0.0.0"}, 400, "Fixed IP 10.0.0.0 is not a valid ip address"),
        ({}, 400, "Bad network format: missing 'uuid'"),
        ({"fixed_ip": "10.0.0.8"}, 400, "Bad network format: missing 'uuid'"),
        ({"port": port["id"], "fixed_ip": "10.0.0.8"}, 400, "Specified Fixed IP '10.0.0.8' cannot be used"),
    ]
    good: list[dict[str, Any]] = [{"uuid": network_id}, {"port": port["id"]}, {"uuid": network_id}]
    for mistake, status, words in mistakes:
        entries = list(good)
        entries[bad] = mistake
        answer = await boot(client, entries)
        assert answer.status_code == status, answer.text
        message = answer.json()["badRequest"]["message"]
        assert message.startswith(words)
        assert f"networks[{bad}]" in message
        assert await nothing_left(client)
    ports = (await client.get("/network/ports")).json()["ports"]
    assert len(ports) == 2


async def test_entries_that_clash_with_each_other(client: Client) -> None:
    network_id = await make_network(client)
    port = await make_port(client, network_id)
    twice = await boot(client, [{"port": port["id"]}, {"uuid": network_id}, {"port": port["id"]}])
    assert twice.status_code == 400
    words = f"Port ID '{port['id']}' was specified twice: you cannot attach a port multiple times."
    assert twice.json()["badRequest"]["message"] == f"{words} (networks[2])"
    address = {"uuid": network_id, "fixed_ip": "10.0.0.60"}
    same = await boot(client, [address, {"uuid": network_id}, address])
    assert same.status_code == 400
    assert "10.0.0.60" in same.json()["badRequest"]["message"]
    assert "networks[2]" in same.json()["badRequest"]["message"]
    assert await nothing_left(client)


async def test_a_port_in_use_is_a_conflict(client: Client) -> None:
    network_id = await make_network(client)
    port = await make_port(client, network_id)
    assert (await boot(client, [{"port": port["id"]}])).status_code == 202
    again = await boot(client, [{"uuid": network_id}, {"port": port["id"]}])
    assert again.status_code == 409
    assert again.json()["conflictingRequest"]["message"] == f"Port {port['id']} is still in use. (networks[1])"


async def test_the_port_wins_over_the_network_beside_it(client: Client) -> None:
    one, two = await make_network(client, "one", "10.1.0.0/24"), await make_network(client, "two", "10.2.0.0/24")
    port = await make_port(client, one)
    made = (await boot(client, [{"uuid": two, "port": port["id"]}])).json()["server"]
    server = (await client.get(f"/compute/servers/{made['id']}")).json()["server"]
    assert list(server["addresses"]) == ["one"]


async def test_what_belongs_to_others_is_not_there(client: Client, other: Client) -> None:
    theirs = await make_network(other)
    port = await make_port(other, theirs)
    await make_network(client)
    network = await boot(client, [{"uuid": theirs}])
    assert network.json()["badRequest"]["message"] == f"Network {theirs} could not be found. (networks[0])"
    brought = await boot(client, [{"port": port["id"]}])
    assert brought.json()["badRequest"]["message"] == f"Port id {port['id']} could not be found. (networks[0])"
    server = await make_server(client)
    for method, path, body in (
        ("GET", "", None),
        ("PUT", "", {"server": {"name": "mine"}}),
        ("DELETE", "", None),
        ("GET", "/os-interface", None),
        ("POST", "/os-interface", {}),
        ("GET", "/ips", None),
        ("GET", "/metadata", None),
        ("GET", "/os-instance-actions", None),
        ("POST", "/action", {"os-stop": None}),
        ("POST", "/action", {"os-getConsoleOutput": {}}),
    ):
        answer = await other.call(method, f"/compute/servers/{server['id']}{path}", json=body)
        assert answer.status_code == 404, (method, path, answer.text)
        assert answer.json()["itemNotFound"]["message"] == f"Instance {server['id']} could not be found."


async def test_a_network_without_a_subnet_is_refused(client: Client) -> None:
    network = await client.made("/network/networks", {"network": {"name": "bare"}})
    answer = await boot(client, [{"uuid": network["id"]}])
    words = f"Network {network['id']} requires a subnet in order to boot instances on."
    assert answer.json()["badRequest"]["message"] == f"{words} (networks[0])"


@pytest.mark.parametrize(
    ("version", "networks", "statuses"),
    [
        # The statuses with no network, with one and with two.
        ("2.36", None, (202, 202, 409)),
        ("2.36", [], (202, 202, 409)),
        ("2.37", [], (202, 202, 409)),
        ("2.37", None, (400, 400, 400)),
        ("2.36", "auto", (400, 400, 400)),
        ("2.36", "none", (400, 400, 400)),
        ("2.37", "auto", (400, 202, 409)),
        ("2.90", "none", (202, 202, 202)),
        ("2.90", "some", (400, 400, 400)),
        ("2.90", {"uuid": NOWHERE}, (400, 400, 400)),
    ],
)
async def test_when_no_network_is_named(
    client: Client, version: str, networks: Any, statuses: tuple[int, int, int]
) -> None:
    seen = []
    nics = []
    for count in range(3):
        if count:
            await make_network(client, f"net{count}", f"10.{count}.0.0/24")
        answer = await boot(client, networks, version)
        seen.append(answer.status_code)
        if answer.status_code == 202:
            listed = await client.get(f"/compute/servers/{answer.json()['server']['id']}/os-interface")
            nics.append(len(listed.json()["interfaceAttachments"]))
    assert tuple(seen) == statuses
    assert nics == [0 if networks == "none" else at for at, status in enumerate(seen) if status == 202]


@pytest.mark.parametrize(
    ("version", "status"), [("2.31", 400), ("2.36", 202), ("2.37", 400), ("2.41", 400), ("2.42", 202)]
)
async def test_tags_of_nics_came_went_and_came_back(client: Client, version: str, status: int) -> None:
    network_id = await make_network(client)
    answer = await boot(client, [{"uuid": network_id, "tag": "x"}, {"uuid": network_id, "tag": "x"}], version)
    assert answer.status_code == status
    if status == 400:
        assert "tag" in answer.json()["badRequest"]["message"]


async def test_more_than_one_at_once(client: Client) -> None:
    network_id = await make_network(client)
    answer = await boot(client, [{"uuid": network_id}] * 2, min_count=3, return_reservation_id=True)
    reservation = answer.json()["reservation_id"]
    found = (await client.get(f"/compute/servers/detail?reservation_id={reservation}")).json()["servers"]
    assert sorted(server["name"] for server in found) == ["vnf-1", "vnf-2", "vnf-3"]
    assert all(len(server["addresses"]["net1"]) == 2 for server in found)
    port = await make_port(client, network_id)
    shared = await boot(client, [{"port": port["id"]}], max_count=2)
    assert shared.json()["badRequest"]["message"].startswith("Failed to launch instances: Unable to launch multiple")
    fixed = await boot(client, [{"uuid": network_id, "fixed_ip": "10.0.0.50"}], min_count=2)
    assert fixed.json()["badRequest"]["message"].startswith("Failed to launch instances: max_count cannot be greater")
    reversed_ = await boot(client, [{"uuid": network_id}], min_count=3, max_count=2)
    assert reversed_.json()["badRequest"]["message"] == "min_count must be <= max_count"


async def test_quotas_are_kept_and_given_back(client: Client, admin: Client) -> None:
    network_id = await make_network(client)
    await admin.put(f"/compute/os-quota-sets/{client.project_id}", {"quota_set": {"instances": 2}})
    await admin.put(f"/network/quotas/{client.project_id}", {"quota": {"port": 5}})
    over = await boot(client, [{"uuid": network_id}] * 6)
    assert over.status_code == 403
    assert over.json()["forbidden"]["message"] == "Maximum number of ports exceeded"
    assert await nothing_left(client)
    lowered = await boot(client, [{"uuid": network_id}] * 3, min_count=1, max_count=2)
    assert lowered.status_code == 202
    servers = (await client.get("/compute/servers")).json()["servers"]
    assert [server["name"] for server in servers] == ["vnf"]
    too_many = await boot(client, "none", min_count=2)
    assert too_many.status_code == 403
    assert "instances" in too_many.json()["forbidden"]["message"]
    assert (await client.delete(f"/compute/servers/{servers[0]['id']}")).status_code == 204
    assert await nothing_left(client)
    assert (await boot(client, "none", min_count=2)).status_code == 202


async def test_a_subnet_that_is_full(client: Client) -> None:
    network_id = await make_network(client, "small", "10.9.0.0/29")
    answer = await boot(client, [{"uuid": network_id}] * 6)
    assert answer.status_code == 400
    words = f"No fixed IP addresses available for network: {network_id}"
    assert answer.json()["badRequest"]["message"] == f"{words} (networks[5])"
    assert await nothing_left(client)
    assert (await boot(client, [{"uuid": network_id}] * 5)).status_code == 202


async def test_a_server_has_as_many_slots_as_its_image_says(client: Client) -> None:
    network_id = await make_network(client)
    image_id = await make_image(client)
    patch = [{"op": "add", "path": "/polyport_nic_slots", "value": "3"}]
    headers = {"content-type": "application/openstack-images-v2.1-json-patch"}
    changed = await client.call("PATCH", f"/image/images/{image_id}", json=patch, headers=headers)
    assert changed.status_code == 200, changed.text
    many = await boot(client, [{"uuid": network_id}] * 4, imageRef=image_id)
    assert many.status_code == 400
    assert "4 NICs are too many: the server would have 3 NIC slots" in many.json()["badRequest"]["message"]
    assert "polyport_nic_slots" in many.json()["badRequest"]["message"]
    made = (await boot(client, [{"uuid": network_id}] * 3, imageRef=image_id)).json()["server"]
    await active(client, made["id"])
    full = await client.post(
        f"/compute/servers/{made['id']}/os-interface", {"interfaceAttachment": {"net_id": network_id}}
    )
    assert full.status_code == 400
    assert "has no NIC slot left: it has 3 slots" in full.json()["badRequest"]["message"]
    patch[0] |= {"op": "replace", "value": "many"}
    await client.call("PATCH", f"/image/images/{image_id}", json=patch, headers=headers)
    wrong = await boot(client, [{"uuid": network_id}], imageRef=image_id)
    assert "polyport_nic_slots" in wrong.json()["badRequest"]["message"]


async def test_a_vcpu_serves_48_nics(client: Client) -> None:
    network_id = await make_network(client)
    assert (await boot(client, [{"uuid": network_id}] * 48)).status_code == 202
    answer = await boot(client, [{"uuid": network_id}] * 49)
    assert answer.status_code == 400
    assert answer.json()["badRequest"]["message"].startswith("49 NICs are too many for 1 vCPU(s)")
    assert (await boot(client, [{"uuid": network_id}] * 49, flavorRef="3")).status_code == 202
