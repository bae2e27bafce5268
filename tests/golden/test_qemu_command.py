"""The exact words QEMU is started with, for one guest of each kind.

`qemu/<name>.json` holds a guest and its machine, `qemu/<name>.argv` the argument list, one word a line. After a wanted
change write the lists anew and read the difference before it is committed:

    POLYPORT_WRITE_GOLDEN=1 pytest tests/golden/test_qemu_command.py
"""

import json
import os
from pathlib import Path

import msgspec
import pytest

from polyport.hypervisor.qemu import command
from polyport.hypervisor.qemu.record import decode_guest

HERE = Path(__file__).parent / "qemu"
MONITOR = 100
FIRST_TAP = 200
CASES = sorted(HERE.glob("*.json"))


def words_for(case: Path) -> list[str]:
    told = json.loads(case.read_text())
    guest = decode_guest(json.dumps(told["guest"]).encode())
    machine = msgspec.convert(told["machine"], command.Machine)
    taps = {nic.port_id: FIRST_TAP + nic.slot for nic in guest.nics}
    return command.argv(guest, machine, monitor=MONITOR, taps=taps)


def test_there_are_cases() -> None:
    assert len(CASES) >= 5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_command(case: Path) -> None:
    lines = "".join(f"{word}\n" for word in words_for(case))
    golden = case.with_suffix(".argv")
    if os.environ.get("POLYPORT_WRITE_GOLDEN"):
        golden.write_text(lines)
    assert lines == golden.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_no_word_of_a_guest_changes_the_meaning_of_another(case: Path) -> None:
    """The name a user gave is nowhere, and a device is one JSON object with no key that was not meant."""
    words = words_for(case)
    assert not any("surprise" in word for word in words)
    devices = [json.loads(word) for word, before in zip(words[1:], words, strict=False) if before == "-device"]
    allowed = {"driver", "id", "bus", "addr", "chassis", "netdev", "mac", "acpi-index", "disable-legacy"}
    allowed |= {"romfile", "host_mtu", "drive", "serial", "bootindex", "nr", "chardev", "name", "rng"}
    assert {key for device in devices for key in device} <= allowed


def test_a_nic_is_told_by_its_device() -> None:
    guest = decode_guest(json.dumps(json.loads((HERE / "many_nics.json").read_text())["guest"]).encode())
    for nic in guest.nics:
        assert command.read_nic_id(command.nic_id(nic)) == (nic.slot, nic.port_id)
    assert command.read_nic_id("agents") is None
    assert command.read_nic_id("nic-") is None
    assert command.read_nic_id("nic-x-1") is None
