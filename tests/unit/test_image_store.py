"""The store: a file under an image's id is whole, and nothing else stays."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from polyport.image.formats import UnusableData
from polyport.image.store import DataTooLarge, Store, StoreFull

ID = "0f4e1f6e-3b0a-4f6e-8a52-2c1f7a2f9d10"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "images")


def put(store: Store, data: bytes) -> None:
    upload = store.receive(1 << 20)
    upload.write(data)
    upload.finish("raw")
    upload.keep(store.path(ID))


def names(store: Store) -> list[str]:
    return sorted(entry.name for entry in store.path(ID).parent.iterdir())


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ID + "/", ID.upper(), ID + "\n", ID.replace("-", "")])
def test_only_an_id_is_a_path(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="not an image id"):
        store.path(name)


def test_bytes_get_their_name_last(store: Store) -> None:
    upload = store.receive(100)
    upload.write(b"abc")
    assert ID not in names(store)
    received = upload.finish("raw")
    assert (received.size, received.found.virtual_size) == (3, 3)
    upload.keep(store.path(ID))
    assert names(store) == [ID]
    with store.open(ID) as file:
        assert file.read() == b"abc"
    store.remove(ID)
    store.remove(ID)
    assert names(store) == []


def test_whatever_breaks_leaves_nothing(store: Store) -> None:
    upload = store.receive(4)
    with pytest.raises(DataTooLarge):
        upload.write(b"12345")
    upload.discard()
    upload = store.receive(100)
    upload.write(b"KDMV")
    with pytest.raises(UnusableData):
        upload.finish("raw")
    upload.discard()
    upload = store.receive(100)
    upload.finish("raw")
    upload.keep(store.path(ID))
    upload.discard()
    upload.discard()
    assert names(store) == []


def test_a_full_disk_is_said_to_be_full(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = store.receive(100)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull):
        upload.finish("raw")
    upload.discard()
    assert names(store) == []


def test_a_server_keeps_its_own_link(store: Store, tmp_path: Path) -> None:
    put(store, b"abc")
    store.link(ID, tmp_path / "base")
    store.remove(ID)
    assert (tmp_path / "base").read_bytes() == b"abc"
    with pytest.raises(FileNotFoundError):
        store.link(ID, tmp_path / "other")


def test_a_copy_where_no_link_can_be(store: Store, tmp_path: Path) -> None:
    put(store, b"abc")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if Path(elsewhere).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("needs two file systems")
        store.link(ID, Path(elsewhere) / "base")
        assert [entry.read_bytes() for entry in Path(elsewhere).iterdir()] == [b"abc"]


def test_the_start_sweeps_what_a_crash_left(store: Store) -> None:
    put(store, b"abc")
    broken = store.receive(100)
    broken.write(b"half")
    other = store.path(ID).with_name("note.txt")
    other.write_text("not ours")
    assert len(store.sweep({ID})) == 1
    assert names(store) == [ID, "note.txt"]
    assert store.sweep(set()) == [ID]
    broken.discard()
    assert names(store) == ["note.txt"]
