"""Build the small guest: `python -m guest.build [--output DIRECTORY] [--fresh]`.

Makes, without root, loop devices or a kernel installed on the host,

    vmlinuz      the distribution's kernel for virtual machines
    initrd       busybox, a few modules and `guest/root`
    disk.qcow2   both of them on a disk that starts through the BIOS

Nothing is done where the output was made from the same sources before; `--fresh` looks for newer packages.
"""

import argparse
import fcntl
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from guest import cpio
from guest.disk import make_disk
from guest.modules import KernelModules, ModuleMissing
from guest.packages import PackageError, Say, kernel_packages, unpacked

SOURCES = Path(__file__).parent
OUTPUT = SOURCES.parent / ".work" / "guest"
STAMP = "made-from"
FILES = ("vmlinuz", "initrd", "disk.qcow2")

KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=1 nokaslr no_timer_check tsc=reliable mitigations=off"
"""What this guest starts fastest with on an emulated CPU; `console=ttyS0` alone is enough."""

MODULES = {
    # One after another, in this order: drivers that start side by side number NICs by chance.
    "boot": (
        "virtio_pci",
        "virtio_blk",
        "virtio_console",
        "isofs",
        "button",
        "evdev",
        "virtio_net",
    ),
    "bridge": ("bridge",),
    "pktgen": ("pktgen",),
}
"""List name -> wanted modules; `load NAME` in the guest loads a list."""


def build(output: Path = OUTPUT, *, say: Say, fresh: bool = False) -> Path:
    """Make the guest in `output` unless it is there already, and return `output`.

    Raises `PackageError`, `ModuleMissing`, or `subprocess.CalledProcessError` from a tool.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / "lock").open("w") as lock:
        # Whoever comes second finds everything made.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if fresh or not is_made(output):
            make(output, say)
    return output


def is_made(output: Path) -> bool:
    """Whether `output` holds what today's sources would make."""
    stamp = output / STAMP
    return stamp.is_file() and stamp.read_text() == sources_key() and all((output / name).is_file() for name in FILES)


def make(output: Path, say: Say) -> None:
    (output / STAMP).unlink(missing_ok=True)
    key = sources_key()
    cache = output / "packages"
    kernel, modules = find_kernel([unpacked(name, cache, say) for name in kernel_packages()])
    shutil.copyfile(kernel, output / "vmlinuz")
    busybox = find_busybox(unpacked("busybox-static", cache, say))
    say("packing the initrd")
    (output / "initrd").write_bytes(pack_initrd(busybox, modules))
    make_disk(output / "disk.qcow2", output / "vmlinuz", output / "initrd", KERNEL_ARGUMENTS, cache, say)
    (output / STAMP).write_text(key)
    sizes = ", ".join(f"{name} {(output / name).stat().st_size / 1e6:.1f} MB" for name in FILES)
    say(f"the guest is in {output}: {sizes}")


def sources_key() -> str:
    """A digest of everything of ours that the output depends on."""
    digest = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.py"), *(SOURCES / "root").rglob("*")]):
        if path.is_file() and path.name != "channel.py":
            digest.update(f"{path.relative_to(SOURCES)}\0{path.stat().st_mode & 0o111:o}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def find_kernel(packages: list[Path]) -> tuple[Path, KernelModules]:
    """The kernel and the modules among unpacked packages (Ubuntu has them in two)."""
    kernel = next((path for package in packages for path in package.glob("boot/vmlinuz-*")), None)
    builtin = next((path for package in packages for path in package.glob("**/lib/modules/*/modules.builtin")), None)
    if kernel is None or builtin is None:
        raise PackageError(f"no kernel with its modules in {', '.join(path.name for path in packages)}")
    return kernel, KernelModules(builtin.parent)


def find_busybox(package: Path) -> Path:
    return next(path for folder in ("usr/bin", "bin") if (path := package / folder / "busybox").is_file())


def pack_initrd(busybox: Path, modules: KernelModules) -> bytes:
    """The compressed archive the kernel starts from."""
    tree = {
        "bin/busybox": cpio.file(busybox.read_bytes(), executable=True),
        "bin/sh": cpio.link("busybox"),
        **{name: cpio.directory() for name in ("dev", "proc", "sys", "run", "tmp", "root", "etc")},
    }
    for listed, wanted in MODULES.items():
        order = modules.closure(wanted)
        tree[f"lib/modules/{listed}"] = cpio.file("".join(f"{name}\n" for name in order).encode())
        for name in order:
            tree[f"lib/modules/{name}.ko"] = cpio.file(modules.content(name))
    root = SOURCES / "root"
    for path in sorted(root.rglob("*")):
        if path.is_file():
            executable = os.access(path, os.X_OK)
            tree[str(path.relative_to(root))] = cpio.file(path.read_bytes(), executable=executable)
    return gzip.compress(cpio.archive(tree), compresslevel=9, mtime=0)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the small guest.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: %(default)s")
    parser.add_argument("--fresh", action="store_true", help="look for newer packages")
    chosen = parser.parse_args()

    def say(line: str) -> None:
        sys.stderr.write(f"guest: {line}\n")

    try:
        build(chosen.output, say=say, fresh=chosen.fresh)
    except (PackageError, ModuleMissing) as error:
        say(str(error))
        return 1
    except subprocess.CalledProcessError as error:
        say(f"{error.cmd[0]} failed: {error.stderr.decode(errors='replace').strip()}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
