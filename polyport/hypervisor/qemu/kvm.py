"""Whether KVM really works here. That /dev/kvm opens says little.

The probe runs a small ROM under KVM which ends the machine with a known status once 64-bit code with
paging has run. Its bytes come from `probe.S` beside this file, which says what it does and why; a test
assembles that and compares. A KVM that passes is used; one that fails the probe, or does not get through
it in time, is not. A wrong "no" costs speed alone (and `hypervisor.acceleration = "kvm"` in the
configuration overrules it); a wrong "yes" would cost every guest.
"""

import asyncio
import logging
import os
import subprocess
import tempfile
from typing import Literal

from polyport.hypervisor import HypervisorError

log = logging.getLogger(__name__)

DEVICE = "/dev/kvm"
PROBE_SECONDS = 2.0
"""A CPU needs 0.1 s, emulated or not; a KVM that traps every instruction needs for ever."""
PROBE_STATUS = 85
ROM_BYTES = 0x10000
RESET_VECTOR = 0xFFF0
RESET = bytes.fromhex("ea000000f0")
CODE = bytes.fromhex(
    "fa8cc88ed8660f0116e0000f20c06683c8010f22c066ea1d000f00080066b810008ed88ec08ed0bc00700000fcbf0010"
    "000031c0b9000c0000f3abc7050010000003200000c7050020000003300000bf00300000b883000000b9080000008907"
    "050000200083c708e2f40f20e083c8200f22e0b8001000000f22d8b9800000c00f320d000100000f300f20c00d000000"
    "800f22c0ea9b000f001800b9002d3101bb0080000031c083c0038903ffc975f731c00fa266baf400b02aeef4ebfd6690"
    "0000000000000000ffff0000009acf00ffff00000092cf00ffff0000009aaf001f00c0000f"
)

_verdicts: dict[tuple[str, str], bool] = {}
"""Emulator and device -> whether KVM works: asked once per process, for the answer does not change."""


class KvmMissing(HypervisorError):
    """The configuration asks for KVM, and {device} cannot be opened."""


async def choose_accelerator(
    emulator: str, wanted: Literal["auto", "kvm", "tcg"], *, device: str = DEVICE
) -> Literal["kvm", "tcg"]:
    """What guests shall run on. Raises `KvmMissing` where KVM is asked for by name and there is none."""
    if wanted == "tcg":
        return "tcg"
    if not os.access(device, os.R_OK | os.W_OK):
        if wanted == "kvm":
            raise KvmMissing(device=device)
        return "tcg"
    if wanted == "kvm":
        return "kvm"
    question = emulator, device
    if question not in _verdicts:
        _verdicts[question] = await asyncio.to_thread(runs_code, emulator, "kvm")
        if not _verdicts[question]:
            log.warning("probe: %s is there and does not work; guests are emulated", device)
    return "kvm" if _verdicts[question] else "tcg"


def rom() -> bytes:
    """The probe as a firmware image."""
    image = bytearray(ROM_BYTES)
    image[: len(CODE)] = CODE
    image[RESET_VECTOR : RESET_VECTOR + len(RESET)] = RESET
    return bytes(image)


def runs_code(emulator: str, accelerator: Literal["kvm", "tcg"], seconds: float = PROBE_SECONDS) -> bool:
    """Whether the probe gets through with this accelerator. Takes `seconds` at most; raises `OSError`
    without QEMU."""
    with tempfile.NamedTemporaryFile(suffix=".rom") as firmware:
        firmware.write(rom())
        firmware.flush()
        argv = [
            emulator,
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", "pc", "-accel", accelerator, "-m", "16M"),
            *("-cpu", "host" if accelerator == "kvm" else "qemu64"),
            *("-bios", firmware.name),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        ]
        try:
            ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            return False
    return ended.returncode == PROBE_STATUS
