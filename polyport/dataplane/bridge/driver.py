"""The bridge dataplane: the protocol's calls, on the event loop."""

import asyncio
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence

from polyport.config import DataplaneConfig
from polyport.dataplane import DataplaneError, DataplaneFacts, FoundVif, Metadata, VifPlan
from polyport.dataplane.bridge.capture import TapCapture, capture
from polyport.dataplane.bridge.dhcp import Dhcp, Lease, lease_of
from polyport.dataplane.bridge.drops import counters_of
from polyport.dataplane.bridge.firewall import BadVif, Port
from polyport.dataplane.bridge.guard import Guard
from polyport.dataplane.bridge.ipv6 import Ipv6, Told, told_of
from polyport.dataplane.bridge.metadata import MetadataServer
from polyport.dataplane.bridge.namespace import NamespaceThread
from polyport.dataplane.bridge.switch import Listeners, Switch
from polyport.ids import NetworkId, PortId, SecurityGroupId
from polyport.names import BRIDGE_PREFIX, TAP_PREFIX, bridge_of, tap_of
from polyport.plan import PortCounters, SecurityGroupPlan

_CHUNK = 32
"""Links brought to their plan before another call gets its turn on the thread."""


class BridgeDataplane:
    """A `Dataplane` of Linux bridges in the network namespace `config.namespace`. Needs root (CAP_SYS_ADMIN)."""

    def __init__(self, config: DataplaneConfig) -> None:
        self._thread = NamespaceThread(config.namespace)
        self._ipv6 = Ipv6()
        self._dhcp = Dhcp(self._ipv6.reply_to)
        self._metadata = MetadataServer(lambda server_id, port_id, path: None)
        self._switch = Switch(config, self._serve, self._stop)
        self._guard = Guard(self._thread)

    async def open(
        self,
        *,
        quarantined: Callable[[frozenset[PortId]], None] | None = None,
        metadata: Metadata | None = None,
    ) -> DataplaneFacts:
        self._loop = asyncio.get_running_loop()
        if metadata is not None:
            self._metadata = MetadataServer(metadata)
        try:
            await self._thread.open()
            await self._thread.run(self._switch.open, with_metadata=metadata is not None)
            try:
                await self._guard.open(quarantined or (lambda port_ids: None))
            except BaseException:
                await self._thread.run(self._switch.close)
                raise
        except BaseException:
            await self._thread.close()
            raise
        return DataplaneFacts(name="bridge", version=f"Linux {platform.release()}")

    async def close(self) -> None:
        await self._guard.close()
        await self._thread.run(self._switch.close)
        await self._thread.close()
        self._dhcp.close()
        self._ipv6.close()
        await self._metadata.close()

    async def found(self) -> tuple[FoundVif, ...]:
        taps = await self._thread.run(self._switch.found)
        return tuple(
            FoundVif(
                port_id_prefix=tap.removeprefix(TAP_PREFIX),
                tap=tap,
                network_id_prefix=None if bridge is None else bridge.removeprefix(BRIDGE_PREFIX),
            )
            for tap, bridge in taps.items()
        )

    async def ensure_groups(self, groups: Iterable[SecurityGroupPlan]) -> Mapping[SecurityGroupId, str]:
        return await self._thread.run(self._switch.ensure_groups, list(groups))

    async def plug(self, vif: VifPlan) -> int:
        (descriptor,) = await self.plug_all([vif])
        return descriptor

    async def plug_all(self, vifs: Sequence[VifPlan]) -> tuple[int, ...]:
        checked = [_checked(vif) for vif in vifs]
        ports = [port for port, _, _ in checked]
        port_ids = [vif.nic.port_id for vif in vifs]

        def undo(descriptors: tuple[int, ...]) -> None:
            for descriptor in descriptors:
                os.close(descriptor)
            self._switch.unplug(port_ids)

        for port_id in port_ids:
            self._silence(port_id)
        descriptors = await self._thread.run_or_undo(undo, self._switch.plug, ports)
        for port, lease, told in checked:
            self._answer(port.vif, lease, told)
            self._guard.watch(port)
        return descriptors

    async def ensure(self, vifs: Iterable[VifPlan]) -> None:
        """One that cannot be carried out does not stop the others; the first such error is raised in the end."""
        good: dict[Port, tuple[Lease | None, Told | None]] = {}
        bad: list[DataplaneError] = []
        for vif in vifs:
            try:
                port, lease, told = _checked(vif)
                good[port] = lease, told
            except DataplaneError as error:
                bad.append(error)
        there = await self._thread.run(self._switch.guard, good)
        for port in there:
            self._answer(port.vif, *good[port])
            self._guard.watch(port)
        for start in range(0, len(there), _CHUNK):
            try:
                await self._thread.run(self._switch.connect, there[start : start + _CHUNK])
            except DataplaneError as error:
                bad.append(error)
        if bad:
            raise bad[0]

    async def unplug(self, *port_ids: PortId) -> None:
        for port_id in port_ids:
            self._silence(port_id)
            self._guard.forget(port_id)
        await self._thread.run(self._switch.unplug, port_ids)

    async def sweep(self, keep: Mapping[PortId, NetworkId]) -> tuple[str, ...]:
        self._dhcp.keep(keep)
        self._guard.keep(keep)
        self._ipv6.keep(keep)
        self._metadata.keep(keep)
        return await self._thread.run(self._switch.sweep, keep)

    async def counters(self, port_id: PortId) -> PortCounters | None:
        passed = await self._thread.run(self._switch.passed, port_id)
        return None if passed is None else counters_of(passed, await self._switch.drops.of(tap_of(port_id)))

    async def capture(self, port_id: PortId, snaplen: int) -> TapCapture | None:
        def undo(opened: TapCapture | None) -> None:
            if opened is not None:
                opened.close()

        return await self._thread.run_or_undo(undo, capture, tap_of(port_id), snaplen)

    def _answer(self, vif: VifPlan, lease: Lease | None, told: Told | None) -> None:
        """Let a vif that exists be told what its plan says."""
        self._metadata.know(bridge_of(vif.network.id), vif.nic.port_id, vif.server_id)
        if lease is None:
            self._dhcp.withdraw(vif.nic.port_id)
        else:
            self._dhcp.offer(bridge_of(vif.network.id), lease)
        if told is None:
            self._ipv6.withdraw(vif.nic.port_id)
        else:
            self._ipv6.offer(bridge_of(vif.network.id), told)

    def _silence(self, port_id: PortId) -> None:
        """Let a port that is about to change or go be told nothing."""
        self._ipv6.withdraw(port_id)
        self._dhcp.withdraw(port_id)
        self._metadata.forget(port_id)

    def _serve(self, bridge: str, listeners: Listeners, mac: str) -> None:
        """From the thread: answer guests on a bridge."""

        def serve() -> None:
            octets = bytes.fromhex(mac.replace(":", ""))
            self._dhcp.serve(bridge, listeners.packets, octets)
            self._ipv6.serve(bridge, listeners.packets, octets)
            if listeners.metadata is not None:
                self._metadata.serve(bridge, listeners.metadata)

        self._loop.call_soon_threadsafe(serve)

    def _stop(self, bridge: str) -> None:
        def stop() -> None:
            self._ipv6.stop(bridge)
            self._dhcp.stop(bridge)
            self._metadata.stop(bridge)

        self._loop.call_soon_threadsafe(stop)


def _checked(vif: VifPlan) -> tuple[Port, Lease | None, Told | None]:
    """The port, and what it is told for IPv4 and IPv6. Raises `BadVif` where the plan cannot be carried out."""
    port = Port(vif)
    try:
        return port, lease_of(vif), told_of(vif)
    except ValueError as error:
        raise BadVif(port_id=vif.nic.port_id, reason=str(error)) from error
