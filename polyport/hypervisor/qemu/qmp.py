"""The connection to one QEMU: QMP commands, descriptors, events.

QEMU serves one client per socket and greets a second one only when the first has left; the agent has
`qmp.sock`, people who debug have `qmp-debug.sock`. A socket's address holds 107 bytes, fewer than many a
directory's path has, so sockets are named through a descriptor of their directory.

Reference: QEMU's "QEMU Machine Protocol" specification, and `getfd`/`closefd` in its QMP reference manual.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError, Runstate

from polyport.hypervisor import HypervisorError

SOCKET = "qmp.sock"
DEBUG_SOCKET = "qmp-debug.sock"
CONNECT_SECONDS = 30.0
COMMAND_SECONDS = 30.0

# All that this library logs, it raises too, and an exit that was asked for would be logged as a failure.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)


class MonitorLost(HypervisorError):
    """QEMU cannot be spoken to ({doing})."""


class CommandRefused(HypervisorError):
    """QEMU refused {command}: {reason}"""

    @property
    def is_not_found(self) -> bool:
        """Whether the device the command spoke of does not exist."""
        return self.facts["kind"] == "DeviceNotFound"


class _Events(EventListener):
    """Hands every event on at once, so that what a command caused is known when its answer comes."""

    def __init__(self, receive: Callable[[Mapping[str, object]], None]) -> None:
        super().__init__()
        self._receive = receive

    async def put(self, event: Message) -> None:
        self._receive(event)


class Monitor:
    """A live connection. Any failure of the connection itself is `MonitorLost`; QEMU's no is
    `CommandRefused`."""

    def __init__(self, client: QMPClient) -> None:
        self._client = client
        self._sending = asyncio.Lock()

    @classmethod
    async def connect(cls, directory: Path, receive: Callable[[Mapping[str, object]], None]) -> "Monitor":
        """Connect to the QEMU that serves this directory's socket, waiting until it answers."""
        client = QMPClient()
        client.register_listener(_Events(receive))
        try:
            stream = connect_to(directory, SOCKET)
        except OSError as error:
            raise MonitorLost(doing="connecting") from error
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect(stream)
        except (OSError, EOFError, QMPError, TimeoutError) as error:
            stream.close()
            raise MonitorLost(doing="greeting") from error
        except BaseException:
            stream.close()
            raise
        return cls(client)

    @property
    def is_live(self) -> bool:
        return self._client.runstate is Runstate.RUNNING

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Run a QMP command and return what it returns."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise CommandRefused(command=command, reason=str(error), kind=error.error_class) from error
        except (OSError, EOFError, QMPError, TimeoutError) as error:
            raise MonitorLost(doing=command) from error

    async def send_descriptor(self, name: str, descriptor: int) -> None:
        """Give QEMU a duplicate of an open descriptor under a name (`getfd`)."""
        # The descriptor travels beside the stream and belongs to the command that comes next.
        async with self._sending:
            try:
                self._client.send_fd_scm(descriptor)
            except (OSError, QMPError) as error:
                raise MonitorLost(doing="getfd") from error
            await self.execute("getfd", {"fdname": name})

    async def close(self) -> None:
        """Disconnect. QEMU lives on, or is gone already."""
        with contextlib.suppress(OSError, EOFError, QMPError):
            await self._client.disconnect()


def connect_to(directory: Path, name: str) -> socket.socket:
    """A stream connected to a Unix socket of this directory, however long its path is. Raises `OSError`."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _short_path(directory, name) as path:
            stream.connect(path)
    except BaseException:
        stream.close()
        raise
    return stream


def listen_at(directory: Path, name: str) -> socket.socket:
    """A Unix socket of this directory that listens, in place of what was there. Raises `OSError`."""
    (directory / name).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_path(directory, name) as path:
            listener.bind(path)
        listener.listen(8)
    except BaseException:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _short_path(directory: Path, name: str) -> Iterator[str]:
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
