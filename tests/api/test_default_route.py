"""`polyport:default_route`: who marks a port, who sees it, what its host hears of it."""

from typing import Any

import pytest

from tests.api.boots import make_port
from tests.api.client import Client
from tests.api.stock import make_network
from tests.api.test_plans import Host, boot, host

__all__ = ["host"]

MARK = "polyport:default_route"


async def test_a_port_is_marked_and_unmarked_under_its_server(client: Client, host: Host) -> None:
    server_id = await boot(client, nics=2)
    listed = (await client.get(f"/network/v2.0/ports?device_id={server_id}")).json()["ports"]
    assert [port[MARK] for port in listed] == [False, False]
    path = f"/network/v2.0/ports/{listed[1]['id']}"
    await host.plan()
    for mark in (True, False):
        changed = await client.put(path, {"port": {MARK: mark}})
        assert changed.json()["port"][MARK] is mark
        assert (await client.get(path)).json()["port"][MARK] is mark
        assert [nic.default_route for nic in (await host.one()).nics] == [False, mark]


async def test_a_port_is_made_with_the_mark(client: Client) -> None:
    network_id = await make_network(client)
    port = await make_port(client, network_id, **{MARK: True})
    assert port[MARK] is True
    kept = await client.put(f"/network/v2.0/ports/{port['id']}", {"port": {"name": "other"}})
    assert kept.json()["port"][MARK] is True, "what is not named stays"


@pytest.mark.parametrize("mark", ["yes", 2, None, {}, [True]])
async def test_a_mark_is_true_or_false(client: Client, mark: Any) -> None:
    network_id = await make_network(client)
    port = await make_port(client, network_id)
    made = await client.post("/network/v2.0/ports", {"port": {"network_id": network_id, MARK: mark}})
    changed = await client.put(f"/network/v2.0/ports/{port['id']}", {"port": {MARK: mark}})
    for answer in (made, changed):
        assert answer.status_code == 400, answer.text
        assert MARK in answer.text


async def test_others_do_not_mark_a_port(client: Client, other: Client) -> None:
    port = await make_port(client, await make_network(client))
    refused = await other.put(f"/network/v2.0/ports/{port['id']}", {"port": {MARK: True}})
    assert refused.status_code == 404
    assert (await client.get(f"/network/v2.0/ports/{port['id']}")).json()["port"][MARK] is False


async def test_the_extension_is_listed(client: Client) -> None:
    found = await client.get("/network/v2.0/extensions/polyport-default-route")
    assert found.json()["extension"]["alias"] == "polyport-default-route"
