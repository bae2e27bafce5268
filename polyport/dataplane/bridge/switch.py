"""The bridges, taps and rules of this host. All of it runs on the namespace's own thread, one call at a time.

    bridge of a network:   (none) --first plug--> up, listening --last unplug--> (none)
    tap of a port:         (none) --plug--> held by its descriptors --last one closed, or unplug--> (none)
    rules of a port:       (none) --plug, before the tap--> in force --unplug, sweep--> (none)

A tap may be gone while its rules are still there (its guest ended), never the other way round: a tap without rules
is on no bridge, or not heard.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address
from socket import socket
from typing import NamedTuple

from polyport.config import DataplaneConfig
from polyport.dataplane import VifPlan
from polyport.dataplane.bridge import dhcp_listener, metadata
from polyport.dataplane.bridge.drops import Drops
from polyport.dataplane.bridge.firewall import TABLE, Element, Port, wishes_of
from polyport.dataplane.bridge.grouping import Grouping
from polyport.dataplane.bridge.members import member_of
from polyport.dataplane.bridge.netlink import Links, NoSuchLink, Passed
from polyport.dataplane.bridge.network import RESPONDER_ADDRESS, responder_mac
from polyport.dataplane.bridge.ruleset import Ruleset
from polyport.ids import NetworkId, PortId, SecurityGroupId, ServerId
from polyport.names import bridge_of, tap_of
from polyport.plan import SecurityGroupPlan


class Group(NamedTuple):
    """The NICs of one server on one network: siblings."""

    server_id: ServerId
    network_id: NetworkId


class Listeners(NamedTuple):
    """The sockets of the services on one bridge."""

    packets: socket
    """Of DHCP and router solicitations."""
    metadata: socket | None


class Switch:
    """Its calls raise `DataplaneError`."""

    def __init__(
        self,
        config: DataplaneConfig,
        serve: Callable[[str, Listeners, str], None],
        stop: Callable[[str], None],
    ) -> None:
        """`serve(bridge, listeners, MAC)` and `stop(bridge)` are told whose guests are to be answered."""
        self._config = config
        self._with_metadata = False
        self._serve = serve
        self._stop = stop
        self._ports: dict[PortId, Port] = {}
        self._groups: dict[Group, set[Port]] = {}
        self._taps: dict[str, set[str]] = {}
        """Bridge -> the taps that were put on it and not taken away since, whether they still exist or not."""
        self._bridges: dict[str, str] = {}
        """The other way round."""
        self._listening: dict[str, int] = {}
        """Bridge -> the number of the link that is listened on."""

    def open(self, *, with_metadata: bool = False) -> None:
        self._with_metadata = with_metadata
        with ExitStack() as undo:
            self._links = Links()
            undo.callback(self._links.close)
            self._ruleset = Ruleset(self._config)
            undo.callback(self._ruleset.close)
            self._ruleset.open()
            self._grouping = Grouping(self._config)
            undo.callback(self._grouping.close)
            self._grouping.open()
            self.drops = Drops((TABLE, self._grouping.table))
            undo.callback(self.drops.close)
            for tap, bridge in self._links.vifs().items():
                if bridge is not None:
                    self._count_in(tap, bridge)
            undo.pop_all()

    @property
    def connection_tracking(self) -> str:
        """Where the kernel tracks connections: `bridge` or `inet`."""
        return self._grouping.backend

    def close(self) -> None:
        self.drops.close()
        self._grouping.close()
        self._ruleset.close()
        self._links.close()

    def found(self) -> dict[str, str | None]:
        """Every tap that exists, and its bridge."""
        return self._links.vifs()

    def plug(self, ports: Sequence[Port]) -> tuple[int, ...]:
        """Make vifs, in place of what was left of earlier ones, all of them or none; open descriptors of their taps.

        A change of rules costs much the same for one port as for many, so those of all are one change.
        """
        port_ids = [port.vif.nic.port_id for port in ports]
        descriptors = []
        self.drops.forget([tap_of(port_id) for port_id in port_ids if port_id in self._ports])
        with ExitStack() as undo:
            # Rules come first, so that a tap is never on a bridge without them.
            undo.callback(self.unplug, port_ids)
            self._write(ports)
            self._links.delete(*map(tap_of, port_ids))
            for port in ports:
                vif = port.vif
                tap = tap_of(vif.nic.port_id)
                self._join(vif)
                descriptors.append(self._links.create_tap(tap))
                undo.callback(os.close, descriptors[-1])
                self._links.attach(tap, bridge_of(vif.network.id), vif.network.mtu, up=port.up)
            undo.pop_all()
        return tuple(descriptors)

    def ensure_groups(self, groups: Iterable[SecurityGroupPlan]) -> dict[SecurityGroupId, str]:
        return self._grouping.ensure(groups)

    def guard(self, ports: Iterable[Port]) -> list[Port]:
        """Bring the rules of those vifs that exist to their plan, all in one transaction; the vifs that exist."""
        there = [port for port in ports if self._links.index(tap_of(port.vif.nic.port_id)) is not None]
        self._write(there)
        return there

    def connect(self, ports: Iterable[Port]) -> None:
        """Bring the links of vifs that `guard` found to their plan. A tap that has gone meanwhile is no error."""
        for port in ports:
            vif = port.vif
            tap = tap_of(vif.nic.port_id)
            with suppress(NoSuchLink):
                self._join(vif)
                self._links.attach(tap, bridge_of(vif.network.id), vif.network.mtu, up=port.up)

    def unplug(self, port_ids: Iterable[PortId]) -> None:
        """Remove vifs, and the bridges whose last they were; what is not there is no error."""
        port_ids = list(port_ids)
        taps = set(map(tap_of, port_ids))
        bridges = {self._bridges[tap] for tap in taps if tap in self._bridges}
        empty = [bridge for bridge in bridges if self._taps[bridge] <= taps]
        for bridge in empty:
            self._silence(bridge)
        self._links.delete(*taps, *empty)
        self._write(drop=port_ids)
        self.drops.forget(taps)
        for tap in taps:
            self._count_out(tap)

    def sweep(self, keep: Mapping[PortId, NetworkId]) -> tuple[str, ...]:
        """Remove what belongs to no port of `keep`, and put right what is amiss with the rules; the names removed."""
        taps = {tap_of(port_id) for port_id in keep}
        bridges = {bridge_of(network_id) for network_id in keep.values()}
        found_taps, found_bridges = self._links.ours()
        doomed = [*(found_taps.keys() - taps), *(found_bridges - bridges)]
        self._links.delete(*doomed)
        self._write(drop=[port_id for port_id in self._ports if port_id not in keep])
        for tap in self._bridges.keys() - taps:
            self._count_out(tap)
        for bridge in [name for name in self._listening if name in doomed]:
            self._silence(bridge)
        self._ruleset.settle(taps)
        self._grouping.settle(taps)
        self.drops.keep(found_taps.keys() & taps)
        return tuple(sorted(doomed))

    def passed(self, port_id: PortId) -> Passed | None:
        return self._links.passed(tap_of(port_id))

    def _write(self, put: Iterable[Port] = (), drop: Iterable[PortId] = ()) -> None:
        """Change the rules of these ports and of their siblings: all of it or nothing."""
        coming = {port.vif.nic.port_id: port for port in put}
        named = [*drop, *coming]
        going = {port_id: self._ports[port_id] for port_id in named if port_id in self._ports}
        leaving, entering = _by_group(going.values()), _by_group(coming.values())
        old: Counter[Element] = Counter()
        new: Counter[Element] = Counter()
        after: dict[Group, set[Port]] = {}
        for group in leaving.keys() | entering.keys():
            before = self._groups.get(group, set())
            after[group] = (before - leaving[group]) | entering[group]
            old.update(wishes_of(before, leaving[group]))
            new.update(wishes_of(after[group], entering[group]))
        # A port is heard by the rules of `_ruleset`, so its groups come before them.
        self._grouping.put([member_of(port.vif) for port in coming.values()], named)
        try:
            self._ruleset.put(new, old, [tap_of(port_id) for port_id in named])
        except BaseException:
            self._grouping.put([member_of(port.vif) for port in going.values()], named)
            raise
        for port_id in going:
            del self._ports[port_id]
        self._ports |= coming
        self._groups |= after
        for group in after:
            if not after[group]:
                del self._groups[group]

    def _join(self, vif: VifPlan) -> None:
        """Have the bridge of a vif, with a DHCP server, and count the vif in."""
        tap, bridge, mac = tap_of(vif.nic.port_id), bridge_of(vif.network.id), responder_mac(vif.network.id)
        self._count_in(tap, bridge)
        index = self._links.ensure_bridge(bridge, mac, vif.network.mtu)
        if self._listening.get(bridge) != index:
            self._links.ensure_address(bridge, IPv4Address(RESPONDER_ADDRESS).packed)
            self._serve(bridge, _listeners(bridge, with_metadata=self._with_metadata), mac)
            self._listening[bridge] = index

    def _count_in(self, tap: str, bridge: str) -> None:
        self._count_out(tap)
        self._bridges[tap] = bridge
        self._taps.setdefault(bridge, set()).add(tap)

    def _count_out(self, tap: str) -> None:
        if (bridge := self._bridges.pop(tap, None)) is not None:
            self._taps[bridge].discard(tap)
            if not self._taps[bridge]:
                del self._taps[bridge]

    def _silence(self, bridge: str) -> None:
        if self._listening.pop(bridge, None) is not None:
            self._stop(bridge)


def _listeners(bridge: str, *, with_metadata: bool) -> Listeners:
    with ExitStack() as undo:
        packets = undo.enter_context(dhcp_listener.listen(bridge))
        listeners = Listeners(packets=packets, metadata=metadata.listen(bridge) if with_metadata else None)
        undo.pop_all()
    return listeners


def _by_group(ports: Iterable[Port]) -> defaultdict[Group, set[Port]]:
    groups: defaultdict[Group, set[Port]] = defaultdict(set)
    for port in ports:
        groups[Group(port.vif.server_id, port.vif.network.id)].add(port)
    return groups
