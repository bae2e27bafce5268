"""A cloud in a scratch directory, as a process of its own: nothing of it is left in the end."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[1]


class ScratchCloud:
    """`polyport up` on a free port, in a directory and a network namespace of its own."""

    tables = ("servers", "nics", "ports", "addresses", "subnets", "networks", "images")

    def __init__(self, *, hypervisor: str = "qemu", dataplane: str = "bridge", more: str = "") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="polyport-"))
        self.namespace = f"polyport-{os.getpid()}"
        self.port = _free_port()
        self.clouds = self.directory / "clouds.yaml"
        self.log = self.directory / "polyport.log"
        self._hypervisor, self._dataplane = hypervisor, dataplane
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def __enter__(self) -> Self:
        (self.directory / "polyport.toml").write_text(
            f'state = "{self.state}"\n'
            f"[api]\nport = {self.port}\n"
            f'[dataplane]\ndriver = "{self._dataplane}"\nnamespace = "{self.namespace}"\n'
            f'[hypervisor]\ndriver = "{self._hypervisor}"\n{self._more}'
        )
        try:
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        self.stop()
        if "fake" not in (self._hypervisor, self._dataplane):
            config = str(self.directory / "polyport.toml")
            subprocess.run([sys.executable, "-m", "polyport", "down", "--config", config], cwd=ROOT, check=False)
        if self._dataplane != "fake":
            subprocess.run(["ip", "netns", "delete", self.namespace], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Start the cloud's process and wait until it serves. Raises RuntimeError with its log where it does not."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "polyport", "up", "--verbose", "--config", str(self.directory / "polyport.toml"),
                 "--clouds", str(self.clouds)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5):
                if self.clouds.exists():
                    return
            time.sleep(0.02)
        raise RuntimeError(f"the cloud did not start:\n{self.log.read_text()[-4000:]}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the cloud's process, by default as a person would; the guests keep running."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        self._process.wait(timeout=30)
        self._process = None

    def server_directory(self, server_id: str) -> Path:
        return self.state / "servers" / server_id

    def devices(self) -> dict[str, tuple[int, int]]:
        """The taps and bridges in the cloud's namespace: name -> (packets in from the guest, packets out to it)."""
        command = ["ip", "-netns", self.namespace, "-stats", "-json", "link", "show"]
        listed = subprocess.run(command, check=True, capture_output=True).stdout
        return {
            link["ifname"]: (link["stats64"]["rx"]["packets"], link["stats64"]["tx"]["packets"])
            for link in json.loads(listed)
            if link["ifname"].startswith(("tap", "brq"))
        }

    def guests(self) -> list[int]:
        """Process ids of QEMU processes that work in this cloud's directory."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                if b"qemu-system" in words.split(b"\0")[0] and (entry / "cwd").readlink().is_relative_to(self.state):
                    found.append(int(entry.name))
        return found

    def rows(self) -> dict[str, int]:
        """How many rows the tables of things hold; of servers, those that are not deleted."""
        connection = sqlite3.connect(f"file:{self.state / 'polyport.db'}?mode=ro", uri=True)
        with contextlib.closing(connection):
            return {
                name: connection.execute(
                    f"SELECT count(*) FROM {name}" + (" WHERE deleted_at IS NULL" if name == "servers" else "")
                ).fetchone()[0]
                for name in self.tables
            }

    def resident_kib(self) -> int:
        """Resident memory of the cloud's process."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def processor_seconds(self) -> float:
        """What the cloud's process has used of processors until now; the threads it has ended are left out."""
        assert self._process is not None
        used = 0
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                used += int((task / "schedstat").read_text().split()[0])
        return used / 1e9


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
