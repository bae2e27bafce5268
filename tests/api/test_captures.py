"""Captures of ports: who may have them, how far they go, what is left of them."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from polyport import capture
from polyport.config import CaptureConfig
from polyport.dataplane.fake import FakeDataplane, FakeNetworks
from polyport.ids import PortId
from polyport.web import app
from polyport.web.server import server_for
from tests.api.boots import NOWHERE
from tests.api.client import Client, TestCloud
from tests.api.stock import make_network, make_server

PATIENCE = 20.0
LIMITS = CaptureConfig(seconds=600, bytes=500_000_000, snaplen=2000, at_once=3, at_once_per_port=2)


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[TestCloud]:
    async with TestCloud(tmp_path, capture=LIMITS) as running:
        yield running


@pytest.fixture
def networks(cloud: TestCloud) -> FakeNetworks:
    return networks_of(cloud)


def networks_of(cloud: TestCloud) -> FakeNetworks:
    dataplane = cloud.cloud.dataplane
    assert isinstance(dataplane, FakeDataplane)
    return dataplane.networks


async def plugged(client: Client) -> PortId:
    """The port of a server that runs."""
    server = await make_server(client, nics=1)
    ports = (await client.get(f"/network/ports?device_id={server['id']}")).json()["ports"]
    return PortId(ports[0]["id"])


async def looked_at(networks: FakeNetworks, captures: int = 1) -> None:
    """Wait until so many captures run."""
    await holds(lambda: sum(map(len, networks.captures.values())) == captures)


async def holds(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


def frames(stream: bytes) -> list[tuple[bytes, int]]:
    """(data, length) of each frame of a stream that is whole."""
    magic, _, _, _, _, _, link = struct.unpack_from("<IHHiIII", stream)
    assert (magic, link) == (0xA1B23C4D, 1)
    found, at = [], capture.HEADER_SIZE
    while at < len(stream):
        _, _, size, length = struct.unpack_from("<IIII", stream, at)
        found.append((stream[at + 16 : at + 16 + size], length))
        at += 16 + size
    assert at == len(stream)
    return found


async def captured(client: Client, networks: FakeNetworks, port: PortId, query: str, *sent: bytes) -> bytes:
    """What a capture answers while these frames pass, from the guest and to it in turn."""
    asking = asyncio.create_task(client.get(f"/network/ports/{port}/capture?{query}"))
    await looked_at(networks)
    for number, data in enumerate(sent):
        networks.carry(port, data, "ingress" if number % 2 else "egress")
    async with asyncio.timeout(PATIENCE):
        answer = await asking
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.tcpdump.pcap"
    assert networks.captures == {}, "nothing is left"
    return answer.content


async def test_as_many_packets_as_are_asked_for(client: Client, networks: FakeNetworks) -> None:
    stream = await captured(client, networks, await plugged(client), "packets=2", b"one", b"two", b"three")
    assert frames(stream) == [(b"one", 3), (b"two", 3)]


async def test_no_more_octets_than_are_asked_for(client: Client, networks: FakeNetworks) -> None:
    most = capture.HEADER_SIZE + 2 * (16 + 50)
    port = await plugged(client)
    stream = await captured(client, networks, port, f"bytes={most}", *[bytes(50)] * 3)
    assert len(stream) == most
    stream = await captured(client, networks, port, f"bytes={most - 1}", *[bytes(50)] * 3)
    assert len(frames(stream)) == 1


async def test_frames_are_cut(client: Client, networks: FakeNetworks) -> None:
    stream = await captured(client, networks, await plugged(client), "snaplen=4&packets=1", b"abcdefgh")
    assert frames(stream) == [(b"abcd", 8)]
    assert struct.unpack_from("<I", stream, 16) == (4,)


@pytest.mark.parametrize(("direction", "seen"), [("egress", b"out"), ("ingress", b"in")])
async def test_one_direction(client: Client, networks: FakeNetworks, direction: str, seen: bytes) -> None:
    stream = await captured(client, networks, await plugged(client), f"direction={direction}&packets=1", b"out", b"in")
    assert [data for data, _ in frames(stream)] == [seen]


async def test_time_ends_it_in_any_case(client: Client, networks: FakeNetworks) -> None:
    stream = await captured(client, networks, await plugged(client), "seconds=1", b"one")
    assert frames(stream) == [(b"one", 3)]


async def test_a_server_that_stops_ends_it(client: Client, networks: FakeNetworks) -> None:
    port = await plugged(client)
    asking = asyncio.create_task(client.get(f"/network/ports/{port}/capture"))
    await looked_at(networks)
    networks.carry(port, b"last")
    server = (await client.get(f"/network/ports/{port}")).json()["port"]["device_id"]
    await client.post(f"/compute/servers/{server}/action", {"os-stop": None})
    async with asyncio.timeout(PATIENCE):
        answer = await asking
    assert frames(answer.content) == [(b"last", 4)]
    answer = await client.get(f"/network/ports/{port}/capture")
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, "PortNotPlugged")


async def test_a_port_without_a_server_is_not_plugged(client: Client, networks: FakeNetworks) -> None:
    network_id = await make_network(client)
    port = (await client.made("/network/ports", {"port": {"network_id": network_id}}))["id"]
    answer = await client.get(f"/network/ports/{port}/capture")
    assert answer.status_code == 409
    assert "no running server uses it" in answer.json()["NeutronError"]["message"]
    assert networks.captures == {}


@pytest.mark.parametrize(
    "query",
    [
        "seconds=0", "seconds=601", "seconds=x", "seconds=1.5", "seconds=-1", "seconds=", "bytes=23", "bytes=500000001",
        "packets=0", "packets=99999999999", "snaplen=0", "snaplen=2001", "direction=both", "filter=tcp", "second=5",
    ],
)  # fmt: skip
async def test_what_is_beyond_the_bounds_is_refused(client: Client, query: str) -> None:
    answer = await client.get(f"/network/ports/{await plugged(client)}/capture?{query}")
    assert answer.status_code == 400, answer.text
    assert query.split("=")[0] in answer.json()["NeutronError"]["message"]


async def test_members_see_ports_of_their_project(cloud: TestCloud, client: Client, other: Client) -> None:
    port = await plugged(client)
    path = f"/network/ports/{port}/capture?seconds=1"
    reader = await cloud.client("demo", "reader")
    foreign_reader = await cloud.client("other", "reader")
    for caller, status in (
        (cloud.anonymous(), 401), (reader, 403), (foreign_reader, 403), (other, 404), (client, 200),
    ):  # fmt: skip
        assert (await caller.get(path)).status_code == status
    for missing in (NOWHERE, "x"):
        answer = await client.get(f"/network/ports/{missing}/capture")
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (404, "PortNotFound")


async def test_administrators_see_all_ports(admin: Client, client: Client, networks: FakeNetworks) -> None:
    assert await captured(admin, networks, await plugged(client), "packets=1", b"one")


async def test_there_are_so_many_at_the_same_time(client: Client, networks: FakeNetworks) -> None:
    server = await make_server(client, nics=2)
    listed = (await client.get(f"/network/ports?device_id={server['id']}")).json()["ports"]
    one, two = (f"/network/ports/{port['id']}/capture?packets=1" for port in listed)
    running = [asyncio.create_task(client.get(path)) for path in (one, one, two)]
    await looked_at(networks, 3)
    answer = await client.get(two)
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, "TooManyCaptures")
    assert "The cloud has 3" in answer.text
    networks.carry(PortId(listed[1]["id"]), b"done")
    await running.pop()
    answer = await client.get(one)
    assert answer.status_code == 409
    assert f"Port {listed[0]['id']} has 2" in answer.text
    networks.carry(PortId(listed[0]["id"]), b"done")
    await asyncio.gather(*running)
    assert await captured(client, networks, PortId(listed[0]["id"]), "packets=1", b"one"), "there is a place again"


async def test_a_project_leaves_captures_to_others(tmp_path: Path) -> None:
    async with TestCloud(tmp_path, capture=CaptureConfig(at_once=10, at_once_per_project=2)) as cloud:
        networks = networks_of(cloud)
        mine, yours = await cloud.client("demo", "member"), await cloud.client("other", "member")
        server = await make_server(mine, nics=3)
        ports = [port["id"] for port in (await mine.get(f"/network/ports?device_id={server['id']}")).json()["ports"]]
        paths = [f"/network/ports/{port}/capture?packets=1" for port in ports]
        running = [asyncio.create_task(mine.get(path)) for path in paths[:2]]
        await looked_at(networks, 2)
        answer = await mine.get(paths[2])
        assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (409, "TooManyCaptures")
        assert f"Project {mine.project_id} has 2" in answer.text
        theirs = await plugged(yours)
        running.append(asyncio.create_task(yours.get(f"/network/ports/{theirs}/capture?packets=1")))
        await looked_at(networks, 3)
        for port in (*ports[:2], theirs):
            networks.carry(PortId(port), b"done")
        assert [answer.status_code for answer in await asyncio.gather(*running)] == [200, 200, 200]


async def test_the_extension_is_listed(client: Client) -> None:
    answer = await client.get("/network/extensions/polyport-port-capture")
    assert answer.json()["extension"]["alias"] == "polyport-port-capture"


# On a real socket


@pytest.fixture
async def server(cloud: TestCloud) -> AsyncIterator[uvicorn.Server]:
    server = server_for(cloud.cloud.app, "127.0.0.1", 0)
    task = asyncio.create_task(server.serve())
    await holds(lambda: server.started)
    yield server
    server.should_exit = True
    await task


class Answer:
    """What comes on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""

    async def chunk(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            size = int(await self.reader.readline(), 16)
            return (await self.reader.readexactly(size + 2))[:-2]


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def ask(server: uvicorn.Server, client: Client) -> AsyncIterator[Ask]:
    """Asks for a capture, up to the answer's head; every connection is closed after the test."""
    answers: list[Answer] = []

    async def asked(port: PortId, query: str = "", method: str = "GET") -> Answer:
        place = server.servers[0].sockets[0].getsockname()
        answer = Answer(*await asyncio.open_connection(*place, limit=1 << 12))
        answers.append(answer)
        path, token = f"/network/v2.0/ports/{port}/capture?{query}", client.headers["x-auth-token"]
        answer.writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            answer.head = (await answer.reader.readuntil(b"\r\n\r\n")).lower()
        return answer

    yield asked
    for answer in answers:
        answer.writer.close()
        with contextlib.suppress(OSError):
            await answer.writer.wait_closed()


async def test_frames_come_as_they_pass(client: Client, networks: FakeNetworks, ask: Ask) -> None:
    port = await plugged(client)
    answer = await ask(port, "packets=2")
    assert answer.head.startswith(b"http/1.1 200")
    assert b"transfer-encoding: chunked" in answer.head
    stream = await answer.chunk()
    assert frames(stream) == [], "the header comes before any frame"
    for data in (b"one", b"two"):
        networks.carry(port, data)
        stream += await answer.chunk()
        assert frames(stream)[-1] == (data, 3)
    assert await answer.chunk() == b"", "the end of the answer, not of the connection"
    answer.writer.write(b"GET /network HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        assert (await answer.reader.readline()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_client_that_goes_ends_it(client: Client, networks: FakeNetworks, ask: Ask, abruptly: bool) -> None:
    port = await plugged(client)
    tasks = asyncio.all_tasks()
    answer = await ask(port)
    await answer.chunk()
    assert len(networks.captures) == 1
    if abruptly:
        answer.writer.transport.abort()
    else:
        answer.writer.close()
    await holds(lambda: networks.captures == {} and asyncio.all_tasks() <= tasks)


async def test_a_client_that_takes_nothing_ends_it(
    client: Client, networks: FakeNetworks, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "STALL_SECONDS", 0.2)
    port = await plugged(client)
    answer = await ask(port)
    await answer.chunk()

    def more() -> bool:
        """Another 200 kB, which the sockets' buffers take for a while."""
        for _ in range(100):
            networks.carry(port, bytes(2000))
        return not networks.captures

    await holds(more)


async def test_asking_for_the_head_leaves_nothing(client: Client, networks: FakeNetworks, ask: Ask) -> None:
    answer = await ask(await plugged(client), method="HEAD")
    assert answer.head.startswith(b"http/1.1 200")
    await holds(lambda: networks.captures == {})


async def test_a_server_that_ends_lets_it_go(
    client: Client, networks: FakeNetworks, ask: Ask, server: uvicorn.Server, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await ask(await plugged(client))
    await answer.chunk()
    server.should_exit = True
    async with asyncio.timeout(PATIENCE):
        assert await answer.reader.read() == b""
    await holds(lambda: networks.captures == {} and not server.server_state.tasks)
    assert "graceful" not in caplog.text, "it is not waited for first"
