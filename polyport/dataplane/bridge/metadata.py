"""The metadata service of every network, at http://169.254.169.254/: who asks, and what is said.

    accepted --whole head--> answered --both ends closed--> (gone)
        \\-- too long, too slow, too many, from no known port --> (gone)

One socket listens on each bridge. Addresses say nothing of who asks: two networks may use the same, and a port
without port security any. The firewall marks what comes with the number of the port it came in by, and a socket that
is accepted keeps that mark. So the number is looked up among the ports of the bridge the connection came over.

Guests wait for these answers while they boot, but none may keep others waiting: a port has few connections at a time.
"""

import asyncio
import functools
import logging
import socket
from collections import Counter
from collections.abc import Container
from contextlib import suppress
from http import HTTPStatus

from polyport.dataplane import DataplaneError, Metadata
from polyport.dataplane.bridge import metadata_http as http
from polyport.dataplane.bridge.network import CONNECTION_BITS, RESPONDER_ADDRESS, asker_of
from polyport.ids import PortId, ServerId

log = logging.getLogger(__name__)

PORT = 80
MOST_SECONDS = 10.0
"""For one connection, from its first octet to its last."""
MOST_CONNECTIONS = 8
"""Of one port at a time; what is more is closed at once."""
MOST_OF_SERVER = 32
"""The same of all ports of a server, which may have many."""
MOST_ALTOGETHER = 512
"""The same of all: descriptors are the whole process's."""
MOST_REST = 65536
"""Octets that are read, and not looked at, after the head: closing on unread ones would cut off the answer."""
PAUSE_SECONDS = 1.0
"""Before new connections are let in again, where none could be."""

_SO_BINDTODEVICE = 25
_SO_MARK = 36
_BACKLOG = 256
_BATCH = 16


class MetadataListenFailed(DataplaneError):
    """Metadata cannot be served on bridge {bridge}: {reason}."""


def listen(bridge: str) -> socket.socket:
    """A socket that is connected to over one bridge of this thread's namespace."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, bridge.encode("ascii"))
        listener.bind((RESPONDER_ADDRESS, PORT))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise MetadataListenFailed(bridge=bridge, reason=error.strerror) from error
    return listener


class MetadataServer:
    """The service on all bridges, on the event loop."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._listeners: dict[str, socket.socket] = {}
        self._askers: dict[tuple[str, int], dict[PortId, ServerId]] = {}
        """(bridge, mark) -> the ports that mark may mean; one, but for a rare accident."""
        self._places: dict[PortId, tuple[str, int]] = {}
        self._open: Counter[PortId | ServerId] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, bridge: str, listener: socket.socket) -> None:
        """Answer on a bridge; the socket is ours from here on. It takes the place of the one before, if any."""
        self.stop(bridge)
        self._listeners[bridge] = listener
        asyncio.get_running_loop().add_reader(listener, self._accept, bridge, listener)

    def stop(self, bridge: str) -> None:
        """Answer no longer on a bridge."""
        if (listener := self._listeners.pop(bridge, None)) is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    async def close(self) -> None:
        for bridge in list(self._listeners):
            self.stop(bridge)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def know(self, bridge: str, port_id: PortId, server_id: ServerId) -> None:
        """Answer a port from now on, as a NIC of this server."""
        self.forget(port_id)
        place = self._places[port_id] = (bridge, asker_of(port_id))
        self._askers.setdefault(place, {})[port_id] = server_id

    def forget(self, port_id: PortId) -> None:
        if (place := self._places.pop(port_id, None)) is not None:
            del self._askers[place][port_id]
            if not self._askers[place]:
                del self._askers[place]

    def keep(self, port_ids: Container[PortId]) -> None:
        """Answer no ports but these."""
        for port_id in [port_id for port_id in self._places if port_id not in port_ids]:
            self.forget(port_id)

    def _accept(self, bridge: str, listener: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                connection, _address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                # Nobody is left, or has gone already.
                return
            except OSError as error:
                # Mostly: no descriptor is to be had. Those who wait keep waiting, and the loop is not kept busy.
                log.warning("action=metadata bridge=%s nobody can be let in: %s", bridge, error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(PAUSE_SECONDS, self._resume, bridge, listener)
                return
            connection.setblocking(False)
            asker = self._asker(bridge, connection)
            if asker is None or self._is_full(*asker):
                connection.close()
                continue
            self._open.update(asker)
            task = asyncio.get_running_loop().create_task(self._converse(connection, *asker))
            self._tasks.add(task)
            # Not by the task itself: one that is cancelled before it began does nothing at all.
            task.add_done_callback(functools.partial(self._ended, connection, asker))

    def _is_full(self, port_id: PortId, server_id: ServerId) -> bool:
        return (
            self._open[port_id] >= MOST_CONNECTIONS
            or self._open[server_id] >= MOST_OF_SERVER
            or len(self._tasks) >= MOST_ALTOGETHER
        )

    def _ended(self, connection: socket.socket, asker: tuple[PortId, ServerId], task: asyncio.Task[None]) -> None:
        connection.close()
        self._open.subtract(asker)
        self._open += Counter()  # keeps what is above zero
        self._tasks.discard(task)

    def _resume(self, bridge: str, listener: socket.socket) -> None:
        if self._listeners.get(bridge) is listener:
            asyncio.get_running_loop().add_reader(listener, self._accept, bridge, listener)

    def _asker(self, bridge: str, connection: socket.socket) -> tuple[PortId, ServerId] | None:
        mark = connection.getsockopt(socket.SOL_SOCKET, _SO_MARK)
        # The low bits are not the port's; the kernel gives the number signed.
        number = (mark & 0xFFFFFFFF) >> CONNECTION_BITS << CONNECTION_BITS
        ports = self._askers.get((bridge, number), {})
        if len(ports) != 1:
            log.warning("action=metadata bridge=%s mark=%#x is of %d ports: not answered", bridge, number, len(ports))
            return None
        return next(iter(ports.items()))

    async def _converse(self, connection: socket.socket, port_id: PortId, server_id: ServerId) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(MOST_SECONDS):
                head = b""
                while not http.whole(head) and len(head) <= http.MOST_HEAD:
                    data = await loop.sock_recv(connection, http.MOST_HEAD)
                    if not data:
                        return
                    head += data
                await loop.sock_sendall(connection, self._answer(head, port_id, server_id))
                connection.shutdown(socket.SHUT_WR)
                rest = 0
                while rest < MOST_REST and (data := await loop.sock_recv(connection, 4096)):
                    rest += len(data)

    def _answer(self, head: bytes, port_id: PortId, server_id: ServerId) -> bytes:
        if not http.whole(head) or len(head) > http.MOST_HEAD:
            return http.error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        question = http.parse(head)
        if question is None:
            return http.error(HTTPStatus.BAD_REQUEST)
        # A vif that went meanwhile, or is another server's now, is not answered for the one it was.
        if self._askers.get(self._places.get(port_id, ("", 0)), {}).get(port_id) != server_id:
            return http.reply(question, None)
        try:
            return http.reply(question, self._metadata(server_id, port_id, question.path))
        except Exception:
            log.exception("action=metadata server=%s path=%r", server_id, question.path)
            return http.error(HTTPStatus.INTERNAL_SERVER_ERROR)
