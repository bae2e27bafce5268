"""The bytes of images: in, checked, out; and what is left when it goes wrong."""

import asyncio
import hashlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from polyport.db.tables.image import images
from polyport.image.images import recover
from tests.api.client import Client, TestCloud

OCTETS = {"content-type": "application/octet-stream"}


def qcow2(
    *,
    version: int = 3,
    backing: int = 0,
    crypt: int = 0,
    virtual: int = 1 << 30,
    incompatible: int = 0,
    extensions: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    head = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        version,
        backing,
        8 if backing else 0,
        16,
        virtual,
        crypt,
        1,
        0x30000,
        0x10000,
        1,
        0,
        0,
    )
    if version == 3:
        head += struct.pack(">QQQII", incompatible, 0, 0, 4, 104)
    for kind, data in extensions:
        head += struct.pack(">II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")
    return head.ljust(4 * 65536, b"\0")


async def queued(caller: Client, disk_format: str = "raw", **more: object) -> str:
    body = {"name": "i", "disk_format": disk_format, "container_format": "bare", **more}
    return str((await caller.made("/image/images", body))["id"])


async def upload(caller: Client, image_id: str, data: bytes | AsyncIterator[bytes], **headers: str):  # type: ignore[no-untyped-def]
    path = f"/image/images/{image_id}/file"
    return await caller.call("PUT", path, content=data, headers={**OCTETS, **headers})


def files(cloud: TestCloud) -> list[str]:
    return sorted(entry.name for entry in cloud.config.images.iterdir())


async def in_pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def test_bytes_come_in_and_go_out_unchanged(cloud: TestCloud, client: Client) -> None:
    image_id = await queued(client)
    path = f"/image/images/{image_id}"
    empty = await client.get(path + "/file")
    assert (empty.status_code, empty.content) == (204, b"")
    data = bytes(range(256)) * 12_345
    assert (await upload(client, image_id, in_pieces(data))).status_code == 204
    image = (await client.get(path)).json()
    expected = {
        "status": "active",
        "size": len(data),
        "virtual_size": len(data),
        "checksum": hashlib.md5(data).hexdigest(),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(data).hexdigest(),
    }
    assert {name: image[name] for name in expected} == expected
    back = await client.get(path + "/file")
    assert back.content == data
    assert back.headers["content-type"] == "application/octet-stream"
    assert back.headers["content-md5"] == expected["checksum"]
    assert back.headers["content-length"] == str(len(data))
    head = await client.call("HEAD", path + "/file")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(data)), b"")
    assert files(cloud) == [image_id]
    assert (cloud.config.images / image_id).stat().st_mode & 0o777 == 0o600


async def test_a_part_may_be_asked_for(client: Client) -> None:
    image_id = await queued(client)
    await upload(client, image_id, b"0123456789")
    path = f"/image/images/{image_id}/file"
    for wanted, expected, said in (
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
    ):
        part = await client.get(path, headers={"range": wanted})
        assert (part.status_code, part.content, part.headers["content-range"]) == (206, expected, said)
    for wanted in ("bytes=0-1,3-4", "lines=1-2", "bytes=-"):
        assert (await client.get(path, headers={"range": wanted})).content == b"0123456789"
    for wanted in ("bytes=10-", "bytes=5-4", "bytes=-0"):
        assert (await client.get(path, headers={"range": wanted})).status_code == 416


async def test_bytes_come_once(client: Client) -> None:
    image_id = await queued(client)
    assert (await upload(client, image_id, b"first")).status_code == 204
    assert (await upload(client, image_id, b"second")).status_code == 409
    assert (await client.get(f"/image/images/{image_id}/file")).content == b"first"
    body = [{"op": "replace", "path": "/disk_format", "value": "qcow2"}]
    headers = {"content-type": "application/openstack-images-v2.1-json-patch"}
    assert (await client.patch(f"/image/images/{image_id}", body, headers=headers)).status_code == 403


async def test_an_upload_that_cannot_begin(cloud: TestCloud, client: Client) -> None:
    formless = (await client.made("/image/images", {"name": "x"}))["id"]
    assert (await upload(client, formless, b"x")).status_code == 400
    image_id = await queued(client)
    path = f"/image/images/{image_id}/file"
    assert (await client.call("PUT", path, content=b"x")).status_code == 415
    assert (await client.call("PUT", path, content=b"x", headers={"content-type": "text/plain"})).status_code == 415
    assert (await upload(client, "no-such-image", b"x")).status_code == 404
    assert files(cloud) == []


async def test_the_size_the_headers_say_must_come(cloud: TestCloud, client: Client) -> None:
    image_id = await queued(client)
    answer = await upload(client, image_id, in_pieces(b"12345"), **{"x-openstack-image-size": "6"})
    assert (answer.status_code, "5 bytes" in answer.text) == (400, True)
    assert files(cloud) == []
    assert (await upload(client, image_id, in_pieces(b"12345"), **{"x-openstack-image-size": "x"})).status_code == 400
    assert (await upload(client, image_id, in_pieces(b"12345"), **{"x-openstack-image-size": "5"})).status_code == 204


async def test_a_client_that_goes_away_leaves_the_image_as_it_was(cloud: TestCloud, client: Client) -> None:
    image_id = await queued(client)
    sent: list[dict[str, object]] = []
    pieces = 0

    async def receive() -> dict[str, object]:
        nonlocal pieces
        pieces += 1
        if pieces == 1:
            return {"type": "http.request", "body": b"x" * 2_000_000, "more_body": True}
        saving = await client.get(f"/image/images/{image_id}")
        assert saving.json()["status"] == "saving"
        assert (await upload(client, image_id, b"me too")).status_code == 409
        assert len(files(cloud)) == 1
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    path = f"/image/v2/images/{image_id}/file"
    headers = {**client.headers, **OCTETS}
    scope = {
        "type": "http",
        "method": "PUT",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await cloud.cloud.app(scope, receive, send)
    assert sent == []
    assert files(cloud) == []
    assert (await client.get(f"/image/images/{image_id}")).json()["status"] == "queued"
    assert (await upload(client, image_id, b"again")).status_code == 204


async def test_a_download_ends_with_its_client(cloud: TestCloud, client: Client) -> None:
    image_id = await queued(client)
    assert (await upload(client, image_id, bytes(5 << 20))).status_code == 204
    stored = cloud.config.images / files(cloud)[0]
    assert stored.is_file()
    requests = [{"type": "http.request"}]
    first, gone = asyncio.Event(), asyncio.Event()
    sent = 0

    async def receive() -> dict[str, object]:
        if requests:
            return requests.pop()
        await first.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))
        if sent:
            first.set()
            # A client that takes nothing; it is not waited for when it has gone.
            await gone.wait()

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/image/v2/images/{image_id}/file",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in client.headers.items()],
    }
    await cloud.cloud.app(scope, receive, send)
    assert 0 < sent < 5 << 20
    assert str(stored) not in [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


async def test_an_image_deleted_while_its_bytes_come(cloud: TestCloud, client: Client) -> None:
    image_id = await queued(client)

    async def interrupted() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        assert (await client.delete(f"/image/images/{image_id}")).status_code == 204
        yield b"y"

    assert (await upload(client, image_id, interrupted())).status_code == 410
    assert files(cloud) == []


async def test_a_cancelled_upload(cloud: TestCloud, client: Client) -> None:
    image_id = await queued(client)
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(upload(client, image_id, endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(cloud) == []
    assert (await client.get(f"/image/images/{image_id}")).json()["status"] == "queued"


async def test_a_qcow2_image_says_how_large_its_disk_is(client: Client) -> None:
    for data in (
        qcow2(virtual=3 << 30),
        qcow2(version=2, virtual=3 << 30),
        qcow2(virtual=3 << 30, incompatible=0b11001),
    ):
        image_id = await queued(client, "qcow2")
        assert (await upload(client, image_id, data)).status_code == 204
        image = (await client.get(f"/image/images/{image_id}")).json()
        assert (image["virtual_size"], image["size"]) == (3 << 30, len(data))


@pytest.mark.parametrize(
    ("disk_format", "data", "word"),
    [
        ("raw", qcow2(), "qcow2"),
        ("aki", qcow2(), "qcow2"),
        ("iso", qcow2(), "qcow2"),
        ("raw", b"KDMV".ljust(4096, b"\0"), "vmdk"),
        ("raw", b"# Disk DescriptorFile\nversion=1\n", "vmdk"),
        ("raw", b"LUKS\xba\xbe\x00\x01".ljust(4096, b"\0"), "luks"),
        ("raw", b"\0" * 4096 + b"conectix".ljust(512, b"\0"), "vhd"),
        ("raw", b"vhdxfile".ljust(4096, b"\0"), "vhdx"),
        ("raw", (b"\0" * 64 + b"\x7f\x10\xda\xbe").ljust(4096, b"\0"), "vdi"),
        ("qcow2", b"\0" * 4096, "raw"),
        ("qcow2", b"", "raw"),
        ("qcow2", b"QFI\xfb\0\0\0\3", "short"),
        ("qcow2", qcow2(backing=200), "backing"),
        ("qcow2", qcow2(crypt=2), "encrypted"),
        ("qcow2", qcow2(incompatible=0b100), "external"),
        ("qcow2", qcow2(incompatible=0b10), "corrupt"),
        ("qcow2", qcow2(incompatible=1 << 40), "features"),
        ("qcow2", qcow2(virtual=2**63), "disk of"),
        ("qcow2", qcow2(extensions=((0x44415441, b"/etc/shadow"),)), "external"),
        ("qcow2", qcow2(extensions=((0x6803F857, b"\0" * 48), (0xE2792ACA, b"raw"))), "backing"),
        ("iso", b"\0" * 65536, "raw"),
    ],
)
async def test_bytes_that_are_something_else_are_refused(
    cloud: TestCloud, client: Client, disk_format: str, data: bytes, word: str
) -> None:
    image_id = await queued(client, disk_format)
    answer = await upload(client, image_id, data)
    assert (answer.status_code, word in answer.json()["error"]["message"]) == (415, True), answer.text
    assert (await client.get(f"/image/images/{image_id}")).json()["status"] == "queued"
    assert files(cloud) == []


async def test_kernels_ramdisks_and_isos_are_raw_bytes(client: Client) -> None:
    iso = (b"\0" * 0x8001 + b"CD001").ljust(65536, b"\0")
    for disk_format, data in (
        ("aki", b"MZ kernel"),
        ("ari", b"\x1f\x8b ramdisk"),
        ("ami", b"disk"),
        ("iso", iso),
        ("raw", iso),
    ):
        image_id = await queued(client, disk_format)
        assert (await upload(client, image_id, data)).status_code == 204
        assert (await client.get(f"/image/images/{image_id}/file")).content == data


async def test_a_deactivated_image_gives_its_bytes_to_nobody_but_an_administrator(
    client: Client, admin: Client
) -> None:
    image_id = await queued(client)
    path = f"/image/images/{image_id}"
    assert (await client.post(path + "/actions/deactivate")).status_code == 403
    await upload(client, image_id, b"data")
    for _ in range(2):
        assert (await client.post(path + "/actions/deactivate")).status_code == 204
    assert (await client.get(path)).json()["status"] == "deactivated"
    assert (await client.get(path + "/file")).status_code == 403
    assert (await admin.get(path + "/file")).content == b"data"
    for _ in range(2):
        assert (await client.post(path + "/actions/reactivate")).status_code == 204
    assert (await client.get(path + "/file")).content == b"data"


async def test_a_deleted_image_takes_its_file_along(cloud: TestCloud, client: Client, tmp_path: Path) -> None:
    image_id = await queued(client)
    await upload(client, image_id, b"data")
    kept = tmp_path / "a-servers-own-link"
    kept.hardlink_to(cloud.config.images / image_id)
    assert (await client.delete(f"/image/images/{image_id}")).status_code == 204
    assert files(cloud) == []
    assert kept.read_bytes() == b"data"


async def test_after_a_crash_a_broken_upload_is_queued_again(cloud: TestCloud, client: Client) -> None:
    whole, broken = await queued(client), await queued(client)
    await upload(client, whole, b"data")
    database = cloud.cloud.database
    await database.write(lambda tx: tx.execute(sa.update(images).where(images.c.id == broken).values(status="saving")))
    assert await database.write(recover) == {whole}
    assert (await client.get(f"/image/images/{broken}")).json()["status"] == "queued"
    assert (await client.get(f"/image/images/{whole}")).json()["status"] == "active"
    assert (await upload(client, broken, b"again")).status_code == 204
