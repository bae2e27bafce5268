"""`guest.json` gives back what was written, and nothing where it cannot be read."""

import os
from pathlib import Path

import pytest

from polyport.hypervisor import Guest, GuestDisk, GuestNic
from polyport.hypervisor.qemu import process, record
from polyport.hypervisor.qemu.process import RunsAlready
from polyport.ids import PortId, ServerId, new_id

GUEST = Guest(
    id=ServerId(new_id()),
    name="Zürich, \"quoted\" 'and' \n new",
    boot=12,
    vcpus=4,
    memory_mb=2048,
    disks=(GuestDisk(path=Path("/a/b,c ü.qcow2"), file_format="qcow2", serial="root"),),
    kernel=Path("/a/kernel"),
    kernel_arguments="console=ttyS0 x='y z'",
    nic_slots=62,
    nics=(GuestNic(port_id=PortId(new_id()), slot=9, mac_address="fa:16:3e:00:00:09", mtu=1450),),
)


def test_a_guest_is_read_as_it_was_written(tmp_path: Path) -> None:
    record.write_guest(tmp_path, GUEST)
    assert record.read_guest(tmp_path) == GUEST
    assert [path.name for path in tmp_path.iterdir()] == ["guest.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}'])
def test_a_record_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "guest.json").write_text(text)
    assert record.read_guest(tmp_path) is None


def test_no_record_is_none(tmp_path: Path) -> None:
    assert record.read_guest(tmp_path) is None


def test_a_directory_is_for_one_process(tmp_path: Path) -> None:
    assert not process.is_running(tmp_path)
    lock = process.take_lock(tmp_path)
    assert process.is_running(tmp_path)
    with pytest.raises(RunsAlready, match=str(tmp_path)):
        process.take_lock(tmp_path)
    heir = os.dup(lock)
    os.close(lock)
    assert process.is_running(tmp_path), "who inherited the lock holds it"
    os.close(heir)
    assert not process.is_running(tmp_path)
