"""`/v2.0/ports/{id}/capture`: the frames of a port as a pcap stream, for whoever debugs the guest behind it.

    GET --> bounds, port, places --> the host opens --> header, frames ... --> bound reached, unplugged, client gone
                                                                                  all the same: everything let go

A capture is bounded in time and size, and so is the number of captures at the same time: it costs the host for each
frame, and what it shows is the traffic of a project. So it is for members, of ports of their own project.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Self

from msgspec import Struct

from polyport import capture
from polyport.capture import Capture
from polyport.config import CaptureConfig
from polyport.db.engine import Database
from polyport.errors import Conflict, Invalid
from polyport.ids import PortId
from polyport.network import ports
from polyport.network.ports import Port
from polyport.web.calls import Call, InvalidParameter, Query, Reply

log = logging.getLogger(__name__)

Open = Callable[[PortId, int], Awaitable[Capture | None]]
"""(port, snaplen) -> its frames from now on; None where it is not plugged."""


class UnknownParameter(Invalid):
    """A capture has no parameter {name}."""


class PortNotPlugged(Conflict):
    """Port {port_id} is not plugged: no running server uses it."""


class TooManyCaptures(Conflict):
    """{where} has {most} captures already, as many as there may be at the same time."""


class Bounds(Struct, frozen=True, kw_only=True):
    seconds: int
    bytes: int
    """Of the whole stream."""
    packets: int | None
    snaplen: int
    direction: str | None
    """`ingress` (to the guest), `egress` (from it); None: both."""


class Captures:
    """The captures of this cloud."""

    def __init__(self, opened: Open, config: CaptureConfig) -> None:
        self._open = opened
        self._config = config
        self._running: list[Port] = []

    async def show(self, call: Call, database: Database) -> Reply:
        bounds = bounds_of(call.query, self._config)
        port = await database.read(lambda tx: ports.get_port(tx, call.context, call.params["id"]))
        with ExitStack() as undo:
            self._enter(port)
            undo.callback(self._running.remove, port)
            opened = await self._open(port.id, bounds.snaplen)
            if opened is None:
                raise PortNotPlugged(port_id=port.id)
            undo.callback(opened.close)
            facts = {"action": "capture", "port": port.id, "user": call.context.user_id}
            log.info("capture of port %s", port.id, extra=facts)
            return Reply(content_type=capture.MEDIA_TYPE, stream=Recording(opened, bounds, undo.pop_all(), facts))

    def _enter(self, port: Port) -> None:
        of_project = sum(other.project_id == port.project_id for other in self._running)
        of_port = sum(other.id == port.id for other in self._running)
        for where, count, most in (
            ("The cloud", len(self._running), self._config.at_once),
            (f"Project {port.project_id}", of_project, self._config.at_once_per_project),
            (f"Port {port.id}", of_port, self._config.at_once_per_port),
        ):
            if count >= most:
                raise TooManyCaptures(where=where, most=most)
        self._running.append(port)


class Recording:
    """The octets of one capture up to its bounds. `aclose` lets everything go, and is called in any case."""

    def __init__(self, opened: Capture, bounds: Bounds, release: ExitStack, facts: dict[str, str]) -> None:
        self._capture = opened
        self._bounds = bounds
        self._release = release
        self._facts = facts
        self._deadline = asyncio.get_running_loop().time() + bounds.seconds
        self._bytes = 0
        self._packets = 0
        self._full = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._bytes == 0:
            # At once: a program that reads it opens its window before the first frame comes.
            self._bytes = capture.HEADER_SIZE
            return capture.header(self._bounds.snaplen)
        part = b""
        while not part and not self._full:
            try:
                async with asyncio.timeout_at(self._deadline):
                    frames = await self._capture.read()
            except TimeoutError:
                break
            self._full = not frames
            part = b"".join(self._records(frames))
        if not part:
            raise StopAsyncIteration
        return part

    async def aclose(self) -> None:
        with self._release:
            lost = self._capture.lost()
        facts = {**self._facts, "packets": self._packets, "lost": lost}
        say = log.warning if lost else log.info
        say("capture of port %s ended: %d frames, %d lost", self._facts["port"], self._packets, lost, extra=facts)

    def _records(self, frames: list[capture.Frame]) -> list[bytes]:
        """Those that are asked for, while they fit."""
        records = []
        for frame in frames:
            if self._bounds.direction not in (None, frame.direction):
                continue
            record = capture.record(frame)
            if self._packets == self._bounds.packets or self._bytes + len(record) > self._bounds.bytes:
                self._full = True
                break
            self._bytes += len(record)
            self._packets += 1
            records.append(record)
        # Whoever asked for so many has them now, and does not wait for one more.
        self._full = self._full or self._packets == self._bounds.packets
        return records


def bounds_of(query: Query, config: CaptureConfig) -> Bounds:
    """What is asked for, or else as much as there may be. Raises `InvalidParameter`, `UnknownParameter`."""
    for name in query.names():
        if name not in Bounds.__struct_fields__:
            raise UnknownParameter(name=name[:100])
    direction = query.get("direction")
    if direction not in (None, "ingress", "egress"):
        reason = "It is neither ingress nor egress."
        raise InvalidParameter(name="direction", value=direction[:100], reason=reason)
    return Bounds(
        seconds=query.integer("seconds", least=1, most=config.seconds) or config.seconds,
        bytes=query.integer("bytes", least=capture.HEADER_SIZE, most=config.bytes) or config.bytes,
        packets=query.integer("packets", least=1),
        snaplen=query.integer("snaplen", least=1, most=config.snaplen) or config.snaplen,
        direction=direction,
    )
