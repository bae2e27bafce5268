"""Networks, through HTTP."""

import pytest

from tests.api.client import Client


def kind(answer: object) -> str:
    """The public name of an error."""
    found: str = answer.json()["NeutronError"]["type"]  # type: ignore[attr-defined]
    return found


async def test_a_network_from_its_beginning_to_its_end(client: Client) -> None:
    made = await client.post("/network/networks", {"network": {"name": "blue", "description": "first"}})
    assert made.status_code == 201
    network = made.json()["network"]
    assert network["name"] == "blue"
    assert network["status"] == "ACTIVE"
    assert network["admin_state_up"] is True
    assert network["shared"] is False
    assert network["router:external"] is False
    assert network["mtu"] == 1500
    assert network["project_id"] == network["tenant_id"] == client.project_id
    assert network["created_at"].endswith("Z")
    assert len(network["created_at"]) == 20
    assert network["subnets"] == network["tags"] == []
    assert "provider:network_type" not in network
    path = f"/network/networks/{network['id']}"
    assert (await client.get(path)).json()["network"] == network
    changed = await client.put(path, {"network": {"name": "green", "mtu": 1400}})
    assert changed.status_code == 200
    assert changed.json()["network"]["name"] == "green"
    assert changed.json()["network"]["mtu"] == 1400
    assert changed.json()["network"]["revision_number"] == network["revision_number"] + 1
    assert (await client.delete(path)).status_code == 204
    gone = await client.get(path)
    assert gone.status_code == 404
    assert kind(gone) == "NetworkNotFound"
    assert (await client.delete(path)).status_code == 404
    assert (await client.put(path, {"network": {}})).status_code == 404


async def test_two_networks_may_have_one_name_and_a_name_is_no_id(client: Client) -> None:
    for _ in range(2):
        await client.made("/network/networks", {"network": {"name": "twin"}})
    assert (await client.get("/network/networks/twin")).status_code == 404
    found = (await client.get("/network/networks?name=twin")).json()["networks"]
    assert len({network["id"] for network in found}) == 2


async def test_many_in_one_request_are_made_in_order_or_not_at_all(client: Client) -> None:
    made = await client.post("/network/networks", {"networks": [{"name": "a"}, {"name": "b"}, {"name": "c"}]})
    assert made.status_code == 201
    assert [network["name"] for network in made.json()["networks"]] == ["a", "b", "c"]
    refused = await client.post("/network/networks", {"networks": [{"name": "d"}, {"name": "e", "mtu": 1}]})
    assert refused.status_code == 400
    assert (await client.get("/network/networks?name=d")).json()["networks"] == []


async def test_networks_of_others_are_not_there(client: Client, other: Client) -> None:
    network = await client.made("/network/networks", {"network": {"name": "mine"}})
    path = f"/network/networks/{network['id']}"
    assert (await other.get(path)).status_code == 404
    assert (await other.put(path, {"network": {"name": "x"}})).status_code == 404
    assert (await other.delete(path)).status_code == 404
    assert (await other.get("/network/networks")).json()["networks"] == []
    for body in (
        {"port": {"network_id": network["id"]}},
        {"subnet": {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}},
    ):
        assert (await other.post(f"/network/{next(iter(body))}s", body)).status_code == 404


async def test_a_shared_network_is_everybodys_to_use_and_one_projects_to_change(
    admin: Client, client: Client, other: Client
) -> None:
    refused = await client.post("/network/networks", {"network": {"shared": True}})
    assert refused.status_code == 403
    assert kind(refused) == "PolicyNotAuthorized"
    network = await admin.made("/network/networks", {"network": {"name": "common", "shared": True}})
    subnet = {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}
    await admin.made("/network/subnets", {"subnet": subnet})
    assert [found["name"] for found in (await other.get("/network/networks")).json()["networks"]] == ["common"]
    assert len((await other.get("/network/subnets")).json()["subnets"]) == 1
    path = f"/network/networks/{network['id']}"
    assert (await client.put(path, {"network": {"name": "x"}})).status_code == 403
    assert (await client.delete(path)).status_code == 403
    port = await client.made("/network/ports", {"port": {"network_id": network["id"]}})
    assert port["fixed_ips"][0]["ip_address"] == "10.0.0.2"
    # What Neutron reserves for the owner of a network is reserved here.
    for wish in (
        {"mac_address": "fa:16:3e:00:00:01"},
        {"fixed_ips": [{"ip_address": "10.0.0.9"}]},
        {"port_security_enabled": False},
        {"allowed_address_pairs": [{"ip_address": "10.0.0.1"}]},
        {"device_owner": "network:dhcp"},
    ):
        assert (await client.post("/network/ports", {"port": {"network_id": network["id"], **wish}})).status_code == 403
        assert (await client.put(f"/network/ports/{port['id']}", {"port": wish})).status_code == 403
    unshared = await admin.put(path, {"network": {"shared": False}})
    assert unshared.status_code == 409
    assert kind(unshared) == "InvalidSharedSetting"
    assert (await client.delete(f"/network/ports/{port['id']}")).status_code == 204
    assert (await admin.put(path, {"network": {"shared": False}})).status_code == 200
    assert (await client.get(path)).status_code == 404


async def test_a_network_in_use_stays(client: Client) -> None:
    network = await client.made("/network/networks", {"network": {}})
    port = await client.made("/network/ports", {"port": {"network_id": network["id"]}})
    refused = await client.delete(f"/network/networks/{network['id']}")
    assert refused.status_code == 409
    assert kind(refused) == "NetworkInUse"
    assert (await client.delete(f"/network/ports/{port['id']}")).status_code == 204
    assert (await client.delete(f"/network/networks/{network['id']}")).status_code == 204


async def test_subnets_go_with_their_network(client: Client) -> None:
    network = await client.made("/network/networks", {"network": {}})
    subnet = await client.made(
        "/network/subnets", {"subnet": {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}}
    )
    assert (await client.get(f"/network/networks/{network['id']}")).json()["network"]["subnets"] == [subnet["id"]]
    assert (await client.delete(f"/network/networks/{network['id']}")).status_code == 204
    assert (await client.get(f"/network/subnets/{subnet['id']}")).status_code == 404


async def test_an_administrator_makes_networks_for_others_and_sees_how_they_are_carried(
    admin: Client, client: Client
) -> None:
    network = await admin.made("/network/networks", {"network": {"name": "yours", "project_id": client.project_id}})
    assert network["provider:network_type"] == "local"
    assert (await client.get(f"/network/networks/{network['id']}")).json()["network"]["name"] == "yours"
    refused = await client.post("/network/networks", {"network": {"tenant_id": admin.project_id}})
    assert refused.status_code == 400
    for provider in ({"provider:network_type": "vlan"}, {"provider:physical_network": "eth0"}):
        assert (await admin.post("/network/networks", {"network": provider})).status_code == 400
        assert (await client.post("/network/networks", {"network": provider})).status_code == 403


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"mtu": 10}, "mtu"),
        ({"mtu": -1}, "mtu"),
        ({"mtu": "big"}, "mtu"),
        ({"mtu": True}, "mtu"),
        ({"admin_state_up": 2}, "admin_state_up"),
        ({"mtu": 2**70}, "mtu"),
        ({"name": "x" * 256}, "name"),
        ({"name": 7}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"admin_state_up": "perhaps"}, "admin_state_up"),
        ({"colour": "blue"}, "colour"),
        ({"router:external": True}, "router:external"),
        ({"project_id": "a", "tenant_id": "b"}, "project_id"),
    ],
)
async def test_wishes_that_are_refused_name_the_attribute(client: Client, wish: dict[str, object], named: str) -> None:
    answer = await client.post("/network/networks", {"network": wish})
    assert answer.status_code == 400
    assert named in answer.json()["NeutronError"]["message"]
    assert (await client.get("/network/networks")).json()["networks"] == []


async def test_a_change_may_demand_the_revision_it_knows(client: Client) -> None:
    network = await client.made("/network/networks", {"network": {}})
    path = f"/network/networks/{network['id']}"

    async def rename(match: str) -> int:
        answer = await client.put(path, {"network": {"name": "x"}}, headers={"if-match": match})
        return answer.status_code

    known = network["revision_number"]
    assert await rename(f"revision_number={known}") == 200
    assert await rename(f"revision_number={known}") == 412
    assert await rename("revision_number=x") == 400
    assert (await client.delete(path, headers={"if-match": f"revision_number={known}"})).status_code == 412
    assert (await client.delete(path, headers={"if-match": f"revision_number={known + 1}"})).status_code == 204


async def test_the_way_in(client: Client) -> None:
    nobody = await client.http.get("/network/")
    assert nobody.status_code == 200
    assert nobody.json()["versions"][0]["id"] == "v2.0"
    assert nobody.json()["versions"][0]["links"][0]["href"] == "http://cloud.test:8774/network/v2.0/"
    collections = [entry["collection"] for entry in (await client.http.get("/network/v2.0/")).json()["resources"]]
    for collection in collections:
        answer = await client.get(f"/network/{collection}")
        assert answer.status_code in (200, 403), collection
    assert (await client.get("/network/nonsense")).status_code == 404
    assert (await client.patch("/network/networks", {})).status_code == 405
    assert (await client.http.get("/network/v2.0/networks")).status_code == 401


async def test_numbers_and_booleans_may_come_as_text(client: Client) -> None:
    network = await client.made("/network/networks", {"network": {"mtu": "1400", "admin_state_up": "False"}})
    assert network["mtu"] == 1400
    assert network["admin_state_up"] is False


async def test_extensions_are_listed_and_shown(client: Client) -> None:
    listed = (await client.get("/network/extensions")).json()["extensions"]
    aliases = [extension["alias"] for extension in listed]
    assert {"security-group", "port-security", "allowed-address-pairs", "binding", "quotas"} <= set(aliases)
    assert "router" not in aliases
    for extension in listed:
        assert {"alias", "name", "description", "updated", "links"} == set(extension)
        assert (await client.get(f"/network/extensions/{extension['alias']}")).json() == {"extension": extension}
    assert (await client.get("/network/extensions/router")).status_code == 404


async def test_there_are_no_routers_and_no_floating_ips(client: Client) -> None:
    assert (await client.get("/network/routers?name=x")).json() == {"routers": []}
    assert (await client.get("/network/routers/x")).status_code == 404
    assert (await client.get("/network/floatingips/x")).status_code == 404
    assert (await client.post("/network/routers", {"router": {}})).status_code == 405
    assert (await client.get("/network/floatingips?port_id=x")).json() == {"floatingips": []}
    assert (await client.post("/network/floatingips", {"floatingip": {}})).status_code == 405
