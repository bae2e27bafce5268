"""NICs that come and go: attach and detach, running and stopped; order and slots hold."""

import asyncio
from typing import Any

import pytest

from tests.api.client import Client
from tests.api.stock import make_network, make_server

NOWHERE = "9d1d6e0a-3b54-4f8b-a0b0-00000000dead"


async def nics_of(client: Client, server_id: str) -> list[dict[str, Any]]:
    answer = await client.get(f"/compute/servers/{server_id}/os-interface", "2.70")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["interfaceAttachments"]
    return found


async def ports_of(client: Client, server_id: str) -> list[str]:
    return [nic["port_id"] for nic in await nics_of(client, server_id)]


async def attach(client: Client, server_id: str, version: str = "2.70", **body: Any) -> dict[str, Any]:
    path = f"/compute/servers/{server_id}/os-interface"
    answer = await client.post(path, {"interfaceAttachment": body}, version)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()["interfaceAttachment"]
    return made


async def settled(client: Client, server_id: str) -> list[str]:
    """The states of the ports once every one of them is plugged."""
    seen = await client.until(
        f"/compute/servers/{server_id}/os-interface",
        lambda answer: all(nic["port_state"] == "ACTIVE" for nic in answer.json()["interfaceAttachments"]),
    )
    return [nic["port_id"] for nic in seen.json()["interfaceAttachments"]]


async def network_of(client: Client, server_id: str) -> str:
    return str((await nics_of(client, server_id))[0]["net_id"])


async def act(client: Client, server_id: str, action: dict[str, Any], status: str) -> None:
    answer = await client.post(f"/compute/servers/{server_id}/action", action)
    assert answer.status_code == 202, answer.text
    await client.until(
        f"/compute/servers/{server_id}",
        lambda seen: (
            seen.json()["server"]["status"] == status and seen.json()["server"]["OS-EXT-STS:task_state"] is None
        ),
    )


async def test_a_nic_more_on_the_same_network(client: Client) -> None:
    server = await make_server(client, nics=2)
    network_id = await network_of(client, server["id"])
    made = await attach(client, server["id"], net_id=network_id, tag="third")
    assert made.keys() == {"net_id", "port_id", "mac_addr", "port_state", "fixed_ips", "tag"}
    assert made["tag"] == "third"
    nics = await nics_of(client, server["id"])
    assert [nic["port_id"] for nic in nics][2:] == [made["port_id"]]
    shown = (await client.get(f"/compute/servers/{server['id']}")).json()["server"]["addresses"]["net1"]
    assert [entry["addr"] for entry in shown] == [nic["fixed_ips"][0]["ip_address"] for nic in nics]
    await settled(client, server["id"])
    one = await client.get(f"/compute/servers/{server['id']}/os-interface/{made['port_id']}")
    assert one.json()["interfaceAttachment"]["port_state"] == "ACTIVE"
    assert "tag" not in one.json()["interfaceAttachment"]


async def test_all_ways_to_name_a_nic(client: Client) -> None:
    server = await make_server(client, nics=1)
    network_id = await network_of(client, server["id"])
    port = await client.made("/network/ports", {"port": {"network_id": network_id}})
    wanted = [
        (await attach(client, server["id"]))["port_id"],
        (await attach(client, server["id"], net_id=network_id))["port_id"],
        (await attach(client, server["id"], port_id=port["id"]))["port_id"],
        (await attach(client, server["id"], net_id=network_id, fixed_ips=[{"ip_address": "10.0.0.77"}]))["port_id"],
    ]
    empty = await client.post(f"/compute/servers/{server['id']}/os-interface", {})
    wanted.append(empty.json()["interfaceAttachment"]["port_id"])
    assert wanted[2] == port["id"]
    nics = await nics_of(client, server["id"])
    assert [nic["port_id"] for nic in nics[1:]] == wanted
    assert nics[4]["fixed_ips"][0]["ip_address"] == "10.0.0.77"


async def test_order_holds_through_a_whole_life(client: Client) -> None:
    server = await make_server(client, nics=2)
    server_id = server["id"]
    network_id = await network_of(client, server_id)
    port = await client.made("/network/ports", {"port": {"network_id": network_id}})
    for body in ({"net_id": network_id}, {"port_id": port["id"]}, *[{"net_id": network_id}] * 8):
        await attach(client, server_id, **body)
    order = await ports_of(client, server_id)
    assert len(order) == 12

    async def detach(port_id: str) -> None:
        answer = await client.delete(f"/compute/servers/{server_id}/os-interface/{port_id}")
        assert answer.status_code == 202
        assert answer.content == b""
        order.remove(port_id)

    await detach(port["id"])
    await detach(order[0])
    assert await ports_of(client, server_id) == order
    await attach(client, server_id, port_id=port["id"])
    order.append(port["id"])
    for action, status in (
        ({"reboot": {"type": "HARD"}}, "ACTIVE"),
        ({"os-stop": None}, "SHUTOFF"),
        ({"os-start": None}, "ACTIVE"),
        ({"reboot": {"type": "SOFT"}}, "ACTIVE"),
        ({"pause": None}, "PAUSED"),
        ({"unpause": None}, "ACTIVE"),
    ):
        await act(client, server_id, action, status)
        assert await settled(client, server_id) == order if status == "ACTIVE" else True
        assert await ports_of(client, server_id) == order
        listed = (await client.get(f"/network/ports?device_id={server_id}")).json()["ports"]
        assert [each["id"] for each in listed] == order


async def test_a_stopped_server_takes_and_gives_nics(client: Client) -> None:
    server = await make_server(client, nics=3)
    server_id = server["id"]
    network_id = await network_of(client, server_id)
    await act(client, server_id, {"os-stop": None}, "SHUTOFF")
    order = await ports_of(client, server_id)
    made = await attach(client, server_id, net_id=network_id)
    assert (await client.delete(f"/compute/servers/{server_id}/os-interface/{order[1]}")).status_code == 202
    wanted = [order[0], order[2], made["port_id"]]
    assert await ports_of(client, server_id) == wanted
    await act(client, server_id, {"os-start": None}, "ACTIVE")
    assert await settled(client, server_id) == wanted


async def test_ports_made_go_and_ports_brought_are_free_again(client: Client) -> None:
    server = await make_server(client, nics=1)
    network_id = await network_of(client, server["id"])
    port = await client.made("/network/ports", {"port": {"network_id": network_id}})
    made = await attach(client, server["id"], net_id=network_id)
    await attach(client, server["id"], port_id=port["id"])
    for port_id in (made["port_id"], port["id"]):
        await client.delete(f"/compute/servers/{server['id']}/os-interface/{port_id}")
        gone = await client.get(f"/compute/servers/{server['id']}/os-interface/{port_id}")
        assert gone.status_code == 404
    assert (await client.get(f"/network/ports/{made['port_id']}")).status_code == 404
    left = (await client.get(f"/network/ports/{port['id']}")).json()["port"]
    assert (left["device_id"], left["device_owner"], left["status"]) == ("", "", "DOWN")


async def test_every_mistake_is_named_and_leaves_nothing(client: Client, other: Client) -> None:
    server = await make_server(client, nics=1)
    network_id = await network_of(client, server["id"])
    taken = (await nics_of(client, server["id"]))[0]
    theirs = await make_network(other)
    their_port = await other.made("/network/ports", {"port": {"network_id": theirs}})
    bare = await client.made("/network/networks", {"network": {"name": "bare"}})
    address = [{"ip_address": taken["fixed_ips"][0]["ip_address"]}]
    mistakes: list[tuple[Any, int]] = [
        ({"net_id": NOWHERE}, 404),
        ({"net_id": theirs}, 404),
        ({"port_id": NOWHERE}, 404),
        ({"port_id": their_port["id"]}, 404),
        ({"port_id": taken["port_id"]}, 409),
        ({"net_id": network_id, "fixed_ips": address}, 409),
        ({"net_id": network_id, "fixed_ips": [{"ip_address": "192.0.2.9"}]}, 400),
        ({"net_id": network_id, "fixed_ips": [{"ip_address": "nonsense"}]}, 400),
        ({"net_id": network_id, "fixed_ips": []}, 400),
        ({"net_id": network_id, "fixed_ips": address * 2}, 400),
        ({"fixed_ips": address}, 400),
        ({"net_id": network_id, "port_id": taken["port_id"]}, 400),
        ({"net_id": bare["id"]}, 400),
        ({}, 400),
        ({"net_id": "abc"}, 400),
        ({"net_id": 5}, 400),
        ({"port_id": "abc"}, 400),
        ({"net_id": network_id, "unknown": 1}, 400),
        ({"net_id": network_id, "tag": "a,b"}, 400),
        (None, 400),
        ([], 400),
    ]
    path = f"/compute/servers/{server['id']}/os-interface"
    for body, status in mistakes:
        answer = await client.post(path, {"interfaceAttachment": body}, "2.70")
        assert answer.status_code == status, (body, answer.text)
        assert next(iter(answer.json().values()))["message"]
    assert (
        await client.post(path, {"interfaceAttachment": {"net_id": network_id, "tag": "x"}}, "2.48")
    ).status_code == 400
    assert await ports_of(client, server["id"]) == [taken["port_id"]]
    assert len((await client.get("/network/ports")).json()["ports"]) == 1
    unknown = await client.delete(f"{path}/{NOWHERE}")
    assert unknown.status_code == 404
    elsewhere = await make_server(client)
    foreign = await client.delete(f"/compute/servers/{elsewhere['id']}/os-interface/{taken['port_id']}")
    assert foreign.status_code == 404
    assert (await client.get(f"{path}/nonsense")).status_code == 404


async def test_at_the_same_time(client: Client) -> None:
    server = await make_server(client, nics=1)
    network_id = await network_of(client, server["id"])
    port = await client.made("/network/ports", {"port": {"network_id": network_id}})
    path = f"/compute/servers/{server['id']}/os-interface"
    same = {"interfaceAttachment": {"port_id": port["id"]}}
    answers = await asyncio.gather(*(client.post(path, same) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    more = {"interfaceAttachment": {"net_id": network_id}}
    answers = await asyncio.gather(*(client.post(path, more) for _ in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len(await settled(client, server["id"])) == 8


async def test_what_an_administrator_attaches_is_the_projects(client: Client, other: Client, admin: Client) -> None:
    server = await make_server(client, nics=1)
    path = f"/compute/servers/{server['id']}/os-interface"
    answer = await admin.post(path, {"interfaceAttachment": {}})
    assert answer.status_code == 200, answer.text
    port_id = answer.json()["interfaceAttachment"]["port_id"]
    port = (await client.get(f"/network/ports/{port_id}")).json()["port"]
    assert port["project_id"] == client.project_id
    groups = (await client.get(f"/compute/servers/{server['id']}/os-security-groups")).json()["security_groups"]
    assert [(group["name"], group["tenant_id"]) for group in groups] == [("default", client.project_id)]

    network = await make_network(other, "theirs", "10.9.0.0/24")
    theirs = await other.made("/network/ports", {"port": {"network_id": network}})
    before = await ports_of(client, server["id"])
    refused = await admin.post(path, {"interfaceAttachment": {"port_id": theirs["id"]}})
    assert refused.status_code == 400, refused.text
    assert f"Port {theirs['id']} is not usable" in refused.json()["badRequest"]["message"]
    assert (await client.post(path, {"interfaceAttachment": {"port_id": theirs["id"]}})).status_code == 404
    assert await ports_of(client, server["id"]) == before


async def test_an_administrator_takes_a_port_away(client: Client, admin: Client) -> None:
    server = await make_server(client, nics=3)
    order = await ports_of(client, server["id"])
    assert (await client.delete(f"/network/ports/{order[1]}")).status_code == 403
    assert (await admin.delete(f"/network/ports/{order[1]}")).status_code == 204
    assert await ports_of(client, server["id"]) == [order[0], order[2]]
    addresses = (await client.get(f"/compute/servers/{server['id']}")).json()["server"]["addresses"]["net1"]
    assert len(addresses) == 2


async def test_a_rebuild_numbers_slots_again(client: Client) -> None:
    server = await make_server(client, nics=3)
    server_id = server["id"]
    network_id = await network_of(client, server_id)
    order = await ports_of(client, server_id)
    await client.delete(f"/compute/servers/{server_id}/os-interface/{order[0]}")
    await attach(client, server_id, net_id=network_id)
    order = await ports_of(client, server_id)
    image_id = server["image"]["id"]
    await act(client, server_id, {"rebuild": {"imageRef": image_id}}, "ACTIVE")
    assert await settled(client, server_id) == order
    listed = (await client.get(f"/network/ports?device_id={server_id}")).json()["ports"]
    assert [each["id"] for each in listed] == order


async def test_fixed_ip_actions_are_nics_too(client: Client) -> None:
    server = await make_server(client, nics=1)
    server_id = server["id"]
    network_id = await network_of(client, server_id)
    path = f"/compute/servers/{server_id}/action"
    assert (await client.post(path, {"addFixedIp": {"networkId": network_id}})).status_code == 202
    nics = await nics_of(client, server_id)
    assert len(nics) == 2
    address = nics[0]["fixed_ips"][0]["ip_address"]
    assert (await client.post(path, {"removeFixedIp": {"address": address}}, "2.100")).status_code == 202
    assert await ports_of(client, server_id) == [nics[1]["port_id"]]
    for body in ({"addFixedIp": {}}, {"addFixedIp": {"networkId": "abc"}}, {"removeFixedIp": {"address": "10.9.9.9"}}):
        assert (await client.post(path, body)).status_code == 400


async def test_an_address_is_meant_in_any_notation(client: Client) -> None:
    server = await make_server(client, nics=1)
    network_id = await make_network(client, "six", "2001:db8::/64")
    path = f"/compute/servers/{server['id']}"
    wanted = {"net_id": network_id, "fixed_ips": [{"ip_address": "2001:db8::ab"}]}
    await client.made(f"{path}/os-interface", {"interfaceAttachment": wanted})
    gone = await client.post(f"{path}/action", {"removeFixedIp": {"address": "2001:0DB8:0::AB"}})
    assert gone.status_code == 202, gone.text
    assert len(await ports_of(client, server["id"])) == 1


async def test_a_locked_server_keeps_its_nics(client: Client, admin: Client) -> None:
    server = await make_server(client, nics=2)
    order = await ports_of(client, server["id"])
    path = f"/compute/servers/{server['id']}"
    await client.post(f"{path}/action", {"lock": None})
    assert (await client.post(f"{path}/os-interface", {})).status_code == 409
    detached = await client.delete(f"{path}/os-interface/{order[0]}")
    assert detached.json()["conflictingRequest"]["message"] == f"Instance {server['id']} is locked"
    assert await ports_of(client, server["id"]) == order
    assert (await admin.delete(f"{path}/os-interface/{order[0]}")).status_code == 202


@pytest.mark.parametrize("state", ["error"])
async def test_not_in_every_state(client: Client, admin: Client, state: str) -> None:
    server = await make_server(client, nics=1)
    path = f"/compute/servers/{server['id']}"
    assert (await admin.post(f"{path}/action", {"os-resetState": {"state": state}})).status_code == 202
    answer = await client.post(f"{path}/os-interface", {})
    assert answer.status_code == 409
    words = f"Cannot 'attach_interface' instance {server['id']} while it is in vm_state {state}"
    assert answer.json()["conflictingRequest"]["message"] == words
