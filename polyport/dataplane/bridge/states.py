"""Where the kernel tracks connections, and the zones it tells networks apart by.

Native tracking on bridges is asked of the kernel at start, by a rule that needs it. Where it has none, bridged packets
are passed to its inet hooks instead, which br_netfilter does; it is switched on in this network namespace only.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from polyport.dataplane import DataplaneError
from polyport.dataplane.bridge.groups import BY_MARK, NATIVE, STATES, Backend, states_of
from polyport.dataplane.bridge.members import Member
from polyport.dataplane.bridge.nft import Nft, NftError

_SYSCTLS = Path("/proc/sys/net/bridge")
_MOST_ZONE = 65535


class StateUnknown(DataplaneError):
    """This kernel tracks no connections of bridged packets, which security groups need: neither in nftables' bridge
    family (the module nf_conntrack_bridge) nor by br_netfilter."""


class NoZoneLeft(DataplaneError):
    """All {most} connection tracking zones are in use: the host has too many networks."""


def backend_of(nft: Nft, wanted: str) -> Backend:
    """How states are told on this kernel. Raises `StateUnknown`."""
    if wanted != "inet" and _is_native(nft):
        return NATIVE
    if wanted != "bridge" and (_SYSCTLS / "bridge-nf-call-iptables").exists():
        return BY_MARK
    raise StateUnknown


def _is_native(nft: Nft) -> bool:
    probe = f"{STATES}_probe"
    text = f"""
        add table bridge {probe}
        add chain bridge {probe} forward {{ type filter hook forward priority 0; }}
        add chain bridge {probe} prerouting {{ type filter hook prerouting priority -290; }}
        add rule bridge {probe} prerouting ct zone set 1
        add rule bridge {probe} forward ct state established
    """
    try:
        nft.run(text)
    except NftError:
        return False
    nft.run(f"delete table bridge {probe}")
    return True


class Zones:
    """The zone of each bridge, and the table that sends packets there. Zones outlive agents, with their connections."""

    def __init__(self, nft: Nft, backend: Backend) -> None:
        self._nft = nft
        self._backend = backend
        self._text = states_of(backend)
        self._label = "states_" + hashlib.sha256(self._text.encode()).hexdigest()[:16]
        self._map = f"{backend.family} {STATES} zones"
        self._held: dict[str, int] = {}
        """Port or bridge, as the backend has it -> zone, as the kernel holds it."""
        self._of_bridge: dict[str, int] = {}

    def open(self) -> None:
        """Load the table where it is missing or another one than ours, and have packets passed to it."""
        self.repair()
        for name in ("iptables", "ip6tables", "arptables"):
            wanted = "1" if self._backend is BY_MARK and name != "arptables" else "0"
            # Absent where the kernel has no br_netfilter; then it is not needed.
            with suppress(FileNotFoundError):
                (_SYSCTLS / f"bridge-nf-call-{name}").write_text(wanted)

    def repair(self) -> None:
        """Bring the kernel back to what is wanted, where somebody else has changed it."""
        wanted = dict(self._held)
        known = self._read()
        if known is None or known != wanted:
            elements = wanted or known or {}
            fresh = "".join(
                f"add table {family} {STATES}\ndelete table {family} {STATES}\n" for family in ("inet", "bridge")
            )
            label = f"add chain {self._backend.family} {STATES} {self._label}\n"
            if known is None or wanted:
                self._nft.run(fresh + self._text + label + self._added(elements))
            self._held = elements

    def of(self, bridge: str) -> int | None:
        return self._of_bridge.get(bridge)

    def take(self, member: Member) -> tuple[str, int]:
        """The zone a port's packets belong to, which is its bridge's, under the name the kernel shall have it by."""
        name = member.tap if self._backend.by_port else member.bridge
        zone = self._of_bridge.get(member.bridge, self._held.get(name, 0))
        if not zone:
            used = {*self._of_bridge.values(), *self._held.values()}
            zone = next((number for number in range(1, _MOST_ZONE) if number not in used), 0)
            if not zone:
                raise NoZoneLeft(most=_MOST_ZONE - 1)
        self._of_bridge[member.bridge] = zone
        return name, zone

    def forget(self, bridge: str) -> int | None:
        """Give back the zone of a bridge that has no port any more."""
        return self._of_bridge.pop(bridge, None)

    def text(self, wanted: dict[str, int], unwanted: set[str]) -> str:
        """The change of the table by which these are in their zones, and those in none."""
        changed = {name: zone for name, zone in wanted.items() if self._held.get(name) != zone}
        gone = {name: zone for name, zone in self._held.items() if name in changed or name in unwanted - wanted.keys()}
        lines = "".join(f'delete element {self._map} {{ "{name}" }}\n' for name in gone)
        return lines + self._added(changed)

    def loaded(self, wanted: dict[str, int], unwanted: set[str]) -> None:
        """That change was made."""
        for name in unwanted:
            self._held.pop(name, None)
        self._held |= wanted

    def names(self) -> set[str]:
        """What has a zone in the kernel."""
        return set(self._held)

    def _added(self, elements: dict[str, int]) -> str:
        pairs = ", ".join(f'"{name}" : {zone}' for name, zone in elements.items())
        return f"add element {self._map} {{ {pairs} }}\n" if pairs else ""

    def _read(self) -> dict[str, int] | None:
        """What the kernel holds; None where the table is not ours."""
        chains = [entry.get("chain", {}) for entry in self._nft.read(f"list chains {self._backend.family}")]
        if not any(chain.get("table") == STATES and chain["name"] == self._label for chain in chains):
            return None
        held: dict[str, int] = {}
        for entry in self._nft.read(f"list map {self._map}"):
            held |= {name: int(zone) for name, zone in entry.get("map", {}).get("elem", ())}
        return held
