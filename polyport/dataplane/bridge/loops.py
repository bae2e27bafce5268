"""Which ports close a loop. Pure.

A guest that carries frames between some of its NICs is a switch more in the network. So networks and such switches
are the nodes of a graph, and the ports of the switches its edges: a port that closes a circle is one too many.

    network A ---port 1--- (guest 1) ---port 2--- network B
        |                                             |
        +-----port 3--- (guest 2) ---port 4-----------+          port 4 closes the circle

Switches are taken in the order they were first seen, ports by their slot: whoever was there first stays, so nobody
can push another's port off by joining networks that are joined already.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from polyport.ids import NetworkId, PortId, ServerId


class Place(NamedTuple):
    """Where a port is."""

    server_id: ServerId
    network_id: NetworkId
    slot: int


class Sightings:
    """Probes that came back, each remembered for `hold` seconds."""

    def __init__(self, hold: float) -> None:
        self._hold = hold
        self._first: dict[tuple[PortId, PortId], float] = {}
        self._last: dict[tuple[PortId, PortId], float] = {}

    def add(self, sent: PortId, returned: PortId, at: float, *, since: float) -> None:
        """A probe of port `sent` came back at port `returned`; `since` says how old this shall count when it is new."""
        pair = (sent, returned)
        self._first.setdefault(pair, since)
        self._last[pair] = at

    def fresh(self, now: float) -> dict[tuple[PortId, PortId], float]:
        """Pairs that were seen within the hold time, and since when."""
        for pair in [pair for pair, at in self._last.items() if now - at > self._hold]:
            del self._last[pair], self._first[pair]
        return dict(self._first)


def closing_ports(
    seen: Mapping[tuple[PortId, PortId], float], places: Mapping[PortId, Place]
) -> dict[PortId, frozenset[PortId]]:
    """The ports that close a circle, each with the other ports of its guest's switch.

    `seen`: (port that sent, port of the same server where it came back) -> since when.
    """
    known = {pair: since for pair, since in seen.items() if pair[0] in places and pair[1] in places}
    switches = _Sets()
    for one, other in known:
        switches.join(one, other)
    members: defaultdict[object, set[PortId]] = defaultdict(set)
    age: dict[object, float] = {}
    for pair, since in known.items():
        switch = switches.find(pair[0])
        members[switch].update(pair)
        age[switch] = min(since, age.get(switch, since))
    circles = _Sets()
    closing: dict[PortId, frozenset[PortId]] = {}
    for switch in sorted(members, key=lambda each: (age[each], str(each))):
        for port_id in sorted(members[switch], key=lambda each: (places[each].slot, each)):
            if not circles.join(("switch", switch), ("network", places[port_id].network_id)):
                closing[port_id] = frozenset(members[switch] - {port_id})
    return closing


def joined_networks(
    seen: Mapping[tuple[PortId, PortId], float], places: Mapping[PortId, Place]
) -> frozenset[NetworkId]:
    """The networks that some guest joins with another one: one more guest there, and there is a circle."""
    found: set[NetworkId] = set()
    for pair in seen:
        ends = {places[port_id].network_id for port_id in pair if port_id in places}
        if len(ends) > 1:
            found |= ends
    return frozenset(found)


class _Sets:
    """Disjoint sets (union-find)."""

    def __init__(self) -> None:
        self._above: dict[object, object] = {}

    def find(self, thing: object) -> object:
        path: list[object] = []
        while (above := self._above.setdefault(thing, thing)) != thing:
            path.append(thing)
            thing = above
        for below in path:
            self._above[below] = thing
        return thing

    def join(self, one: object, other: object) -> bool:
        """Make one set of two; False where they are one already."""
        first, second = self.find(one), self.find(other)
        self._above[second] = first
        return first != second
