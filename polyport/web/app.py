"""The ASGI application: one request from its head to its last byte.

    path -> service -> version -> route -> token -> policy -> body -> transaction(handler) -> commit -> reply

In that order, because: an error is worded by the service it belongs to; a version decides which routes there are; a
caller without a token learns nothing of what exists; and no body is read for somebody who may not send it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec

from polyport.context import Context
from polyport.db.engine import Database, Tx
from polyport.errors import Invalid, NotFound, PolyportError, TooLarge, Unauthenticated
from polyport.ids import ProjectId, UserId, new_id
from polyport.policy import PolicyNotAuthorized, anyone
from polyport.web.calls import Call, Query, Reply
from polyport.web.microversions import Version
from polyport.web.routes import Node, Route, Service, build, find
from polyport.web.tally import Tally

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Authenticate = Callable[[str, str], Awaitable[Context]]
"""(token, request id) -> who is calling; raises Unauthenticated."""

log = logging.getLogger(__name__)

NOBODY = Context(user_id=UserId(""), user_name="", project_id=ProjectId(""))


class NoSuchPath(NotFound):
    """The resource could not be found."""


class WrongMethod(PolyportError):
    """The method is not allowed for this resource."""


class BodyTooLarge(TooLarge):
    """The request body is larger than {most} bytes."""


class BodyStalled(Invalid):
    """Nothing of the request body came for {seconds:.0f} seconds."""


class Disconnected(Exception):
    """The client went away before its request was whole."""


STALL_SECONDS = 60.0
"""How long a client may take for one part of a stream."""


class App:
    """Built by one call from plain lists; tests make the same call."""

    def __init__(
        self,
        services: Sequence[Service],
        database: Database,
        authenticate: Authenticate,
        *,
        root: Callable[[str], Any],
        public_url: str | None = None,
        most_body_bytes: int = 1 << 20,
        tally: Tally | None = None,
    ) -> None:
        self.services = tuple(services)
        self._mounts: dict[str, tuple[Service, Node]] = {}
        for service in services:
            node = build(service.routes)
            for prefix in service.prefixes:
                self._mounts[prefix] = (service, node)
        self._database = database
        self._authenticate = authenticate
        self._root = root
        self._public_url = public_url.rstrip("/") if public_url else None
        self._most = most_body_bytes
        self._tally = tally if tally is not None else Tally()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        request_id = f"req-{new_id()}"
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path: str = scope.get("raw_path", scope["path"].encode()).decode("latin-1").split("?")[0]
        root_url = self._public_url or f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}"
        method: str = "GET" if scope["method"] == "HEAD" else scope["method"]
        prefix, rest = self._mount_of(path)
        if prefix is None:
            found = not rest
            body = self._root(root_url) if found else {"error": {"code": 404, "message": NoSuchPath().message}}
            reply = Reply(status=300 if found else 404, body=body)
            await _send(receive, send, reply, {}, request_id, scope["method"])
            return
        service, trie = self._mounts[prefix]
        extra: dict[str, str] = {}
        try:
            version = service.dialect.version(headers, rest)
            extra = service.dialect.version_headers(version)
            route, params = _route(trie, method, rest)
            call = Call(
                method=scope["method"],
                path=rest,
                params=params,
                query=_query(scope),
                headers=headers,
                context=await self._caller(route, headers, request_id),
                version=version,
                base_url=root_url + prefix,
                root_url=root_url,
            )
            if not route.policy(call.context):
                raise PolicyNotAuthorized(action=f"{service.name}:{route.method} {route.path}")
            if route.streamed:
                call.stream = _stream(receive)
            else:
                call.body = await _body(receive, headers, self._most)
            reply = await self._run(route, call)
        except PolyportError as error:
            status, body = service.dialect.error(error)
            if status >= 500:
                log.error("request failed", exc_info=error, extra={"action": "request", "request": request_id})
            reply = Reply(status=status, body=body, headers=_more_headers(status, root_url))
        except Disconnected:
            return
        except Exception as error:
            log.exception("request failed", extra={"action": "request", "request": request_id})
            status, body = service.dialect.error(
                PolyportError("An unexpected error prevented the server from answering.")
            )
            del error
            reply = Reply(status=status, body=body)
        self._tally.add(service.name, scope["method"], reply.status, time.perf_counter() - started)
        await _send(receive, send, reply, extra, request_id, scope["method"])

    def _mount_of(self, path: str) -> tuple[str | None, str]:
        first = "/" + path.lstrip("/").split("/", 1)[0]
        if first in self._mounts:
            # An alias such as /v3 stands for the service's own path, so it stays part of what the routes see.
            service, _ = self._mounts[first]
            rest = path.lstrip("/")[len(first) - 1 :] if first == service.prefixes[0] else "/" + path.lstrip("/")
            return (first if first == service.prefixes[0] else service.prefixes[0]), rest
        return None, path.strip("/")

    async def _caller(self, route: Route, headers: dict[str, str], request_id: str) -> Context:
        if route.policy is anyone:
            return msgspec.structs.replace(NOBODY, request_id=request_id)
        token = headers.get("x-auth-token")
        if not token:
            raise Unauthenticated
        return await self._authenticate(token, request_id)

    async def _run(self, route: Route, call: Call) -> Reply:
        if route.own is not None:
            return await route.own(call, self._database)
        if route.write is not None:
            write = route.write

            def work(tx: Tx) -> Reply:
                return _encoded(write(call, tx))

            return await self._database.write(work)
        read = route.read
        assert read is not None

        def look(tx: Tx) -> Reply:
            return _encoded(read(call, tx))

        return await self._database.read(look)


def _route(trie: Node, method: str, path: str) -> tuple[Route, dict[str, str]]:
    found = find(trie, path)
    if found is None:
        raise NoSuchPath
    node, values = found
    if method not in node.routes:
        raise WrongMethod
    route, names = node.routes[method]
    return route, dict(zip(names, values, strict=True))


def _query(scope: Scope) -> Query:
    try:
        return Query(scope.get("query_string", b"").decode("latin-1"))
    except ValueError as error:
        raise TooLarge("The query string has too many parameters.") from error


def _more_headers(status: int, root_url: str) -> dict[str, str]:
    """What an error's answer says besides."""
    match status:
        case 401:
            return {"www-authenticate": f'Keystone uri="{root_url}/identity"'}
        case 408:
            return {"connection": "close"}  # the rest of the body is not waited for either
    return {}


def _encoded(reply: Reply) -> Reply:
    """JSON is made where the handler ran, so that a large list does not hold up the event loop."""
    if reply.body is not None and not isinstance(reply.body, bytes):
        reply.body = msgspec.json.encode(reply.body)
    return reply


async def _body(receive: Receive, headers: dict[str, str], most: int) -> bytes:
    if "content-length" not in headers and "transfer-encoding" not in headers:
        return b""  # nothing follows such a head (RFC 9112, 6.3)
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > most:
        raise BodyTooLarge(most=most)
    parts: list[bytes] = []
    size = 0
    async for part in _stream(receive):
        size += len(part)
        if size > most:
            raise BodyTooLarge(most=most)
        parts.append(part)
    return b"".join(parts)


async def _stream(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                message = await receive()
        except TimeoutError as error:
            raise BodyStalled(seconds=STALL_SECONDS) from error
        if message["type"] == "http.disconnect":
            raise Disconnected
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _send(
    receive: Receive, send: Send, reply: Reply, extra: dict[str, str], request_id: str, method: str
) -> None:
    try:
        await _send_head_and_body(receive, send, reply, extra, request_id, method)
    finally:
        if reply.stream is not None and (close := getattr(reply.stream, "aclose", None)) is not None:
            await close()


async def _send_head_and_body(
    receive: Receive, send: Send, reply: Reply, extra: dict[str, str], request_id: str, method: str
) -> None:
    body = _encoded(reply).body or b""
    headers = {
        "x-openstack-request-id": request_id,
        "x-compute-request-id": request_id,
        **extra,
        **reply.headers,
    }
    if body or reply.stream is not None:
        headers["content-type"] = reply.content_type
    if reply.stream is None and reply.status not in (204, 304):
        headers.setdefault("content-length", str(len(body)))
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [
                (name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()
            ],
        }
    )
    if reply.stream is not None and method != "HEAD":
        if not await _pour(reply.stream, receive, send):
            return
        body = b""
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


async def _pour(stream: AsyncIterator[bytes], receive: Receive, send: Send) -> bool:
    """Send the parts of a stream; whether the client took them all. Raises what the stream raises."""
    pouring = asyncio.create_task(_send_parts(stream, send))
    leaving = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait({pouring, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = pouring.done()
        for task in (pouring, leaving):
            task.cancel()
        await asyncio.wait({pouring, leaving})
    return done and pouring.result()


async def _send_parts(stream: AsyncIterator[bytes], send: Send) -> bool:
    async for part in stream:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except TimeoutError:
            return False
    return True


async def _left(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


UNVERSIONED = Version(1, 0)
"""For the services that have no microversions."""
