"""Root disks and the images below them, looked at and read by the real `qemu-img`."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polyport.agent.disks import (
    GIB,
    DiskNotMade,
    DiskTooSmall,
    ImageCache,
    ImageNotUsable,
    make_root_disk,
    remove_other_disks,
    root_disk,
    virtual_size,
)
from polyport.agent.inventory import host_facts, machine, memory_mb
from polyport.agent.records import NotAnId, directory
from polyport.dataplane import DataplaneFacts
from polyport.hypervisor import HypervisorFacts
from polyport.ids import ImageId, ServerId, new_id
from polyport.plan import ImagePlan, ServerPlan
from tests.plans import server_plan

MIB = 1 << 20


def qemu_img(*arguments: str | Path) -> str:
    return subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def info(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(qemu_img("info", "--output=json", path))
    return told


def sound(path: Path) -> bool:
    """Whether the disk is as its format wants it, to the last reference count; raises where it is broken."""
    told = json.loads(qemu_img("check", "--output=json", path))
    return {"corruptions", "leaks"}.isdisjoint(told)


class Store:
    """Where images come from."""

    def __init__(self) -> None:
        self.images: dict[ImageId, bytes] = {}
        self.fetches: list[ImageId] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def put(self, content: bytes, file_format: str = "raw") -> ImagePlan:
        image = ImagePlan(id=ImageId(new_id()), file_format=file_format, size=len(content))  # type: ignore[arg-type]
        self.images[image.id] = content
        return image

    async def fetch(self, image: ImagePlan, into: Path) -> None:
        assert not into.exists()
        self.fetches.append(image.id)
        await self.gate.wait()
        into.write_bytes(self.images[image.id])


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def cache(store: Store, tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "cache", store.fetch)


def server(image: ImagePlan | None = None, root_gb: int = 0, disk: int = 1) -> ServerPlan:
    return server_plan(disk=disk, root_gb=root_gb, image=image)


def qcow2(path: Path, *arguments: str | Path) -> bytes:
    qemu_img("create", "-q", "-f", "qcow2", *arguments, path, "64M")
    return path.read_bytes()


# The cache


async def test_an_image_is_fetched_once_for_all_who_wait(store: Store, cache: ImageCache) -> None:
    image = store.put(b"content")
    store.gate.clear()
    waiting = [asyncio.create_task(cache.path(image)) for _ in range(5)]
    while not store.fetches:
        await asyncio.sleep(0)
    store.gate.set()
    paths = set(await asyncio.gather(*waiting))
    assert {path.read_bytes() for path in paths} == {b"content"}
    await cache.path(image)
    assert store.fetches == [image.id]


async def test_who_waits_for_a_fetch_that_is_cancelled_fetches_it(store: Store, cache: ImageCache) -> None:
    image = store.put(b"content")
    store.gate.clear()
    first, second = (asyncio.create_task(cache.path(image)) for _ in range(2))
    while not store.fetches:
        await asyncio.sleep(0)
    first.cancel()
    store.gate.set()
    assert (await second).read_bytes() == b"content"
    assert first.cancelled()
    assert store.fetches == [image.id, image.id]


async def test_bytes_that_are_missing_are_noticed(store: Store, cache: ImageCache, tmp_path: Path) -> None:
    image = replace(store.put(b"content"), size=8)
    with pytest.raises(ImageNotUsable, match="7 bytes came where 8 were promised"):
        await cache.path(image)
    assert list((tmp_path / "cache").iterdir()) == []


async def test_an_id_is_a_uuid_before_it_is_a_file_name(cache: ImageCache, tmp_path: Path) -> None:
    with pytest.raises(ImageNotUsable):
        await cache.path(ImagePlan(id=ImageId("../../etc/passwd"), file_format="raw", size=1))
    with pytest.raises(NotAnId):
        directory(tmp_path, ServerId("../.."))


async def test_the_sweep_keeps_what_is_needed_and_what_is_on_its_way(
    store: Store, cache: ImageCache, tmp_path: Path
) -> None:
    assert await cache.sweep(()) == ()
    needed, not_needed, coming = (store.put(name) for name in (b"1", b"2", b"3"))
    await cache.path(needed)
    await cache.path(not_needed)
    (tmp_path / "cache" / f"{new_id()}.part").write_bytes(b"of an agent that died")
    store.gate.clear()
    fetching = asyncio.create_task(cache.path(coming))
    while len(store.fetches) < 3:
        await asyncio.sleep(0)
    store.gate.set()
    assert len(await cache.sweep({needed.id})) == 2
    assert (await fetching).read_bytes() == b"3"
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {needed.id, coming.id}


# What an image may be


def test_a_qcow2_image_that_names_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * MIB)
    backed = qcow2(tmp_path / "backed", "-b", tmp_path / "secret", "-F", "raw")
    split = qcow2(tmp_path / "split", "-o", f"data_file={tmp_path / 'data'}")
    plain = qcow2(tmp_path / "plain")
    old = qcow2(tmp_path / "old", "-o", "compat=0.10")
    image_id = ImageId(new_id())
    with pytest.raises(ImageNotUsable, match="backing file"):
        virtual_size(image_id, "qcow2", backed[:104], len(backed))
    with pytest.raises(ImageNotUsable, match="external data file"):
        virtual_size(image_id, "qcow2", split[:104], len(split))
    with pytest.raises(ImageNotUsable, match="not in qcow2 format"):
        virtual_size(image_id, "qcow2", b"\0" * 104, 104)
    with pytest.raises(ImageNotUsable, match="not in qcow2 format"):
        virtual_size(image_id, "qcow2", plain[:20], 20)
    assert virtual_size(image_id, "qcow2", plain[:104], len(plain)) == 64 * MIB
    assert virtual_size(image_id, "qcow2", old[:104], len(old)) == 64 * MIB
    assert virtual_size(image_id, "raw", backed[:104], 512) == 512


# Root disks


@pytest.mark.parametrize(
    ("file_format", "root_gb", "size"), [("qcow2", 0, 64 * MIB), ("raw", 0, MIB), ("qcow2", 2, 2 * GIB)]
)
async def test_a_root_disk_lies_on_its_image(
    store: Store, cache: ImageCache, tmp_path: Path, file_format: str, root_gb: int, size: int
) -> None:
    content = qcow2(tmp_path / "image") if file_format == "qcow2" else b"\1" * MIB
    plan = server(store.put(content, file_format), root_gb)
    disk = root_disk(tmp_path, plan)
    assert disk is not None
    assert plan.image is not None
    backing = await cache.path(plan.image)
    assert await make_root_disk(disk, plan, backing)
    told = info(disk)
    assert told["virtual-size"] == size
    assert (told["full-backing-filename"], told["backing-filename-format"]) == (str(backing), file_format)
    assert sound(disk)


async def test_a_root_disk_holds_what_its_image_holds_and_what_is_written_to_it(tmp_path: Path) -> None:
    """An image that ends within a sector is a disk that ends with it, as for the emulator."""
    image = tmp_path / "image"
    image.write_bytes(b"image" * 1000)
    plan = server(ImagePlan(id=ImageId(new_id()), file_format="raw", size=5000))
    disk = tmp_path / "root-1.qcow2"
    assert await make_root_disk(disk, plan, image)
    subprocess.run(["qemu-io", "-c", "write -P 0x55 1024 512", disk], check=True, capture_output=True)
    qemu_img("convert", "-O", "raw", disk, tmp_path / "content")
    held = (tmp_path / "content").read_bytes()
    assert len(held) == 5120
    assert held[:1024] + held[1536:5000] == image.read_bytes()[:1024] + image.read_bytes()[1536:]
    assert held[1024:1536] == b"\x55" * 512
    assert sound(disk)


async def test_a_root_disk_of_its_own_is_empty(tmp_path: Path) -> None:
    disk = tmp_path / "root-1.qcow2"
    assert await make_root_disk(disk, server(root_gb=3), None)
    assert info(disk)["virtual-size"] == 3 * GIB
    assert "backing-filename" not in info(disk)
    assert json.loads(qemu_img("map", "--output=json", disk)) == [
        {"start": 0, "length": 3 * GIB, "depth": 0, "present": False, "zero": True, "data": False}
    ]
    assert sound(disk)


async def test_a_disk_that_is_there_keeps_its_content(tmp_path: Path) -> None:
    plan = server(root_gb=1)
    disk = root_disk(tmp_path, plan)
    assert disk is not None
    disk.write_bytes(b"what the guest wrote")
    assert not await make_root_disk(disk, plan, None)
    assert disk.read_bytes() == b"what the guest wrote"


async def test_a_disk_that_a_power_cut_left_empty_is_made(tmp_path: Path) -> None:
    plan = server(root_gb=1)
    disk = root_disk(tmp_path, plan)
    assert disk is not None
    disk.touch()
    assert await make_root_disk(disk, plan, None)
    assert info(disk)["virtual-size"] == GIB


async def test_a_rebuilt_server_has_a_new_disk_and_then_no_other(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        plan = server(root_gb=1, disk=number)
        disk = root_disk(tmp_path, plan)
        assert disk is not None
        assert await make_root_disk(disk, plan, None)
    (tmp_path / "root-2.qcow2.part").touch()
    await remove_other_disks(disk)
    assert [path.name for path in tmp_path.iterdir()] == ["root-3.qcow2"]


def test_a_server_without_image_and_size_has_no_disk(tmp_path: Path) -> None:
    assert root_disk(tmp_path, server()) is None


async def test_a_disk_smaller_than_its_image_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image"
    qemu_img("create", "-q", "-f", "qcow2", image, "2G")
    plan = server(ImagePlan(id=ImageId(new_id()), file_format="qcow2", size=image.stat().st_size), root_gb=1)
    disk = root_disk(tmp_path, plan)
    assert disk is not None
    with pytest.raises(DiskTooSmall):
        await make_root_disk(disk, plan, image)
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


async def test_a_disk_that_cannot_be_made_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    plan = server(root_gb=1 << 40)
    disk = root_disk(tmp_path, plan)
    assert disk is not None
    with pytest.raises(DiskNotMade) as caught:
        await make_root_disk(disk, plan, None)
    assert "more than" in str(caught.value.__cause__)
    with pytest.raises(DiskNotMade):
        await make_root_disk(tmp_path / "nowhere" / "root-1.qcow2", server(root_gb=1), None)
    assert list(tmp_path.iterdir()) == []


# The host


def test_memory_is_counted_in_mebibytes() -> None:
    assert memory_mb("MemTotal:       16384 kB\nMemFree:  1 kB\n") == 16
    assert memory_mb("") == 0


def test_host_facts(tmp_path: Path) -> None:
    hypervisor = HypervisorFacts(
        name="fake", version="1", accelerator="none", most_nics_per_vcpu=48, most_nic_slots=9, wants_disks=False
    )
    facts = host_facts(tmp_path, hypervisor, DataplaneFacts(name="fake", version="1"))
    assert (facts.hypervisor, facts.dataplane, facts.accelerator) == ("fake", "fake", "none")
    assert facts.cpus >= 1
    assert facts.memory_mb >= 1


def test_this_life_of_the_machine_has_one_name() -> None:
    assert machine() == machine()
    assert len(machine()) > 36
