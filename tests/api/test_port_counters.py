"""`polyport:counters`: what went through a port, and what did not."""

import asyncio
import socket

import pytest
from click.testing import CliRunner

from polyport.cli import main
from polyport.dataplane import EGRESS_CAUSES, INGRESS_CAUSES
from polyport.plan import PortCounters, Traffic
from polyport.web.server import server_for
from tests.api.boots import make_port
from tests.api.client import Client, TestCloud
from tests.api.stock import make_network, make_server
from tests.api.test_groups_on_hosts import host_of

NAME = "polyport:counters"


def busy() -> PortCounters:
    """Of a port of a guest that lies now and then."""
    inward = dict.fromkeys(INGRESS_CAUSES, 0) | {"security_group": 3}
    outward = dict.fromkeys(EGRESS_CAUSES, 0) | {"spoofed_mac": 9}
    return PortCounters(
        ingress=Traffic(packets=10, bytes=1000, dropped=inward), egress=Traffic(packets=20, bytes=1500, dropped=outward)
    )


async def test_a_port_shows_what_went_through_it(client: Client, cloud: TestCloud) -> None:
    server = await make_server(client, nics=2)
    idle, used = (await client.get(f"/network/ports?device_id={server['id']}")).json()["ports"]
    host_of(cloud).counters[list(host_of(cloud).counters)[1]] = busy()
    shown = (await client.get(f"/network/ports/{used['id']}")).json()["port"][NAME]
    assert (shown["ingress"]["packets"], shown["ingress"]["bytes"]) == (10, 1000)
    assert (shown["egress"]["packets"], shown["egress"]["bytes"]) == (20, 1500)
    assert tuple(shown["ingress"]["dropped"]) == INGRESS_CAUSES
    assert tuple(shown["egress"]["dropped"]) == EGRESS_CAUSES
    assert (shown["ingress"]["dropped"]["security_group"], shown["egress"]["dropped"]["spoofed_mac"]) == (3, 9)
    other = (await client.get(f"/network/ports/{idle['id']}")).json()["port"][NAME]
    assert sum(other["ingress"]["dropped"].values()) + sum(other["egress"]["dropped"].values()) == 0


async def test_fields_leave_it_out_or_ask_for_it(client: Client) -> None:
    server = await make_server(client, nics=1)
    (port,) = (await client.get(f"/network/ports?device_id={server['id']}")).json()["ports"]
    assert NAME not in port, "lists do not have it"
    path = f"/network/ports/{port['id']}"
    assert (await client.get(f"{path}?fields=id")).json()["port"] == {"id": port["id"]}
    only = (await client.get(f"{path}?fields={NAME}")).json()["port"]
    assert list(only) == [NAME]
    assert only[NAME]["egress"]["packets"] == 0


async def test_a_port_that_is_not_plugged_has_none(client: Client) -> None:
    port = await make_port(client, await make_network(client))
    assert (await client.get(f"/network/ports/{port['id']}")).json()["port"] == port
    server = await make_server(client, nics=1)
    (used,) = (await client.get(f"/network/ports?device_id={server['id']}")).json()["ports"]
    await client.post(f"/compute/servers/{server['id']}/action", {"os-stop": None})
    await client.until(f"/network/ports/{used['id']}", lambda answer: NAME not in answer.json()["port"])


async def test_nobody_changes_it_and_strangers_do_not_see_it(client: Client, other: Client) -> None:
    port = await make_port(client, await make_network(client))
    path = f"/network/ports/{port['id']}"
    assert (await client.put(path, {"port": {NAME: None}})).status_code == 400
    assert (await other.get(path)).status_code == 404


async def test_it_is_an_extension(client: Client) -> None:
    shown = (await client.get("/network/extensions/polyport-counters")).json()["extension"]
    assert NAME in shown["description"]


async def test_it_is_there_before_the_host_can_tell(client: Client, cloud: TestCloud) -> None:
    server = await make_server(client, nics=1)
    (port,) = (await client.get(f"/network/ports?device_id={server['id']}")).json()["ports"]
    cloud.cloud.agent.cancel()
    await client.until(f"/network/ports/{port['id']}", lambda answer: NAME not in answer.json()["port"])


async def test_the_command_line_shows_it_in_lines(
    client: Client, cloud: TestCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await make_server(client, nics=1)
    (port,) = (await client.get(f"/network/ports?device_id={server['id']}")).json()["ports"]
    (plugged,) = host_of(cloud).counters
    host_of(cloud).counters[plugged] = busy()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()
        access = {"auth_url": f"http://127.0.0.1:{place[1]}/identity", "username": "admin", "password": "secret"}
        for name, value in {**access, "project_name": "admin"}.items():
            monkeypatch.setenv(f"OS_{name.upper()}", value)
        monkeypatch.delenv("OS_CLOUD", raising=False)
        serving = server_for(cloud.cloud.app, *place)
        task = asyncio.create_task(serving.serve([listener]))
        ran = await asyncio.to_thread(CliRunner().invoke, main, ["counters", port["id"]])
        serving.should_exit = True
        await task
    assert ran.exit_code == 0, ran.output
    lines = [" ".join(line.split()) for line in ran.output.splitlines()]
    assert lines[:2] == ["ingress packets 10", "ingress bytes 1000"]
    assert {"ingress dropped security_group 3", "egress dropped spoofed_mac 9", "egress bytes 1500"} <= set(lines)
    assert len(lines) == 4 + len(INGRESS_CAUSES) + len(EGRESS_CAUSES)
