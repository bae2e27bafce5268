"""Kernel modules: which files a wanted module needs, in the order they must be loaded.

Read from the module files themselves (a package holds no `modules.dep`; that is made at installation).
Distributions build different drivers in: what is built in needs no file.
"""

import lzma
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path


class ModuleMissing(Exception):
    """A kernel package holds no such module and has it not built in either."""


def name_of(path: str) -> str:
    """`kernel/net/virtio-net.ko.zst` -> `virtio_net`."""
    return re.sub(r"\.ko(\.\w+)?$", "", path.rpartition("/")[2]).replace("-", "_")


def dependencies_of(module: bytes) -> tuple[str, ...]:
    """The names of the modules an uncompressed module says it needs."""
    found = re.search(rb"\0depends=([\w,-]*)\0", module)
    return tuple(name.replace("-", "_") for name in found[1].decode().split(",") if name) if found else ()


def load_order(wanted: Iterable[str], needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """`wanted` with everything they need before them; names that `needs` does not hold are built in."""
    order: list[str] = []

    def add(name: str) -> None:
        if name in needs and name not in order:
            for other in needs[name]:
                add(other)
            order.append(name)

    for name in wanted:
        add(name)
    return order


class KernelModules:
    """The modules of one kernel (`directory` holds its `modules.builtin` and, below, its modules)."""

    def __init__(self, directory: Path) -> None:
        self._paths = {name_of(path.name): path for path in sorted(directory.rglob("*.ko*"))}
        self._builtin = {name_of(line) for line in (directory / "modules.builtin").read_text().split()}
        self._read: dict[str, bytes] = {}

    def content(self, name: str) -> bytes:
        """A module's bytes, uncompressed."""
        if name not in self._read:
            self._read[name] = _uncompressed(self._paths[name])
        return self._read[name]

    def closure(self, wanted: Iterable[str]) -> list[str]:
        """The modules to load, in order, for `wanted`. Raises `ModuleMissing`."""
        needs: dict[str, tuple[str, ...]] = {}
        todo = list(wanted)
        while todo:
            name = todo.pop()
            if name in needs or (name in self._builtin and name not in self._paths):
                continue
            if name not in self._paths:
                raise ModuleMissing(f"this kernel has no module {name}")
            needs[name] = dependencies_of(self.content(name))
            todo.extend(needs[name])
        return load_order(wanted, needs)


def _uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc"], input=content, capture_output=True, check=True).stdout
    return content
