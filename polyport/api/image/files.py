"""The bytes of an image: `/v2/images/{id}/file`, in and out, piece by piece.

An upload that breaks, stalls or is not what it was declared to be leaves the image queued, as if it had never begun.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import BinaryIO

from polyport.api.image.fields import id_of
from polyport.db.engine import Database
from polyport.errors import Invalid, NotFound
from polyport.image import images
from polyport.image.images import Image
from polyport.image.store import Store, Upload
from polyport.web.calls import Call, Reply

_PIECE = 1 << 20
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


class NotOctets(Invalid):
    """The Content-Type must be application/octet-stream."""


class SizeMismatch(Invalid):
    """The image data has {size} bytes, not {expected} as the request's headers say."""


class UnsatisfiableRange(Invalid):
    """The range is not within the {size} bytes of the image."""


class DataMissing(NotFound):
    """The data of image {id} is not there."""


class Files:
    """Uploads and downloads against one store."""

    def __init__(self, store: Store, most_bytes: int) -> None:
        self._store = store
        self._most = most_bytes

    async def upload(self, call: Call, database: Database) -> Reply:
        if call.headers.get("content-type", "").split(";")[0].strip().lower() != "application/octet-stream":
            raise NotOctets
        expected = _expected_size(call)
        image_id = id_of(call)
        image = await database.write(lambda tx: images.begin_upload(tx, call.context, image_id))
        upload: Upload | None = None
        try:
            upload = await asyncio.to_thread(self._store.receive, self._most)
            assert call.stream is not None
            await _receive(call.stream, upload)
            received = await asyncio.to_thread(upload.finish, image.disk_format or "raw")
            if expected is not None and received.size != expected:
                raise SizeMismatch(size=received.size, expected=expected)
            await asyncio.to_thread(upload.keep, self._store.path(image_id))
            await database.write(lambda tx: images.finish_upload(tx, image_id, received))
        except BaseException:
            done = await database.write(lambda tx: images.abort_upload(tx, image_id))
            if upload is not None and not done:
                await asyncio.to_thread(upload.discard)
            raise
        return Reply(status=204)

    async def download(self, call: Call, database: Database) -> Reply:
        image = await database.read(lambda tx: images.get_image(tx, call.context, id_of(call)))
        if not images.check_download(call.context, image):
            return Reply(status=204)
        size = image.size or 0
        start, end = _range_of(call, size)
        headers = {"content-length": str(end - start), "accept-ranges": "bytes"}
        if (start, end) == (0, size):
            status = 200
            headers["content-md5"] = image.checksum or ""
        else:
            status = 206
            headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        reply = Reply(status=status, headers=headers, content_type="application/octet-stream")
        if call.method != "HEAD":
            reply.stream = _pieces(await self._open(image), start, end - start)
        else:
            headers["content-type"] = reply.content_type
        return reply

    async def _open(self, image: Image) -> BinaryIO:
        try:
            return await asyncio.to_thread(self._store.open, image.id)
        except FileNotFoundError as error:
            raise DataMissing(id=image.id) from error


async def _receive(stream: AsyncIterator[bytes], upload: Upload) -> None:
    """Hand the body to the upload in pieces worth a thread's time. Raises what both of them raise."""
    waiting: list[bytes] = []
    size = 0
    while True:
        part = await anext(stream, None)
        if part is not None:
            waiting.append(part)
            size += len(part)
        if waiting and (part is None or size >= _PIECE):
            await asyncio.to_thread(upload.write, b"".join(waiting))
            waiting, size = [], 0
        if part is None:
            return


async def _pieces(file: BinaryIO, start: int, length: int) -> AsyncIterator[bytes]:
    with file:
        await asyncio.to_thread(file.seek, start)
        while length > 0:
            piece = await asyncio.to_thread(file.read, min(_PIECE, length))
            if not piece:
                return
            length -= len(piece)
            yield piece


def _expected_size(call: Call) -> int | None:
    text = call.headers.get("x-openstack-image-size") or call.headers.get("content-length")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise Invalid("The header x-openstack-image-size is not a number of bytes.")
    return int(text)


def _range_of(call: Call, size: int) -> tuple[int, int]:
    """(first byte, byte after the last) that is wanted; one range at most. Raises `UnsatisfiableRange`."""
    text = call.headers.get("range")
    found = _RANGE.fullmatch(text.strip()) if text else None
    if found is None or found.groups() == ("", ""):
        return 0, size
    first, last = found.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1 if last else size, size)
    if start >= end:
        raise UnsatisfiableRange(size=size)
    return start, end
