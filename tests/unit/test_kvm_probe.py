"""The probe's bytes are its source's, it says yes to a CPU that works, and the configuration has the last word."""

import shutil
import subprocess
from pathlib import Path

import pytest

from polyport.hypervisor.qemu import kvm
from polyport.hypervisor.qemu.kvm import KvmMissing, choose_accelerator

SOURCE = Path(kvm.__file__).with_name("probe.S")
EMULATOR = "qemu-system-x86_64"


@pytest.mark.skipif(not (shutil.which("as") and shutil.which("ld")), reason="no assembler here")
def test_the_bytes_are_what_the_source_says(tmp_path: Path) -> None:
    built, rom = tmp_path / "probe.o", tmp_path / "probe.rom"
    subprocess.run(["as", "--64", SOURCE, "-o", built], check=True)
    subprocess.run(
        ["ld", "-e", "0", "-Ttext", "0", "--oformat", "binary", built, "-o", rom],
        check=True,
        capture_output=True,
    )
    assert kvm.rom() == rom.read_bytes()


def test_the_rom_is_entered_at_the_reset_vector() -> None:
    rom = kvm.rom()
    assert len(rom) == 0x10000
    assert rom[0xFFF0] == 0xEA
    assert rom[0xFFF1:0xFFF5] == (0xF0000000).to_bytes(4, "little")


@pytest.mark.host
def test_a_cpu_that_works_passes() -> None:
    assert kvm.runs_code(EMULATOR, "tcg", seconds=60.0)


@pytest.mark.host
def test_a_cpu_that_does_not_get_through_in_time_fails() -> None:
    assert not kvm.runs_code(EMULATOR, "tcg", seconds=0.001)


@pytest.mark.host
def test_a_machine_that_never_ran_the_probe_fails() -> None:
    """`true` ends well, and with another status than the probe's."""
    assert not kvm.runs_code("true", "tcg", seconds=60.0)


async def test_emulation_asked_for_by_name_is_had() -> None:
    assert await choose_accelerator("no-such-emulator", "tcg") == "tcg"


@pytest.fixture
def device(tmp_path: Path) -> str:
    """A device node anybody may open."""
    (tmp_path / "kvm").touch()
    return str(tmp_path / "kvm")


async def test_kvm_that_is_not_there(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "kvm")
    assert await choose_accelerator("no-such-emulator", "auto", device=nowhere) == "tcg"
    with pytest.raises(KvmMissing, match=nowhere):
        await choose_accelerator("no-such-emulator", "kvm", device=nowhere)


async def test_kvm_asked_for_by_name_is_not_probed(device: str) -> None:
    assert await choose_accelerator("no-such-emulator", "kvm", device=device) == "kvm"


async def test_kvm_that_does_not_work_is_not_used(device: str, caplog: pytest.LogCaptureFixture) -> None:
    """`false` stands for an emulator whose KVM fails."""
    assert await choose_accelerator("false", "auto", device=device) == "tcg"
    assert "does not work" in caplog.text
    caplog.clear()
    assert await choose_accelerator("false", "auto", device=device) == "tcg"
    assert caplog.text == "", "asked once, not twice"
