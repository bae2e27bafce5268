"""What the bridge dataplane's rules need of the kernel, asked of the kernel: small tables, loaded into a network
namespace that has no name and is gone with the thread that asked. Nothing of the host is touched. Needs root."""

import ctypes
import os
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from polyport.config import DataplaneConfig
from polyport.dataplane import DataplaneError
from polyport.dataplane.bridge import nflog
from polyport.dataplane.bridge.firewall import PROBE_GROUP, base_of
from polyport.dataplane.bridge.nft import Nft
from polyport.dataplane.bridge.states import backend_of

_CLONE_NEWNET = 0x40000000
_TABLE = "bridge polyport_check"
_CHAIN = f"add chain {_TABLE} c {{ type filter hook prerouting priority 0; }}"


class Need(NamedTuple):
    name: str
    complaint: str | None
    """What to do about it, and the kernel's words; None where the kernel has it."""


class Part(NamedTuple):
    """Rules that need something."""

    name: str
    option: str
    """What to switch on in a kernel that refuses them."""
    rules: tuple[str, ...]


PARTS = (
    Part("nftables on bridges", "CONFIG_NF_TABLES_BRIDGE", ()),
    Part("limits", "CONFIG_NFT_LIMIT", ("limit rate 1/second",)),
    Part("counts of what is dropped", "Linux 5.4 or later", ("update @s { iifname . meta mark counter }",)),
    Part(
        "frames logged to a group (probes of the storm guard)",
        "CONFIG_NETFILTER_NETLINK_LOG and CONFIG_NFT_LOG",
        (f"log group {PROBE_GROUP} snaplen 64",),
    ),
)


def needs(parts: Iterable[Part] = PARTS) -> list[Need]:
    """What the rules need: these parts, and what is asked for in other ways."""
    found: list[Need] = []
    thread = threading.Thread(target=lambda: found.extend(_ask(parts)))
    thread.start()
    thread.join()
    return found


def _ask(parts: Iterable[Part]) -> Iterator[Need]:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        yield Need("a network namespace", f"it cannot be made: {os.strerror(ctypes.get_errno())}")
        return
    nft = Nft()
    try:
        for name, option, rules in parts:
            lines = [f"add table {_TABLE}", f"add set {_TABLE} s {{ type ifname . mark; flags dynamic; }}", _CHAIN]
            yield _need(name, option, nft, [*lines, *(f"add rule {_TABLE} c {rule}" for rule in rules)])
        yield _log()
        yield _states(nft)
        yield _need("all rules together", "nftables 1.0.6 or later", nft, [base_of(DataplaneConfig())])
    finally:
        nft.close()


def _need(name: str, option: str, nft: Nft, lines: list[str]) -> Need:
    try:
        nft.run("\n".join([*lines, "flush ruleset\n"]))
    except DataplaneError as error:
        return Need(name, f"{option}; {_first_line(error)}")
    return Need(name, None)


def _log() -> Need:
    name = "frames read from a group (probes of the storm guard)"
    try:
        nflog.listen(PROBE_GROUP, 64).close()
    except DataplaneError as error:
        return Need(name, f"CONFIG_NETFILTER_NETLINK_LOG; {_first_line(error)}")
    return Need(name, None)


def _states(nft: Nft) -> Need:
    name = "states of connections (security groups)"
    try:
        backend = backend_of(nft, DataplaneConfig().connection_tracking)
    except DataplaneError as error:
        return Need(name, f"CONFIG_NF_CONNTRACK_BRIDGE or CONFIG_BRIDGE_NETFILTER; {_first_line(error)}")
    return Need(f"{name}, by way of the family {backend.name}", None)


def _first_line(error: DataplaneError) -> str:
    return str(error).partition("\n")[0]
