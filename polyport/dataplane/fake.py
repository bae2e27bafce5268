"""A dataplane without a network: the same promises, kept in memory.

For tests of everything above it, and for load without guests. `FakeNetworks` is what would be the host's: hand the
same one to a second `FakeDataplane`, and it finds what the first left, as after a restart of the agent.
"""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from polyport.capture import Direction, Frame
from polyport.config import DataplaneConfig
from polyport.dataplane import EGRESS_CAUSES, INGRESS_CAUSES, Answer, DataplaneFacts, FoundVif, Metadata, VifPlan
from polyport.ids import NetworkId, PortId, SecurityGroupId
from polyport.names import BRIDGE_PREFIX, TAP_PREFIX, bridge_of, tap_of
from polyport.plan import PortCounters, SecurityGroupPlan, Traffic

_NOTHING = PortCounters(
    ingress=Traffic(packets=0, bytes=0, dropped=dict.fromkeys(INGRESS_CAUSES, 0)),
    egress=Traffic(packets=0, bytes=0, dropped=dict.fromkeys(EGRESS_CAUSES, 0)),
)


class FakeNetworks:
    """Bridges and taps that are not there. Unlike real taps these stay without anybody holding a descriptor."""

    def __init__(self) -> None:
        self.taps: dict[str, str] = {}
        """Tap -> its bridge."""
        self.plans: dict[str, VifPlan] = {}
        """Tap -> the plan it was last brought to."""

        self.counters: dict[str, PortCounters] = {}
        """Tap -> what went through it."""
        self.groups: dict[SecurityGroupId, SecurityGroupPlan] = {}
        self.refused: set[SecurityGroupId] = set()
        """Groups that stay as they are, whatever is planned."""
        self.quarantined: frozenset[PortId] = frozenset()
        self.tell: Callable[[frozenset[PortId]], None] | None = None
        """Who is to be told of them."""
        self.captures: dict[str, list[FakeCapture]] = {}
        """Tap -> those that look at it now."""

    def quarantine(self, *port_ids: PortId) -> None:
        """Have exactly these ports quarantined, as if their guests had joined them with others."""
        self.quarantined = frozenset(port_ids)
        if self.tell is not None:
            self.tell(self.quarantined)

    def carry(self, port_id: PortId, data: bytes, direction: Direction = "egress") -> None:
        """Have a frame pass a port's tap: from the guest, or to it."""
        for capture in self.captures.get(tap_of(port_id), ()):
            capture.see(data, direction)

    def end_captures(self, tap: str) -> None:
        for capture in self.captures.pop(tap, ()):
            capture.end()

    @property
    def bridges(self) -> set[str]:
        return set(self.taps.values())


class FakeDataplane:
    """A `Dataplane`. `before(name)` comes first in every call of that name; what it raises, the call raises."""

    def __init__(
        self,
        config: DataplaneConfig | None = None,
        *,
        before: Callable[[str], Awaitable[None] | None] | None = None,
        networks: FakeNetworks | None = None,
    ) -> None:
        self._config = config or DataplaneConfig(driver="fake")
        self._before = before
        self.networks = networks if networks is not None else FakeNetworks()
        self._metadata: Metadata | None = None

    async def open(
        self,
        *,
        quarantined: Callable[[frozenset[PortId]], None] | None = None,
        metadata: Metadata | None = None,
    ) -> DataplaneFacts:
        await self._hook("open")
        self._metadata = metadata
        self.networks.tell = quarantined
        if quarantined is not None and self.networks.quarantined:
            quarantined(self.networks.quarantined)
        return DataplaneFacts(name="fake", version="1")

    async def close(self) -> None:
        await self._hook("close")

    async def found(self) -> tuple[FoundVif, ...]:
        await self._hook("found")
        return tuple(
            FoundVif(
                port_id_prefix=tap.removeprefix(TAP_PREFIX),
                tap=tap,
                network_id_prefix=bridge.removeprefix(BRIDGE_PREFIX),
            )
            for tap, bridge in self.networks.taps.items()
        )

    async def ensure_groups(self, groups: Iterable[SecurityGroupPlan]) -> Mapping[SecurityGroupId, str]:
        await self._hook("ensure_groups")
        told = {group.id: group for group in groups}
        refused = self.networks.refused & told.keys()
        self.networks.groups |= {group_id: group for group_id, group in told.items() if group_id not in refused}
        return dict.fromkeys(refused, "It was told to refuse this group.")

    async def plug(self, vif: VifPlan) -> int:
        await self._hook("plug")
        return self._plug(vif)

    async def ensure(self, vifs: Iterable[VifPlan]) -> None:
        await self._hook("ensure")
        for vif in vifs:
            if tap_of(vif.nic.port_id) in self.networks.taps:
                self._put(vif)

    async def plug_all(self, vifs: Sequence[VifPlan]) -> tuple[int, ...]:
        await self._hook("plug_all")
        return tuple(self._plug(vif) for vif in vifs)

    async def unplug(self, *port_ids: PortId) -> None:
        await self._hook("unplug")
        for port_id in port_ids:
            self._drop(tap_of(port_id))

    async def sweep(self, keep: Mapping[PortId, NetworkId]) -> tuple[str, ...]:
        await self._hook("sweep")
        taps = {tap_of(port_id) for port_id in keep}
        before = self.networks.bridges
        doomed = self.networks.taps.keys() - taps
        for tap in doomed:
            self._drop(tap)
        return tuple(sorted(doomed | (before - self.networks.bridges)))

    async def counters(self, port_id: PortId) -> PortCounters | None:
        await self._hook("counters")
        return self.networks.counters.get(tap_of(port_id))

    async def capture(self, port_id: PortId, snaplen: int) -> "FakeCapture | None":
        await self._hook("capture")
        tap = tap_of(port_id)
        if tap not in self.networks.taps:
            return None
        capture = FakeCapture(self.networks, tap, snaplen)
        self.networks.captures.setdefault(tap, []).append(capture)
        return capture

    def ask(self, port_id: PortId, path: str) -> Answer | None:
        """What the metadata service tells a guest that asks by this port."""
        vif = self.networks.plans.get(tap_of(port_id))
        return None if vif is None or self._metadata is None else self._metadata(vif.server_id, port_id, path)

    async def _hook(self, name: str) -> None:
        if self._before is not None:
            outcome = self._before(name)
            if inspect.isawaitable(outcome):
                await outcome

    def _plug(self, vif: VifPlan) -> int:
        descriptor = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.networks.counters[tap_of(vif.nic.port_id)] = _NOTHING
        self.networks.end_captures(tap_of(vif.nic.port_id))
        self._put(vif)
        return descriptor

    def _put(self, vif: VifPlan) -> None:
        tap = tap_of(vif.nic.port_id)
        self.networks.taps[tap] = bridge_of(vif.network.id)
        self.networks.plans[tap] = vif

    def _drop(self, tap: str) -> None:
        self.networks.taps.pop(tap, None)
        self.networks.plans.pop(tap, None)
        self.networks.counters.pop(tap, None)
        self.networks.end_captures(tap)


class FakeCapture:
    """A `Capture` of the frames that tests let pass."""

    def __init__(self, networks: FakeNetworks, tap: str, snaplen: int) -> None:
        self._networks = networks
        self._tap = tap
        self._snaplen = snaplen
        self._frames: list[Frame] = []
        self._news = asyncio.Event()
        self._ended = False

    async def read(self) -> list[Frame]:
        await self._news.wait()
        frames, self._frames = self._frames, []
        if not self._ended:
            self._news.clear()
        return frames

    def lost(self) -> int:
        return 0

    def close(self) -> None:
        looking = self._networks.captures.get(self._tap, [])
        if self in looking:
            looking.remove(self)
            if not looking:
                del self._networks.captures[self._tap]

    def see(self, data: bytes, direction: Direction) -> None:
        self._frames.append(Frame(time.time_ns(), data[: self._snaplen], len(data), direction))
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()
