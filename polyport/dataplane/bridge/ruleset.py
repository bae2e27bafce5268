"""What nftables holds of our table, and the way from there to what it should hold.

The rules of the last agent keep working when a new one starts: `open` reads the elements back, and they are
**stale** until a plan speaks of their tap (`put`) or a sweep says that nobody will (`settle`). Each change is the
difference between what the kernel holds and what is wanted, in one transaction: what stays is never touched.

An element may be wanted for several reasons (two servers that share a virtual MAC), so wishes are counted.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Any

from polyport.config import DataplaneConfig
from polyport.dataplane.bridge import firewall
from polyport.dataplane.bridge.firewall import MAPS, SETS, TABLE, Element, tap_in
from polyport.dataplane.bridge.nft import Nft, NftError

log = logging.getLogger(__name__)


class Ruleset:
    """Our table in the network namespace of the current thread. Its calls raise `NftError`."""

    def __init__(self, config: DataplaneConfig) -> None:
        self._nft = Nft()
        self._base = firewall.base_of(config)
        self._label = firewall.label_of(config)
        self._held: set[Element] = set()
        self._wishes: Counter[Element] = Counter()
        self._stale: dict[str | None, set[Element]] = {}
        self._generation = -1
        """Of the kernel's rules, when they were what we think; -1 for none."""

    def open(self) -> None:
        """Load the table where it is missing or another release's. Its elements stay in force."""
        self._read()
        for element in self._held:
            self._stale.setdefault(tap_in(element), set()).add(element)

    def close(self) -> None:
        self._nft.close()

    def put(self, new: Counter[Element], old: Counter[Element], taps: Iterable[str] = ()) -> None:
        """Take back wishes and make others, all of them or none.

        `taps` names those about which nothing stale is to remain, besides the ones the wishes are about.
        """
        shift = Counter(new)
        shift.subtract(old)
        spoken_of = {*taps, *(tap_in(element) for element in shift)} - {None}
        stale = {element for tap in spoken_of for element in self._stale.get(tap, ())}

        def load() -> None:
            self._load(
                {element for element, by in shift.items() if by > 0} - self._held,
                {element for element in stale | shift.keys() if self._wishes[element] + shift[element] <= 0}
                & self._held,
            )

        try:
            load()
        except NftError:
            # Either the change is bad, or the kernel holds something else than we think. The second can be mended.
            if not self.repair():
                raise
            load()
        for element, by in shift.items():
            self._wishes[element] += by
            if self._wishes[element] <= 0:
                del self._wishes[element]
            elif None in self._stale:
                self._stale[None].discard(element)
        for tap in spoken_of:
            self._stale.pop(tap, None)

    def repair(self) -> bool:
        """Bring the kernel back to what is wanted, where somebody else has changed it; whether anything was."""
        changed = False
        if self._nft.generation() != self._generation:
            thought = self._held
            self._read()
            changed = thought != self._held
        stale = {element for some in self._stale.values() for element in some}
        self._load(self._wishes.keys() - self._held, self._held - self._wishes.keys() - stale)
        if changed:
            log.warning("somebody else changed our rules: put right", extra={"action": "repair"})
        return changed

    def settle(self, taps: Collection[str]) -> None:
        """Remove what is stale, except about these taps; then repair."""
        for tap in [tap for tap in self._stale if tap is not None and tap not in taps]:
            del self._stale[tap]
        if self._stale.keys() <= {None}:
            self._stale.clear()
        self.repair()

    def _load(self, added: set[Element], removed: set[Element]) -> None:
        if text := firewall.change(added, removed):
            self._nft.run(text)
            # Where the number has grown by more, somebody else has made a change too, and we do not know which.
            self._generation = self._generation + 1 if self._nft.generation() == self._generation + 1 else -1
            self._held -= removed
            self._held |= added

    def _read(self) -> None:
        """Learn what the kernel holds, and load the table where it is missing or another one than ours."""
        self._generation = self._nft.generation()
        held = read_elements(self._nft)
        chains = [entry.get("chain", {}) for entry in self._nft.read("list chains bridge")]
        if not any(f"bridge {chain.get('table')}" == TABLE and chain["name"] == self._label for chain in chains):
            # One transaction: the old table serves until the new one does.
            fresh = f"add table {TABLE}\ndelete table {TABLE}\n{self._base}"
            try:
                self._nft.run(fresh + firewall.change(held))
            except NftError as error:
                log.warning("elements of another release are dropped: %s", error, extra={"action": "load"})
                held = set()
                self._nft.run(fresh)
            self._generation += 1
        self._held = held


def read_elements(nft: Nft) -> set[Element]:
    """The elements that ports have in the table now, as `firewall` writes them; none where there is no table."""
    held: set[Element] = set()
    with suppress(NftError):
        # Set by set, because the table has others, which packets fill and which may be long.
        for kind, names in (("set", SETS), ("map", MAPS)):
            for name in names:
                for entry in nft.read(f"list {kind} {TABLE} {name}"):
                    held |= {Element(name, _text(each)) for each in entry.get(kind, {}).get("elem", ())}
    return held


def _text(entry: Any) -> str:
    """An element of nft's JSON, as `firewall` writes it."""
    match entry:
        case [key, value]:
            return f"{_text(key)} : {_text(value)}"
        case {"concat": parts}:
            return " . ".join(_text(part) for part in parts)
        case {"prefix": {"addr": address, "len": length}}:
            return f"{_text(address)}/{length}"
        case {"range": [first, last]}:
            return f"{_text(first)}-{_text(last)}"
        case str() if entry.startswith("tap"):
            return f'"{entry}"'
        case str() if entry.startswith("0x"):
            return hex(int(entry, 16))
        case int():
            return hex(entry)
        case str() if ":" in entry and not firewall.MAC.fullmatch(entry):
            return str(IPv6Address(entry))
        case _:
            return str(entry)
