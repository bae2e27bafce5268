"""A named network namespace, and the one thread of this process that lives in it.

Membership of a network namespace belongs to a thread, so the process as a whole stays where it was. All that
names a link, sets a rule or opens a socket in the namespace runs on this thread, one piece at a time; which also
keeps the state of the bridge dataplane consistent without a lock.
"""

import asyncio
import ctypes
import errno
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from polyport.dataplane import DataplaneError

P = ParamSpec("P")
T = TypeVar("T")

NAMESPACES = Path("/run/netns")
"""Where `ip netns` looks for names."""

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SHARED = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p]


class NamespaceError(DataplaneError):
    """The network namespace {name} cannot be used: {reason}."""


class NamespaceInUse(DataplaneError):
    """Another polyport uses the network namespace {name}; a second cloud wants another one (dataplane.namespace)."""


class BadNamespaceName(DataplaneError):
    """{name!r} cannot be the name of a network namespace."""


class NamespaceThread:
    """A thread inside the namespace `name`, which is made when it does not exist."""

    def __init__(self, name: str) -> None:
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise BadNamespaceName(name=name)
        self._name = name
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"netns-{name}")

    async def open(self) -> None:
        """Enter the namespace. Raises `NamespaceError`."""
        await self.run(_enter, self._name)

    async def close(self) -> None:
        """End the thread; the namespace stays."""
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises, run on the thread.

        A cancelled caller leaves only when the function has ended, so that nothing of it happens later.
        """
        return await self.run_or_undo(lambda _: None, function, *args, **kwargs)

    async def run_or_undo(
        self, undo: Callable[[T], None], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same; where the caller was cancelled meanwhile, `undo` is run on the result."""
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            await _wait_ended(job)
            if job.exception() is None:
                await _wait_ended(loop.run_in_executor(self._pool, undo, job.result()))
            raise


@asynccontextmanager
async def alone_in(name: str) -> AsyncIterator[None]:
    """Hold the namespace for this process: whoever else came to it would take what is there for leftovers.

    Raises `NamespaceError`, `NamespaceInUse`.
    """
    thread = NamespaceThread(name)
    try:
        await thread.open()
        hold = await thread.run(_hold, name)
    finally:
        await thread.close()
    with hold:
        yield


async def _wait_ended(job: asyncio.Future[Any]) -> None:
    while not job.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({job})


def _enter(name: str) -> None:
    path = NAMESPACES / name
    try:
        if not _join(path):
            _make(path)
        _silence()
    except PermissionError as error:
        raise NamespaceError(name=name, reason="that needs root") from error
    except OSError as error:
        raise NamespaceError(name=name, reason=error.strerror or error) from error


def _hold(name: str) -> socket.socket:
    """A socket by a name that the namespace has once; it is free again when the process ends, however it does. Only
    who may enter the namespace can take it."""
    hold = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        hold.bind("\0polyport")
    except OSError as error:
        hold.close()
        if error.errno == errno.EADDRINUSE:
            raise NamespaceInUse(name=name) from error
        raise NamespaceError(name=name, reason=error.strerror) from error
    return hold


def _join(path: Path) -> bool:
    """Whether this thread could enter the namespace bound to `path`; False where none is."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        _checked(_libc.setns(descriptor, _CLONE_NEWNET))
    except OSError as error:
        if error.errno == errno.EINVAL:
            # A plain file: what is left of a name whose namespace is gone.
            return False
        raise
    finally:
        os.close(descriptor)
    return True


def _make(path: Path) -> None:
    _share_names()
    path.touch(mode=0o444)
    try:
        _checked(_libc.unshare(_CLONE_NEWNET))
        own = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        _checked(_libc.mount(own.encode(), bytes(path), b"none", _MS_BIND, None))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _share_names() -> None:
    """Make the folder of names a shared mount, as `ip netns add` does: a name means the same everywhere."""
    NAMESPACES.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = bytes(NAMESPACES)
    try:
        _checked(_libc.mount(b"", folder, b"none", _MS_SHARED | _MS_REC, None))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _checked(_libc.mount(folder, folder, b"none", _MS_BIND | _MS_REC, None))
        _checked(_libc.mount(b"", folder, b"none", _MS_SHARED | _MS_REC, None))


def _silence() -> None:
    """Keep the host's own voice off the bridges.

    A namespace begins with the host's settings. The metadata service is all that is to answer on its one address, to
    guests whose addresses no route leads to; a socket it accepts has the mark of the frame that opened it.
    """
    settings = {
        "ipv6/conf/all/disable_ipv6": "1",
        "ipv6/conf/default/disable_ipv6": "1",
        "ipv4/ip_forward": "0",
        "ipv4/conf/all/rp_filter": "0",
        "ipv4/conf/default/rp_filter": "0",
        "ipv4/conf/all/arp_ignore": "1",
        "ipv4/conf/all/accept_redirects": "0",
        "ipv4/conf/default/accept_redirects": "0",
        "ipv4/tcp_fwmark_accept": "1",
    }
    for name, value in settings.items():
        # Absent where the kernel has no IPv6: then there is nothing to silence.
        with suppress(FileNotFoundError):
            Path("/proc/sys/net", name).write_text(value)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
