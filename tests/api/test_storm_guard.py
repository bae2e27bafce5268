"""Limits of the storm guard and sibling addresses: who sets them, who sees them, what hosts hear of them."""

from typing import Any

import pytest

from polyport.plan import StormPlan
from tests.api.client import Client, TestCloud
from tests.api.stock import make_network
from tests.api.test_plans import Host, boot, host

__all__ = ["host"]

NONE = {"flood_rate": None, "flood_burst": None, "sibling_rate": None}


async def test_the_limits_of_a_network_reach_its_hosts(client: Client, admin: Client, host: Host) -> None:
    server_id = await boot(client, nics=2)
    port = (await client.get(f"/network/v2.0/ports?device_id={server_id}")).json()["ports"][0]
    plan = await host.plan()
    assert (plan.networks[0].storm, plan.networks[0].sibling_addresses) == (None, True)
    assert plan.servers[0].nics[0].storm is None
    path = f"/network/v2.0/networks/{port['network_id']}"
    limits = {"flood_rate": 100, "flood_burst": 300, "sibling_rate": 5}
    changed = await admin.put(path, {"network": {"polyport:storm_guard": limits}})
    assert changed.json()["network"]["polyport:storm_guard"] == limits
    assert (await client.get(path)).json()["network"]["polyport:storm_guard"] == limits
    assert (await host.plan()).networks[0].storm == StormPlan(flood_rate=100, flood_burst=300, sibling_rate=5)
    await client.put(path, {"network": {"polyport:sibling_addresses": False}})
    plan = await host.plan()
    assert not plan.networks[0].sibling_addresses
    assert plan.networks[0].storm is not None, "what is not named stays"
    await admin.put(path, {"network": {"polyport:storm_guard": None}})
    assert (await client.get(path)).json()["network"]["polyport:storm_guard"] == NONE
    assert (await host.plan()).networks[0].storm is None


async def test_the_limits_of_a_port_reach_its_host(client: Client, admin: Client, host: Host) -> None:
    server_id = await boot(client, nics=2)
    await host.plan()
    port = (await client.get(f"/network/v2.0/ports?device_id={server_id}")).json()["ports"][1]
    path = f"/network/v2.0/ports/{port['id']}"
    changed = await admin.put(path, {"port": {"polyport:storm_guard": {"flood_rate": 7}}})
    assert changed.json()["port"]["polyport:storm_guard"] == {**NONE, "flood_rate": 7}
    nics = (await host.one()).nics
    assert [nic.storm for nic in nics] == [None, StormPlan(flood_rate=7)]


async def test_networks_and_ports_are_made_with_limits(admin: Client) -> None:
    limits = {"flood_rate": 10, "flood_burst": 10, "sibling_rate": 1}
    body = {"polyport:storm_guard": limits, "polyport:sibling_addresses": False}
    network = (await admin.post("/network/v2.0/networks", {"network": body})).json()["network"]
    assert (network["polyport:storm_guard"], network["polyport:sibling_addresses"]) == (limits, False)
    body = {"network_id": network["id"], "polyport:storm_guard": limits}
    port = (await admin.post("/network/v2.0/ports", {"port": body})).json()["port"]
    assert port["polyport:storm_guard"] == limits


async def test_members_set_no_limits(client: Client) -> None:
    network_id = await make_network(client)
    limits = {"polyport:storm_guard": {"flood_rate": 1000000}}
    port = (await client.post("/network/v2.0/ports", {"port": {"network_id": network_id}})).json()["port"]
    assert port["polyport:storm_guard"] == NONE
    for answer in (
        await client.post("/network/v2.0/networks", {"network": limits}),
        await client.put(f"/network/v2.0/networks/{network_id}", {"network": limits}),
        await client.post("/network/v2.0/ports", {"port": {"network_id": network_id, **limits}}),
        await client.put(f"/network/v2.0/ports/{port['id']}", {"port": limits}),
    ):
        assert answer.status_code == 403, answer.text


@pytest.mark.parametrize(
    "limits",
    [
        {"flood_rate": 0},
        {"flood_rate": -1},
        {"flood_rate": 1000001},
        {"flood_rate": "many"},
        {"flood_burst": 5},
        {"other": 1},
        [],
        "x",
        7,
    ],
)
async def test_odd_limits_are_refused(admin: Client, limits: Any) -> None:
    answer = await admin.post("/network/v2.0/networks", {"network": {"polyport:storm_guard": limits}})
    assert answer.status_code == 400, answer.text
    assert "storm_guard" in answer.text or "other" in answer.text


async def test_the_extension_is_listed(client: Client, cloud: TestCloud) -> None:
    answer = await client.get("/network/v2.0/extensions/polyport-storm-guard")
    assert answer.json()["extension"]["alias"] == "polyport-storm-guard"
