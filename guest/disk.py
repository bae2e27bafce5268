"""The same guest as a disk that starts through the BIOS: a FAT file system with syslinux, no partitions.

Made with tools that write into a file, so neither root nor a loop device is needed.
"""

import os
import subprocess
from pathlib import Path

from guest.packages import Say, unpacked

TOOLS = ("mtools", "dosfstools", "syslinux")
VOLUME_ID = "504f4c59"
SPARE_KIB = 1024


def make_disk(output: Path, kernel: Path, initrd: Path, arguments: str, cache: Path, say: Say) -> None:
    """Write `output`, a compressed qcow2 disk that starts `kernel` with `initrd` and `arguments`."""
    say("making the disk")
    bare, menu = output.with_suffix(".raw"), output.with_suffix(".cfg")
    menu.write_text(f"DEFAULT guest\nLABEL guest\n  KERNEL vmlinuz\n  APPEND initrd=initrd {arguments}\n")
    size_kib = (kernel.stat().st_size + initrd.stat().st_size) // 1024 + SPARE_KIB
    places = [unpacked(name, cache, say) for name in TOOLS]
    path = ":".join(str(place / folder) for place in places for folder in ("usr/bin", "usr/sbin", "sbin", "bin"))
    # The tools stamp files with the time; a fixed one makes equal inputs give equal disks.
    environment = {
        **os.environ,
        "PATH": f"{path}:{os.environ.get('PATH', '/usr/bin')}",
        "SOURCE_DATE_EPOCH": "0",
        "TZ": "UTC",
        "MTOOLSRC": os.devnull,
    }

    def run(*command: str) -> None:
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)

    try:
        bare.unlink(missing_ok=True)
        run("mkfs.vfat", "--invariant", "-i", VOLUME_ID, "-n", "POLYPORT", "-C", str(bare), str(size_kib))
        for source, target in ((kernel, "vmlinuz"), (initrd, "initrd"), (menu, "syslinux.cfg")):
            run("mcopy", "-i", str(bare), str(source), f"::{target}")
        run("syslinux", "--install", str(bare))
        run("qemu-img", "convert", "-O", "qcow2", "-c", str(bare), str(output))
    finally:
        bare.unlink(missing_ok=True)
        menu.unlink(missing_ok=True)
