"""Talk with a running small guest through the socket of its virtio-serial port (see `guest/root/sbin/agent`).

Blocking, every wait with a limit. One reader at a time: the hypervisor serves one connection of that socket.
"""

import base64
import json
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

AGENT_SOCKET = "agent.sock"
CONSOLE = "console.log"
READY = "POLYPORT-GUEST-READY"


class GuestError(Exception):
    """The guest did not do what was asked of it."""


class GuestSilent(GuestError):
    """The guest gave no answer in time; the message ends with what its console said last."""


class CommandFailed(GuestError):
    """A command in the guest ended with another status than 0."""


@dataclass(frozen=True)
class Ran:
    """What a command in the guest did. `status` is 124 where it took too long and was killed."""

    status: int
    output: bytes
    errors: bytes

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")


@dataclass(frozen=True)
class Ready:
    """What a guest that has started says of itself. `boot_id` differs for every start."""

    boot_id: str
    nics: int
    host: str


@dataclass(frozen=True)
class GuestNic:
    """A NIC as the guest sees it. `slot` is its acpi-index, None where the firmware gives none."""

    slot: int | None
    name: str
    pci: str
    mac: str
    mtu: int
    operstate: str
    settled: bool
    """Its own traffic leaves by it: true soon after its addresses are there."""
    addresses: tuple[str, ...]
    """With prefix length, link-local ones too."""


@dataclass(frozen=True)
class Sent:
    """Pings from one NIC of the guest to another. `left` and `arrived` were counted at the two NICs."""

    sent: int
    received: int
    left: int
    arrived: int
    source: str
    target: str

    @property
    def crossed(self) -> bool:
        """Every ping was answered, and none of them stayed inside of the guest."""
        return self.received == self.sent and self.left >= self.sent and self.arrived >= self.sent


class Guest:
    """A guest whose sockets and console log are in `directory`. To be closed, or used with `with`."""

    def __init__(self, directory: Path, *, console: Path | None = None) -> None:
        self._directory = directory
        self._console = console or directory / CONSOLE
        self._connection: socket.socket | None = None
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._unread = None, b""

    def wait_ready(self, timeout: float = 120.0, *, unlike: str | None = None) -> Ready:
        """Wait until the guest answers, and by a start other than the one with boot id `unlike`.

        Raises `GuestSilent`.
        """
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                # Asked again and again: what is asked of a guest that is about to restart is lost.
                ran = self.run("cat /run/ready /proc/sys/kernel/random/boot_id", timeout=min(left, 2.0))
            except GuestSilent:
                time.sleep(min(0.1, max(left, 0)))
                continue
            lines = ran.text.split("\n")
            if ran.status == 0 and lines[1] != unlike:
                words = dict(word.split("=", 1) for word in lines[0].split())
                return Ready(lines[1], int(words["nics"]), words["host"])
            time.sleep(0.1)
        raise GuestSilent(self._complaint("the guest did not get ready", timeout))

    def run(self, command: str, *, timeout: float = 30.0, stdin: bytes = b"", check: bool = False) -> Ran:
        """Run `command` in the guest's shell. It is killed in the guest after `timeout` seconds, too.

        Raises `GuestSilent`, and `CommandFailed` where `check` is true and its status is not 0.
        """
        end = time.monotonic() + timeout
        name = secrets.token_hex(8)
        words = [
            name,
            str(max(1, round(timeout))),
            _coded(command.encode()),
            *([_coded(stdin)] if stdin else []),
        ]
        try:
            # The empty line ends what a reader that was killed may have left half said.
            self._connected().settimeout(max(end - time.monotonic(), 0.01))
            self._connected().sendall(b"\n" + " ".join(words).encode() + b"\n")
            answer = self._answer_to(name, end)
        except OSError as error:
            self.close()
            raise GuestSilent(self._complaint(f"no answer to {command!r} ({error})", timeout)) from error
        ran = Ran(int(answer[1]), _decoded(answer[2]), _decoded(answer[3]))
        if check and ran.status != 0:
            raise CommandFailed(f"{command!r} ended with {ran.status}: {ran.errors.decode(errors='replace').strip()}")
        return ran

    def nics(self) -> tuple[GuestNic, ...]:
        """The guest's NICs in the order of their PCI addresses."""
        listed: list[dict[str, Any]] = json.loads(self.run("nics", check=True).output)
        return tuple(GuestNic(**{**nic, "addresses": tuple(nic["addresses"])}) for nic in listed)

    def wait_nics(self, *slots: int, addresses: bool = True, timeout: float = 30.0) -> tuple[GuestNic, ...]:
        """Wait until the guest has NICs in exactly these slots, in this order, up and (if `addresses`) each with
        an address that is more than link-local. Raises `GuestSilent` with what the guest has instead."""
        end = time.monotonic() + timeout
        while True:
            nics = self.nics()
            there = [nic.slot for nic in nics] == list(slots)
            working = all(nic.operstate == "up" and nic.settled for nic in nics)
            if there and working and not (addresses and any(_only_link_local(nic) for nic in nics)):
                return nics
            if time.monotonic() > end:
                raise GuestSilent(self._complaint(f"not the NICs {list(slots)} but {nics}", timeout))
            time.sleep(0.1)

    def send(self, source_slot: int, target_slot: int, count: int = 5, *, family: int | None = None) -> Sent:
        """Ping from one NIC of this guest to another, over the wire. Missing answers are no error."""
        command = f"send {source_slot} {target_slot} {count} {family or ''}"
        ran = self.run(command, timeout=30.0 + count / 20)
        if not ran.output:
            raise CommandFailed(f"{command}: {ran.errors.decode(errors='replace').strip()}")
        told = json.loads(ran.output)
        return Sent(**{field: told[field] for field in Sent.__dataclass_fields__})

    def bridge(self, slot: int, other_slot: int) -> None:
        """Join two NICs inside of the guest: a loop, where they are on one network."""
        self.run(f"bridge {slot} {other_slot}", check=True)

    def unbridge(self) -> None:
        self.run("unbridge", check=True)

    def console(self, most: int = 20_000) -> str:
        """The end of what the guest wrote to its console, as far as it was kept."""
        try:
            return self._console.read_bytes()[-most:].decode(errors="replace")
        except OSError:
            return ""

    def _connected(self) -> socket.socket:
        if self._connection is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connect_below(connection, self._directory, AGENT_SOCKET)
            except OSError:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _answer_to(self, name: str, end: float) -> list[str]:
        while True:
            line, found, rest = self._unread.partition(b"\n")
            if found:
                self._unread = rest
                words = line.decode(errors="replace").split()
                if len(words) == 4 and words[0] == name:
                    return words
                continue
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("time is over")
            self._connected().settimeout(left)
            received = self._connected().recv(65536)
            if not received:
                raise ConnectionResetError("the guest's socket was closed")
            self._unread += received

    def _complaint(self, what: str, timeout: float) -> str:
        last = self.console(1500).strip()
        return f"{what} within {timeout:.0f} s" + (f"; its console ends with:\n{last}" if last else "")


def connect_below(connection: socket.socket, directory: Path, name: str) -> None:
    """Connect to the socket `name` in `directory`, however long that path is (an address holds 107 bytes)."""
    opened = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{opened}/{name}")
    finally:
        os.close(opened)


def _coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _decoded(word: str) -> bytes:
    return b"" if word == "-" else base64.b64decode(word)


def _only_link_local(nic: GuestNic) -> bool:
    return all(address.startswith("fe80:") for address in nic.addresses)
