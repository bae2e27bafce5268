"""A dataplane without a network: the same promises, kept in memory.

For tests of everything above it, and for load without guests. `FakeNetworks` is what would be the host's: hand the
same one to a second `FakeDataplane`, and it finds what the first left, as after a restart of the agent.
"""

import inspect
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

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

    def quarantine(self, *port_ids: PortId) -> None:
        """Have exactly these ports quarantined, as if their guests had joined them with others."""
        self.quarantined = frozenset(port_ids)
        if self.tell is not None:
            self.tell(self.quarantined)

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
        descriptor = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.networks.counters[tap_of(vif.nic.port_id)] = _NOTHING
        self._put(vif)
        return descriptor

    async def ensure(self, vifs: Iterable[VifPlan]) -> None:
        await self._hook("ensure")
        for vif in vifs:
            if tap_of(vif.nic.port_id) in self.networks.taps:
                self._put(vif)

    async def plug_all(self, vifs: Sequence[VifPlan]) -> tuple[int, ...]:
        await self._hook("plug_all")
        descriptors = tuple(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC) for _ in vifs)
        for vif in vifs:
            self._put(vif)
        return descriptors

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

    def ask(self, port_id: PortId, path: str) -> Answer | None:
        """What the metadata service tells a guest that asks by this port."""
        vif = self.networks.plans.get(tap_of(port_id))
        return None if vif is None or self._metadata is None else self._metadata(vif.server_id, port_id, path)

    async def _hook(self, name: str) -> None:
        if self._before is not None:
            outcome = self._before(name)
            if inspect.isawaitable(outcome):
                await outcome

    def _put(self, vif: VifPlan) -> None:
        tap = tap_of(vif.nic.port_id)
        self.networks.taps[tap] = bridge_of(vif.network.id)
        self.networks.plans[tap] = vif

    def _drop(self, tap: str) -> None:
        self.networks.taps.pop(tap, None)
        self.networks.plans.pop(tap, None)
        self.networks.counters.pop(tap, None)
