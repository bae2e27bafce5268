"""What this machine can do for polyport, said in words: used by `polyport check`, and by people who ask for help."""

import asyncio
import ctypes
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from polyport.config import HypervisorConfig
from polyport.dataplane.bridge import kernel
from polyport.hypervisor.qemu import kvm

Say = Callable[[str], object]


def report(say: Say) -> int:
    """Say one line for each thing polyport needs; the number of those that are missing."""
    emulator = HypervisorConfig().emulator
    wanted = (
        ("root", os.geteuid() == 0, "network namespaces and taps need it"),
        (emulator, shutil.which(emulator) is not None, "package qemu-system-x86"),
        ("libnftables", _loads("libnftables.so.1"), "package libnftables1"),
        ("/dev/net/tun", Path("/dev/net/tun").exists(), "kernel: CONFIG_TUN"),
    )
    for name, there, hint in wanted:
        say(f"{'ok     ' if there else 'MISSING'}  {name}" + ("" if there else f"  ({hint})"))
    missing = sum(not there for _, there, _ in wanted)
    if wanted[0][1] and wanted[3][1]:
        for need in kernel.needs():
            missing += need.complaint is not None
            say(f"ok       {need.name}" if need.complaint is None else f"MISSING  {need.name}  ({need.complaint})")
    if wanted[1][1]:
        accelerator = asyncio.run(kvm.choose_accelerator(emulator, "auto"))
        say(f"ok       accelerator: {accelerator}")
    safe = sqlite3.sqlite_version_info >= (3, 51, 3)
    say(f"ok       python {platform.python_version()}, sqlite {sqlite3.sqlite_version}" + _of_sqlite(safe))
    say(f"ok       {sys.platform}, kernel {platform.release()}")
    return missing


def _of_sqlite(safe: bool) -> str:
    return "" if safe else " (below 3.51.3: no other program may write to or checkpoint polyport's database)"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
