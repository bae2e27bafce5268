"""The bytes of images: one file for each, named by the image's id.

    .upload-<random> --(whole, checked, on disk)--> <id> --(image deleted)--> gone

A file under its id is whole and was checked; an upload that broke leaves nothing but a file the next start sweeps away.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from polyport.errors import TooLarge, Unavailable
from polyport.image.formats import HEAD_BYTES, TAIL_BYTES, Found, inspect

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UPLOAD = ".upload-"


class StoreFull(TooLarge):
    """Image storage media is full."""


class DataTooLarge(TooLarge):
    """Image data is larger than {most} bytes."""


class StoreFailed(Unavailable):
    """The image storage cannot be used just now."""


class Received(Struct, frozen=True, kw_only=True):
    """A whole upload, checked and on disk."""

    size: int
    md5: str
    sha512: str
    found: Found


class Store:
    """A directory of image files. Its methods wait for the disk: call them in a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, image_id: str) -> Path:
        """The file of an image. Raises ValueError for what is no UUID in canonical form."""
        if not _ID.fullmatch(image_id):
            raise ValueError(f"not an image id: {image_id!r}")
        return self._directory / image_id

    def receive(self, most: int) -> "Upload":
        """Begin an upload of at most so many bytes. Raises `StoreFull`, `StoreFailed`."""
        return Upload(self._directory, most)

    def open(self, image_id: str) -> BinaryIO:
        """Raises FileNotFoundError."""
        return self.path(image_id).open("rb")

    def link(self, image_id: str, into: Path) -> None:
        """Put an image's bytes at the path `into`, which must not exist: a hard link, so that a server keeps what it
        boots from when the image is deleted; a copy where the file system cannot link."""
        source = self.path(image_id)
        try:
            os.link(source, into)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            _copy(source, into)

    def remove(self, image_id: str) -> None:
        """Idempotent."""
        self.path(image_id).unlink(missing_ok=True)

    def sweep(self, keep: set[str]) -> list[str]:
        """Remove broken uploads and the files of images that are not in `keep`; their names. For the start only:
        an upload that is under way would be taken for a broken one."""
        gone = []
        for entry in self._directory.iterdir():
            if entry.name.startswith(_UPLOAD) or (_ID.fullmatch(entry.name) and entry.name not in keep):
                entry.unlink(missing_ok=True)
                gone.append(entry.name)
        return gone


class Upload:
    """A file that comes in pieces: `write` each, then `finish` and `keep`; `discard` undoes whatever was done."""

    def __init__(self, directory: Path, most: int) -> None:
        self._directory = directory
        self._most = most
        self._path = directory / f"{_UPLOAD}{secrets.token_hex(16)}"
        self._kept: Path | None = None
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha512 = hashlib.sha512()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self._path, flags, 0o600), "w+b", buffering=0)
        except OSError as error:
            raise _told(error) from error

    def write(self, data: bytes) -> None:
        """Raises `DataTooLarge`, `StoreFull`, `StoreFailed`."""
        if self._size + len(data) > self._most:
            raise DataTooLarge(most=self._most)
        self._size += len(data)
        self._md5.update(data)
        self._sha512.update(data)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as error:
            raise _told(error) from error

    def finish(self, disk_format: str) -> Received:
        """Check what came and put it on disk for good. Raises `UnusableData`, `StoreFull`, `StoreFailed`."""
        try:
            head = os.pread(self._file.fileno(), HEAD_BYTES, 0)
            tail = os.pread(self._file.fileno(), TAIL_BYTES, max(0, self._size - TAIL_BYTES))
            found = inspect(disk_format, head, tail, self._size)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _told(error) from error
        return Received(size=self._size, md5=self._md5.hexdigest(), sha512=self._sha512.hexdigest(), found=found)

    def keep(self, path: Path) -> None:
        """Give the file its name, as `Store.path` says it. Raises `StoreFailed`."""
        try:
            self._path.rename(path)
            self._kept = path
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise _told(error) from error
        self._file.close()

    def discard(self) -> None:
        """Nothing is left, whatever was done before."""
        self._file.close()
        (self._kept or self._path).unlink(missing_ok=True)


def _copy(source: Path, into: Path) -> None:
    part = into.with_name(into.name + ".part")
    try:
        with source.open("rb") as read, part.open("wb") as write:
            shutil.copyfileobj(read, write, 1 << 20)
            write.flush()
            os.fsync(write.fileno())  # what has its name is taken for whole, after a power cut too
        part.rename(into)
    finally:
        part.unlink(missing_ok=True)


def _told(error: OSError) -> StoreFull | StoreFailed:
    return StoreFull() if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StoreFailed()
