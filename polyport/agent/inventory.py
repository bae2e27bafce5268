"""What this host is and has."""

import os
import shutil
from pathlib import Path

from polyport.dataplane import DataplaneFacts
from polyport.hypervisor import HypervisorFacts
from polyport.plan import HostFacts

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
FIRST_PROCESS = Path("/proc/1/stat")
MEMORY = Path("/proc/meminfo")


def host_facts(state: Path, hypervisor: HypervisorFacts, dataplane: DataplaneFacts) -> HostFacts:
    """The host's facts for a report; disk is that of the file system the state directory is on."""
    return HostFacts(
        hypervisor=hypervisor.name,
        hypervisor_version=hypervisor.version,
        accelerator=hypervisor.accelerator,
        dataplane=dataplane.name,
        cpus=os.cpu_count() or 1,
        memory_mb=memory_mb(MEMORY.read_text()),
        disk_gb=shutil.disk_usage(state).total >> 30,
    )


def memory_mb(meminfo: str) -> int:
    """MiB of main memory, from the text of /proc/meminfo (which counts KiB)."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) >> 10
    return 0


def machine() -> str:
    """A name for this life of the machine: guests that ran in another one are not running any more.

    The kernel's boot id changes with each boot; the start of process 1 changes with each start of a
    container, which ends guests too and keeps the kernel. (proc(5): the start time is field 22 of stat, the
    second field is in parentheses and may hold spaces.)
    """
    started = FIRST_PROCESS.read_text().rpartition(")")[2].split()[19]
    return f"{BOOT_ID.read_text().strip()}.{started}"
