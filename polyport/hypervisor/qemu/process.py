"""The QEMU process of one guest: started, found again by a later agent, ended.

It is nobody's child in spirit: a session of its own, no terminal, and it lives on when the agent dies.
What proves that it lives is a lock on `running.lock`: taken by the agent before the start, inherited by
QEMU, released by the kernel when QEMU is gone, however it went. So there is no moment at which a guest
runs unnoticed, not even between the start and the writing of a pid file; and a pid that the kernel gave
to some other process meanwhile is never mistaken for a guest.

    free --lock--> locked by the agent --spawn--> locked by QEMU too --QEMU ends--> free

The pid itself (QEMU writes it to `qemu.pid`) is turned into a pidfd while the lock is seen held, and only
the pidfd is used from then on.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from polyport.hypervisor import HypervisorError

LOCK = "running.lock"
PID = "qemu.pid"
LOG = "qemu.log"
"""What QEMU itself had to say in its last run."""
PID_SECONDS = 10.0
PID_INTERVAL = 0.02


class RunsAlready(HypervisorError):
    """A QEMU runs already in {directory}."""


class NoPid(HypervisorError):
    """The QEMU in {directory} does not tell its pid."""


class GuestProcess:
    """A QEMU process that runs or ran. `on_end` is called once, from the event loop, when it is gone."""

    def __init__(self, pid: int, pidfd: int, on_end: Callable[[], None]) -> None:
        self.pid = pid
        self.ended = asyncio.Event()
        self.died_of: str | None = None
        """What ended a QEMU that did not exit by its own will; None also where nobody can know, as init reaped it."""
        self._pidfd = pidfd
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pidfd, self._notice_end)

    def _notice_end(self) -> None:
        # A QEMU that a former agent started is not our child, and then init reaps it.
        with contextlib.suppress(ChildProcessError):
            end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG)
            if end is not None and end.si_status != 0:
                by_itself = end.si_code == os.CLD_EXITED
                self.died_of = f"{'status' if by_itself else 'signal'} {end.si_status}"
        self.close()
        self.ended.set()
        self._on_end()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where the process is gone."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def wait(self, seconds: float) -> bool:
        """Whether the process is gone after at most this many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        except TimeoutError:
            return self.ended.is_set()
        return True

    def close(self) -> None:
        """Let go of the process, which lives on."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def take_lock(directory: Path) -> int:
    """A descriptor that holds the directory's lock. Raises `RunsAlready` where a QEMU holds it."""
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise RunsAlready(directory=directory) from error
    return lock


def is_running(directory: Path) -> bool:
    """Whether a QEMU lives in this directory."""
    try:
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def spawn(argv: Sequence[str], directory: Path, descriptors: Sequence[int], on_end: Callable[[], None]) -> GuestProcess:
    """Start QEMU in `directory` with `descriptors` (the lock is one of them) left open. Raises `OSError`."""
    (directory / PID).unlink(missing_ok=True)
    log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            argv,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=tuple(descriptors),
            start_new_session=True,
        )
    finally:
        os.close(log)
    # It may outlive this object and this process; Popen would complain of that, and reap it behind our back.
    child.returncode = 0
    return GuestProcess(child.pid, os.pidfd_open(child.pid), on_end)


async def find(directory: Path, on_end: Callable[[], None]) -> GuestProcess | None:
    """The QEMU that lives in this directory, if one does. Raises `NoPid` where it lives and its pid is not
    to be had."""
    waited = 0.0
    while is_running(directory):
        pidfd = -1
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            # The file may be missing or empty just after the start, and stale just before the end.
            pid = int((directory / PID).read_text())
            pidfd = os.pidfd_open(pid)
        if pidfd >= 0:
            if is_running(directory):
                return GuestProcess(pid, pidfd, on_end)
            os.close(pidfd)
            return None
        if waited >= PID_SECONDS:
            raise NoPid(directory=directory)
        await asyncio.sleep(PID_INTERVAL)
        waited += PID_INTERVAL
    return None
