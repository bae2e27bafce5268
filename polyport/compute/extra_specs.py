"""Which extra specs there are in the name spaces that OpenStack keeps for itself, and what values they may have.

Names outside of those name spaces are free. Source: the compute service's list of extra specs.
"""

import re

from polyport.errors import Invalid


class UnknownExtraSpec(Invalid):
    """Validation failed; extra spec '{key}' does not appear to be a valid extra spec."""


class InvalidExtraSpec(Invalid):
    """Validation failed; '{value}' is not a valid value for the extra spec '{key}'."""


_KEPT = re.compile(
    r"(accel|aggregate_instance_extra_specs|capabilities|hw|hw_rng|hw_video|os|pci_passthrough|powervm|quota"
    r"|resources\w*|trait\w*|vmware):"
)
_BOOLEAN = "(?i:1|t|true|on|y|yes|0|f|false|off|n|no)"
_COUNT = r"[0-9]{1,18}"
_ANY = r".*"
_CPUS = r"\^?\d+(-\d+)?(,\^?\d+(-\d+)?)*"

_KNOWN: tuple[tuple[str, str], ...] = (
    (r"accel:device_profile", r".+"),
    (r"(aggregate_instance_extra_specs|capabilities):.+", _ANY),
    (r"hw:cpu_policy", r"dedicated|shared|mixed"),
    (r"hw:cpu_thread_policy", r"prefer|isolate|require"),
    (r"hw:emulator_threads_policy", r"isolate|share"),
    (r"hw:cpu_realtime_mask|hw:cpu_dedicated_mask", _CPUS),
    (r"hw:cpu_(max_)?(sockets|cores|threads)", _COUNT),
    (r"hw:numa_nodes", r"[1-9][0-9]{0,8}"),
    (r"hw:numa_cpus\.[0-9]+", _CPUS),
    (r"hw:numa_mem\.[0-9]+", _COUNT),
    (r"hw:mem_page_size", r"large|small|any|\d+([kMGT]i?)?(b|bit|B)?"),
    (r"hw:pmem|hw:(mem_encryption_model|tpm_secret_security)", r".+"),
    (r"hw:pci_numa_affinity_policy", r"required|preferred|legacy|socket"),
    (
        r"hw:(cpu_realtime|mem_encryption|boot_menu|vif_multiqueue_enabled|locked_memory|hide_hypervisor_id"
        r"|ephemeral_encryption|virtio_packed_ring)",
        _BOOLEAN,
    ),
    (r"hw:ephemeral_encryption_format", r"luks|plain"),
    (r"hw:serial_port_count", _COUNT),
    (r"hw:tpm_model", r"tpm-tis|tpm-crb"),
    (r"hw:tpm_version", r"1\.2|2\.0"),
    (r"hw:watchdog_action", r"none|pause|poweroff|reset|disabled"),
    (r"hw:maxphysaddr_mode", r"passthrough|emulate"),
    (r"hw:maxphysaddr_bits", _COUNT),
    (r"hw:viommu_model", r"intel|smmuv3|virtio|auto"),
    (r"hw:(sound|usb)_model", r".+"),
    (r"hw:redirected_usb_ports", _COUNT),
    (r"hw_rng:allowed", _BOOLEAN),
    (r"hw_rng:(rate_bytes|rate_period)", _COUNT),
    (r"hw_video:ram_max_mb", _COUNT),
    (r"os:secure_boot", r"required|disabled|optional"),
    (r"os:(monitors|vram)|vmware:hw_version|vmware:storage_policy", r".+"),
    (r"pci_passthrough:alias", r"[^:]+:[0-9]+(,[^:]+:[0-9]+)*"),
    (r"powervm:.+", _ANY),
    (r"quota:(cpu|memory|disk_io|vif)_(limit|reservation|shares_share)", _COUNT),
    (r"quota:(cpu|memory|disk_io|vif)_shares_level", r"custom|high|normal|low"),
    (r"quota:cpu_(shares|period|quota)", r"-?" + _COUNT),
    (r"quota:disk_(read|write|total)_(bytes|iops)_sec(_max)?", _COUNT),
    (r"quota:vif_(inbound|outbound)_(average|peak|burst)", _COUNT),
    (r"resources([a-zA-Z0-9_-]{1,64})?:\w+", _COUNT),
    (r"trait([a-zA-Z0-9_-]{1,64})?:\w+", r"required|forbidden"),
)


def check(key: str, value: str) -> None:
    """Raises `UnknownExtraSpec` or `InvalidExtraSpec`."""
    if _KEPT.match(key) is None:
        return
    for names, values in _KNOWN:
        if re.fullmatch(names, key):
            if re.fullmatch(values, value) is None:
                raise InvalidExtraSpec(key=key, value=value)
            return
    raise UnknownExtraSpec(key=key)
