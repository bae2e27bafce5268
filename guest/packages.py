"""Packages of the host's own distribution, downloaded and unpacked not installed (so without root)."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

Say = Callable[[str], None]


class PackageError(Exception):
    """A package could not be had; the message says which and what the package tools answered."""


def unpacked(name: str, cache: Path, say: Say) -> Path:
    """The directory below `cache` that holds the files of package `name`, in its newest version known to apt.

    Raises `PackageError` where apt does not know the package or cannot download it.
    """
    filename, size = _candidate(name)
    target = cache / "unpacked" / filename.removesuffix(".deb")
    if target.is_dir():
        return target
    downloads = cache / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    package = downloads / filename
    if not package.is_file() or package.stat().st_size != size:
        say(f"downloading {name} ({size / 1e6:.1f} MB)")
        _output("apt-get", "--quiet=2", "download", name, cwd=downloads)
    if not package.is_file():
        raise PackageError(f"apt-get download {name} left no {filename}")
    say(f"unpacking {filename}")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _output("dpkg-deb", "--extract", str(package), str(partial))
    partial.rename(target)
    return target


def kernel_packages() -> tuple[str, ...]:
    """The packages that hold the kernel for virtual machines and its modules, as named here."""
    meta = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}.get(_distribution())
    if meta is None:
        raise PackageError("the guest is built from packages of Debian or Ubuntu, and this is neither")
    found: dict[str, None] = {}
    todo = [meta]
    while todo:
        for name in re.findall(r"^\s*Depends: (linux-(?:image|modules)-\d\S*)$", _depends(todo.pop()), re.MULTILINE):
            if name not in found:
                found[name] = None
                todo.append(name)
    if not found:
        raise PackageError(f"{meta} names no kernel; does `apt-get update` help?")
    return tuple(found)


def _distribution() -> str:
    facts = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', Path("/etc/os-release").read_text(), re.MULTILINE))
    names = [facts.get("ID", ""), *facts.get("ID_LIKE", "").split()]
    return next((name for name in names if name in ("debian", "ubuntu")), "")


def _depends(name: str) -> str:
    return _output("apt-cache", "depends", "--no-recommends", "--no-suggests", name)


def _candidate(name: str) -> tuple[str, int]:
    answer = _output("apt-get", "--print-uris", "download", name)
    found = re.search(r"^'[^']*' (\S+\.deb) (\d+)", answer, re.MULTILINE)
    if found is None:
        raise PackageError(f"apt knows no package {name}; does `apt-get update` help?")
    return found[1], int(found[2])


def _output(*command: str, cwd: Path | None = None) -> str:
    try:
        ran = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise PackageError(f"{command[0]} is not on this machine") from error
    except subprocess.CalledProcessError as error:
        raise PackageError(f"{' '.join(command)}: {error.stderr.strip() or error.returncode}") from error
    return ran.stdout
