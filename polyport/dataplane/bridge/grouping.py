"""Security groups in force: the table of groups that nftables holds, kept to the ports and groups there are.

The rules of the last agent keep working when a new one starts. Each agent has a table of its own, and a port is in one
table at a time: in the **older** one until a plan speaks of it (`put`) or a sweep says that nobody will (`settle`). A
table without ports goes.

    group     (known) --a port is in it, or a rule names it--> made, in the kernel --settle, no one needs it--> (known)

What no longer may begin is cut: a change that takes something away is followed by a look at the connections of the
networks concerned, and those the groups would not let begin today are forgotten by the kernel.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from polyport.config import DataplaneConfig
from polyport.dataplane.bridge import groups as texts
from polyport.dataplane.bridge.connections import Connection, Connections
from polyport.dataplane.bridge.groups import TABLE_PREFIX, Network, combination, remotes_of
from polyport.dataplane.bridge.members import Elements, Member, Members
from polyport.dataplane.bridge.nft import Nft, NftError
from polyport.dataplane.bridge.states import Zones, backend_of
from polyport.ids import PortId, SecurityGroupId
from polyport.plan import SecurityGroupPlan

log = logging.getLogger(__name__)

_MAPS = {"from_port": "says", "to_port": "hears"}

_REFUSED = "The kernel of the host refused the rules; the log of the host says why."

Combination = tuple[SecurityGroupId, ...]


class _Made(NamedTuple):
    """What the kernel has of groups, besides ports."""

    framed: frozenset[SecurityGroupId] = frozenset()
    """Groups with chains and sets."""
    ruled: frozenset[SecurityGroupId] = frozenset()
    """Groups whose rules are in their chains."""
    combinations: frozenset[Combination] = frozenset()


class Grouping:
    """The groups of the network namespace of the current thread. Its calls raise `DataplaneError`."""

    def __init__(self, config: DataplaneConfig) -> None:
        self._wanted_backend = config.connection_tracking
        self._nft = Nft()
        self._connections = Connections()
        self._groups: dict[SecurityGroupId, SecurityGroupPlan] = {}
        self._members = Members()
        self._made = _Made()
        self._judged: dict[str, Combination] = {}
        """Taps in the maps of our table, and by what they are judged."""
        self._older: dict[str, dict[str, set[str]]] = {}
        """Tables of agents before -> map -> taps."""

    @property
    def backend(self) -> str:
        """Where the state of connections is found: `bridge` or `inet`."""
        return self._backend.name

    @property
    def table(self) -> str:
        """The table of this agent, as nft has it."""
        return f"bridge {self._table}"

    def open(self) -> None:
        self._backend = backend_of(self._nft, self._wanted_backend)
        self._connections.of_zone(0)
        self._zones = Zones(self._nft, self._backend)
        self._zones.open()
        tables = [entry["table"]["name"] for entry in self._nft.read("list tables bridge") if "table" in entry]
        older = [name for name in tables if name.removeprefix(TABLE_PREFIX).isdigit()]
        for name in older:
            self._older[name] = {each: set(self._elements(name, each)) for each in _MAPS}
        number = max((int(name.removeprefix(TABLE_PREFIX)) for name in older), default=0) + 1
        self._table = f"{TABLE_PREFIX}{number}"
        self._base = texts.table_of(self._backend, number)
        self._nft.run(self._base)

    def close(self) -> None:
        self._connections.close()
        self._nft.close()

    def ensure(self, groups: Iterable[SecurityGroupPlan]) -> dict[SecurityGroupId, str]:
        """Have groups as their plans say. One that cannot be had stays as it was and does not stop the others; why, in
        words for users."""
        changed = [group for group in groups if self._groups.get(group.id) != group]
        refused: dict[SecurityGroupId, str] = {}
        try:
            self._change(changed)
        except (NftError, texts.BadGroup):
            for group in changed:
                try:
                    self._change([group])
                except (NftError, texts.BadGroup) as error:
                    log.error("action=ensure_group group=%s %s", group.id, error)
                    refused[group.id] = error.message if isinstance(error, texts.BadGroup) else _REFUSED
        return refused

    def put(self, coming: Sequence[Member], going: Iterable[PortId] = ()) -> None:
        """Have these ports judged by their groups, and those by none: all of it or nothing."""
        ports = self._members.ports
        new = [member for member in coming if ports.get(member.port_id) != member]
        named = {*going} - {member.port_id for member in coming} | {member.port_id for member in new}
        old = [ports[port_id] for port_id in named if port_id in ports]
        if not new and not old:
            return
        addresses = frozenset().union(*(member.addresses for member in (*old, *new)))
        touched = {each for member in (*old, *new) for each in member.groups or ()}
        before = self._addresses(touched & self._made.framed, addresses)
        self._shift(old, new)
        try:
            zones = dict(self._zones.take(member) for member in new)
            unwanted = self._without_zone(old)
            made, text = self._lacking({member.groups for member in new if member.groups is not None})
            text += _difference(self._table, before, self._addresses(touched, addresses))
            text += self._map_changes(old, new) + self._zones.text(zones, unwanted)
            self._load(text, made)
        except BaseException:
            self._shift(new, old)
            raise
        self._zones.loaded(zones, unwanted)
        for member in old:
            self._judged.pop(member.tap, None)
        self._judged |= {member.tap: member.groups for member in new if member.groups is not None}
        self._left({member.tap for member in new})
        self._cut_after(old, new)

    def settle(self, taps: Collection[str]) -> None:
        """Let go of what no port needs, and of ports of earlier agents that are not of these taps; then repair."""
        self._left({tap for maps in self._older.values() for held in maps.values() for tap in held.difference(taps)})
        self._zones.repair()
        if not self._older:
            known = {name for member in self._members.ports.values() for name in (member.bridge, member.tap)}
            stale = self._zones.names() - known
            self._nft.run(self._zones.text({}, stale))
            self._zones.loaded({}, stale)
        if self._is_touched():
            log.warning("action=repair_groups table=%s", self._table)
            self._rebuild()
        elif not self._made.combinations <= self._members.combinations():
            self._rebuild()

    # Changes

    def _change(self, changed: Sequence[SecurityGroupPlan]) -> None:
        if not changed:
            return
        before = {group.id: self._groups[group.id] for group in changed if group.id in self._groups}
        self._groups |= {group.id: group for group in changed}
        again = [group for group in changed if self._members.of_group(group.id)]
        try:
            # All of them are looked through, also those no port needs yet.
            rules = {group.id: texts.group_rules(self._table, group) for group in changed}
            made, text = self._lacking((), [group.id for group in again])
            text += "".join(rules[group.id] for group in again)
            self._load(text, _Made(made.framed, made.ruled.union(group.id for group in again), made.combinations))
        except BaseException:
            for group in changed:
                del self._groups[group.id]
            self._groups |= before
            raise
        lost = [group.id for group in again if group.id in before and set(before[group.id].rules) - set(group.rules)]
        self._cut({member.bridge for group_id in lost for member in self._members.of_group(group_id)})

    def _shift(self, old: Sequence[Member], new: Sequence[Member]) -> None:
        for member in old:
            self._members.remove(member.port_id)
        for member in new:
            self._members.add(member)

    def _lacking(
        self, combinations: Iterable[Combination], changed: Iterable[SecurityGroupId] = ()
    ) -> tuple[_Made, str]:
        """What the kernel must have of groups so that ports can be judged by these, and the text that adds what it
        lacks."""
        fresh = set(combinations) - self._made.combinations
        used = {group_id for each in fresh for group_id in each}
        ruled = {group_id for group_id in used if group_id in self._groups} - self._made.ruled
        framed = used.union(*(remotes_of(self._groups[each]) for each in (*ruled, *changed))) - self._made.framed
        lines = [texts.group_frame(self._table, each) for each in sorted(framed)]
        lines += [texts.group_rules(self._table, self._groups[each]) for each in sorted(ruled)]
        lines += [texts.combination_chains(self._table, each) for each in sorted(fresh)]
        made = _Made(self._made.framed | framed, self._made.ruled | ruled, self._made.combinations | fresh)
        return made, "".join(lines)

    def _load(self, text: str, made: _Made) -> None:
        try:
            self._nft.run(text)
        except NftError:
            # Either the change is bad, or the kernel holds something else than we think. The second can be mended.
            if not self._is_touched():
                raise
            self._rebuild()
        else:
            self._made = made

    def _rebuild(self) -> None:
        """Load our table anew, whole, as the ports and groups are. One transaction: the old serves until then."""
        had, self._made = self._made, _Made()
        try:
            judged = {each.tap: each.groups for each in self._members.ports.values() if each.groups is not None}
            made, text = self._lacking(set(judged.values()))
            text += _difference(self._table, defaultdict(set), self._addresses(made.framed, None))
            text += "".join(_judge(self._table, "add", tap, some) for tap, some in judged.items())
            self._nft.run(f"add table bridge {self._table}\ndelete table bridge {self._table}\n{self._base}{text}")
        except BaseException:
            self._made = had
            raise
        self._made, self._judged = made, judged

    def _addresses(self, group_ids: Iterable[SecurityGroupId], among: Collection[Network] | None) -> Elements:
        found: Elements = defaultdict(set)
        for group_id in group_ids:
            for name, values in self._members.elements(group_id, among).items():
                found[name] |= values
        return found

    def _map_changes(self, old: Sequence[Member], new: Sequence[Member]) -> str:
        gone = [(member.tap, self._judged[member.tap]) for member in old if member.tap in self._judged]
        come = [(member.tap, member.groups) for member in new if member.groups is not None]
        text = "".join(_judge(self._table, "delete", tap, some) for tap, some in gone if (tap, some) not in come)
        text += "".join(_judge(self._table, "add", tap, some) for tap, some in come if (tap, some) not in gone)
        taps = {member.tap for member in new}
        for table, maps in self._older.items():
            text += "".join(_removed(table, name, held & taps) for name, held in maps.items())
        return text

    def _without_zone(self, old: Sequence[Member]) -> set[str]:
        """What needs no zone any more, of ports that are gone or elsewhere."""
        ports = self._members.ports
        names = {member.bridge for member in old if not self._members.on_bridge.get(member.bridge)}
        return names | {member.tap for member in old if member.port_id not in ports}

    def _left(self, taps: Collection[str]) -> None:
        """Ports that are in no older table any more; tables that have none go."""
        text = ""
        for table, maps in list(self._older.items()):
            for held in maps.values():
                held.difference_update(taps)
            if not any(maps.values()):
                text += f"delete table bridge {table}\n"
                del self._older[table]
        if text:
            self._nft.run(text)

    # Connections

    def _cut_after(self, old: Sequence[Member], new: Sequence[Member]) -> None:
        """Cut what ports could do before a change and can do no more."""
        after = {member.port_id: member for member in new}
        bridges: dict[str, set[Network]] = {}
        for member in old:
            now = after.get(member.port_id)
            if now is None or now.bridge != member.bridge or not _may_as_much(member, now):
                bridges.setdefault(member.bridge, set()).update(member.addresses)
        for bridge, addresses in bridges.items():
            if self._members.on_bridge.get(bridge):
                self._cut({bridge}, addresses)
            elif (zone := self._zones.forget(bridge)) is not None:
                self._forget(self._connections.of_zone(zone))

    def _cut(self, bridges: Iterable[str], addresses: Collection[Network] | None = None) -> None:
        """Cut the connections of bridges that may not begin any more; of these addresses only, where given. An
        address nobody has any more keeps none: the next to have it is somebody else."""
        for bridge in bridges:
            zone = self._zones.of(bridge)
            if zone is None:
                continue
            doomed = []
            for connection in self._connections.of_zone(zone):
                ends = [connection.source, connection.target]
                if addresses is not None:
                    ends = [end for end in ends if any(end.version == net.version and end in net for net in addresses)]
                    if not ends:
                        continue
                    if not all(self._members.at(bridge, end) for end in ends):
                        doomed.append(connection)
                        continue
                if not self._members.lets_pass(bridge, connection, self._groups):
                    doomed.append(connection)
            self._forget(doomed)

    def _forget(self, doomed: list[Connection]) -> None:
        if doomed:
            log.info("action=cut_connections count=%d", self._connections.cut(doomed))

    # What the kernel has

    def _is_touched(self) -> bool:
        """Whether somebody else has changed our table."""
        try:
            chains = [entry.get("chain", {}) for entry in self._nft.read("list chains bridge")]
            taps = {name: set(self._elements(self._table, name)) for name in _MAPS}
        except NftError:
            return True
        there = {chain["name"] for chain in chains if chain.get("table") == self._table}
        wanted = {f"{way}_{texts.digits(each)}" for way in ("in", "out") for each in self._made.framed}
        wanted |= {f"{way}_{combination(each)}" for way in _MAPS.values() for each in self._made.combinations}
        return not wanted <= there or any(held != self._judged.keys() for held in taps.values())

    def _elements(self, table: str, name: str) -> list[str]:
        """The taps in a map of a table."""
        for entry in self._nft.read(f"list map bridge {table} {name}"):
            if "map" in entry:
                return [tap for tap, _ in entry["map"].get("elem", ())]
        return []


def _may_as_much(before: Member, after: Member) -> bool:
    """Whether a port, and those that know it by its groups, may do whatever they might before."""
    if after.groups is None:
        return before.groups is None and before.addresses <= after.addresses
    if before.groups is None:
        return False
    return set(before.groups) <= set(after.groups) and before.addresses <= after.addresses


def _judge(table: str, verb: str, tap: str, groups: Combination) -> str:
    name = combination(groups)
    return "".join(
        f'{verb} element bridge {table} {map_name} {{ "{tap}" : goto {way}_{name} }}\n'
        for map_name, way in _MAPS.items()
    )


def _removed(table: str, name: str, taps: Collection[str]) -> str:
    some = ", ".join(f'"{tap}"' for tap in sorted(taps))
    return f"delete element bridge {table} {name} {{ {some} }}\n" if taps else ""


def _difference(table: str, before: Elements, after: Elements) -> str:
    """The text that leads from one state of sets to another; what is in both stays."""
    lines = []
    for verb, one, other in (("delete", before, after), ("add", after, before)):
        for name in sorted(one):
            if values := sorted(one[name] - other.get(name, set())):
                lines.append(f"{verb} element bridge {table} {name} {{ {', '.join(values)} }}\n")
    return "".join(lines)
