"""Disks of servers: images cached once per host, root disks as copy-on-write overlays on them.

<state>/cache/<image id>               an image's bytes, fetched once
<state>/servers/<id>/root-<n>.qcow2    the n-th root disk of a server (rebuild makes a new one)
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Literal
from weakref import WeakValueDictionary

from polyport.agent import qcow2
from polyport.agent.records import write_file
from polyport.agent.undo import off_loop
from polyport.errors import HostError
from polyport.ids import ImageId, is_uuid
from polyport.plan import ImagePlan, ServerPlan

log = logging.getLogger(__name__)

GIB = 1 << 30
EXTERNAL_DATA_FILE = 1 << 2


class ImageNotUsable(HostError):
    """Image {image_id} cannot be used: {reason}."""


class DiskTooSmall(HostError):
    """The root disk of {root_gb} GiB is smaller than its image of {size} bytes."""


class DiskNotMade(HostError):
    """The root disk could not be made."""


class ImageCache:
    """The images of this host, by id. An image never changes, so what is there is good."""

    def __init__(self, directory: Path, fetch: Callable[[ImagePlan, Path], Awaitable[None]]) -> None:
        self._directory = directory
        self._fetch = fetch
        self._locks: WeakValueDictionary[ImageId, asyncio.Lock] = WeakValueDictionary()

    async def path(self, image: ImagePlan) -> Path:
        """Where the image's bytes are; fetches them first where they are not there, once for all who wait."""
        if not is_uuid(image.id):
            raise ImageNotUsable(image_id=image.id, reason="its id is not a UUID")
        path = self._directory / image.id
        lock = self._locks.setdefault(image.id, asyncio.Lock())
        async with lock:
            if not await off_loop(path.exists):
                await self._bring(image, path)
        return path

    async def _bring(self, image: ImagePlan, path: Path) -> None:
        part = path.with_name(path.name + ".part")
        await off_loop(_make_room, part)
        try:
            await self._fetch(image, part)
            await off_loop(_accept, image, part, path)
        finally:
            await off_loop(_unlink, part)
        log.info("image fetched", extra={"action": "fetch", "image": image.id})

    async def sweep(self, keep: Collection[ImageId]) -> tuple[str, ...]:
        """Delete what no server needs; the names of what was deleted. An image being fetched is left
        alone."""
        busy = set(self._locks)
        return await off_loop(_sweep, self._directory, {*keep, *busy, *(f"{name}.part" for name in busy)})


def _make_room(part: Path) -> None:
    part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part.unlink(missing_ok=True)


def _accept(image: ImagePlan, part: Path, path: Path) -> None:
    size = part.stat().st_size
    if size != image.size:
        raise ImageNotUsable(image_id=image.id, reason=f"{size} bytes came where {image.size} were promised")
    part.rename(path)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _sweep(directory: Path, keep: Collection[str]) -> tuple[str, ...]:
    if not directory.is_dir():
        return ()
    removed = []
    for path in directory.iterdir():
        if path.name not in keep:
            path.unlink()
            removed.append(path.name)
    return tuple(removed)


def virtual_size(image_id: ImageId, file_format: Literal["qcow2", "raw"], head: bytes, size: int) -> int:
    """How large a disk an image is, in bytes, from its first 104 bytes and its file's size.

    A qcow2 file can name other files (a backing file, an external data file) that QEMU would open for the
    guest; the image service refuses those, and so does this. Raises `ImageNotUsable`. (The header:
    docs/interop/qcow2 of QEMU.)
    """
    if file_format == "raw":
        return size
    if head[:4] != qcow2.MAGIC or len(head) < 72:
        raise ImageNotUsable(image_id=image_id, reason="it is not in qcow2 format")
    if int.from_bytes(head[8:16], "big"):
        raise ImageNotUsable(image_id=image_id, reason="it has a backing file")
    if int.from_bytes(head[4:8], "big") >= 3 and int.from_bytes(head[72:80], "big") & EXTERNAL_DATA_FILE:
        raise ImageNotUsable(image_id=image_id, reason="it has an external data file")
    return int.from_bytes(head[24:32], "big")


def root_disk(directory: Path, server: ServerPlan) -> Path | None:
    """Where the root disk of a server is; None where it has none (no image, and no size of its own)."""
    if server.image is None and server.root_gb == 0:
        return None
    return directory / f"root-{server.disk}.qcow2"


async def make_root_disk(disk: Path, server: ServerPlan, backing: Path | None) -> bool:
    """Make a root disk that is not there yet; False where it is, and then its content stays.

    Raises `ImageNotUsable`, `DiskTooSmall`, `DiskNotMade`; nothing is left then.
    """
    return await off_loop(_make_root_disk, disk, server, backing)


def _make_root_disk(disk: Path, server: ServerPlan, backing: Path | None) -> bool:
    # A power cut leaves the name of a file that was just made, and nothing in it.
    if disk.exists() and disk.stat().st_size > 0:
        return False
    size, below = server.root_gb * GIB, None
    if server.image is not None and backing is not None:
        least = virtual_size(server.image.id, server.image.file_format, *_head(backing))
        if 0 < size < least:
            raise DiskTooSmall(root_gb=server.root_gb, size=least)
        size, below = size or least, (backing, server.image.file_format)
    try:
        write_file(disk, qcow2.empty_disk(size, below))
    except (OSError, ValueError) as error:
        raise DiskNotMade from error
    return True


async def remove_other_disks(disk: Path) -> None:
    """Delete the root disks of a server that came before this one."""
    await off_loop(_remove_others, disk)


def _remove_others(disk: Path) -> None:
    for other in disk.parent.glob("root-*.qcow2*"):
        if other != disk:
            other.unlink()


def _head(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as file:
        return file.read(104), path.stat().st_size
