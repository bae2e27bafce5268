"""The HTTP server on a real socket: heads without end, slow heads, broken bodies, clients that go away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyport.web import app
from polyport.web import server as servers
from polyport.web.server import server_for
from tests.api.client import TestCloud


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    async with TestCloud(tmp_path) as cloud:
        server = server_for(cloud.cloud.app, "127.0.0.1", 0)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.001)
        yield server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
        await task


async def talk(port: int, *pieces: bytes, wait: float = 5.0) -> bytes:
    """Send pieces on a connection and read to its end (or until nothing comes for a while)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        while part := await asyncio.wait_for(reader.read(65536), wait):
            got += part
            if b"\r\n\r\n" in got and b"connection: close" not in got.lower():
                break
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
    return got


async def test_a_whole_request_is_answered(port: int) -> None:
    assert (await talk(port, b"GET /identity/v3 HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_head_without_end_is_cut(port: int) -> None:
    pieces = [b"GET /identity/v3 HTTP/1.1\r\nHost: x\r\n"] + [b"X-A: " + b"a" * 8000 + b"\r\n"] * 40
    answer = await talk(port, *pieces)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


async def test_one_endless_header_is_cut(port: int) -> None:
    answer = await talk(port, b"GET /identity/v3 HTTP/1.1\r\nX-A: ", *[b"a" * 60_000] * 20)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


async def test_a_head_that_does_not_come_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "HEAD_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /identity/v3 HT")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "STALL_SECONDS", 0.05)
    for head in (b"Content-Length: 5000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\n" + head)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in answer
        writer.close()


async def test_trailers_without_end_are_cut(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head + b"2\r\n{}\r\n0\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(40):
            writer.write(b"X-A: " + b"a" * 8000 + b"\r\n")
            await writer.drain()
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_trailer_is_no_header(port: int) -> None:
    head = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await talk(port, head + b"2\r\n{}\r\n0\r\nConnection: close\r\nX-A: b\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


async def test_what_begins_no_request_does_not_keep_a_connection(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /identity/v3 HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(40):
            writer.write(b"\r\n" * 4000)
            await writer.drain()
        await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_a_large_body_is_no_large_head(port: int) -> None:
    head = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
    answer = await talk(port, head, b" " * 150_000, b" " * 150_000)
    assert answer.startswith(b"HTTP/1.1 400")


async def test_a_body_above_the_limit_is_refused(port: int) -> None:
    head = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 10485760\r\n\r\n"
    assert (await talk(port, head)).startswith(b"HTTP/1.1 413")


async def test_a_body_without_a_length_is_counted_too(port: int) -> None:
    head = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await talk(port, head, *[b"10000\r\n" + b"a" * 65536 + b"\r\n"] * 20)
    assert b" 413 " in answer or answer == b""


async def test_a_client_that_goes_away_in_the_middle_hurts_nobody(port: int) -> None:
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()
    assert (await talk(port, b"GET /identity/v3 HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_line",
    [b"GET /../../etc/passwd HTTP/1.1", b"GET /compute/%00 HTTP/1.1", b"GET /\xff\xfe HTTP/1.1", b"BREW /x HTTP/1.1"],
)
async def test_strange_paths_are_answered_plainly(port: int, request_line: bytes) -> None:
    answer = await talk(port, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.1 401", b"HTTP/1.1 405"))
