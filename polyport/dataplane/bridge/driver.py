"""The bridge dataplane: the protocol's calls, on the event loop."""

import asyncio
import os
import platform
import socket
from collections.abc import Callable, Iterable, Mapping

from polyport.config import DataplaneConfig
from polyport.dataplane import DataplaneError, DataplaneFacts, FoundVif, VifCounters, VifPlan
from polyport.dataplane.bridge.dhcp import Dhcp, Lease, lease_of
from polyport.dataplane.bridge.firewall import BadVif, Port
from polyport.dataplane.bridge.guard import Guard
from polyport.dataplane.bridge.namespace import NamespaceThread
from polyport.dataplane.bridge.switch import Switch
from polyport.ids import NetworkId, PortId
from polyport.names import BRIDGE_PREFIX, TAP_PREFIX, bridge_of
from polyport.plan import SecurityGroupPlan

_CHUNK = 32
"""Links brought to their plan before another call gets its turn on the thread."""


class BridgeDataplane:
    """A `Dataplane` of Linux bridges in the network namespace `config.namespace`. Needs root (CAP_SYS_ADMIN)."""

    def __init__(self, config: DataplaneConfig) -> None:
        self._thread = NamespaceThread(config.namespace)
        self._dhcp = Dhcp()
        self._switch = Switch(config, self._serve, self._stop)
        self._guard = Guard(self._thread)

    async def open(self, quarantined: Callable[[frozenset[PortId]], None] | None = None) -> DataplaneFacts:
        self._loop = asyncio.get_running_loop()
        try:
            await self._thread.open()
            await self._thread.run(self._switch.open)
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

    async def ensure_groups(self, groups: Iterable[SecurityGroupPlan]) -> None:
        await self._thread.run(self._switch.ensure_groups, list(groups))

    async def plug(self, vif: VifPlan) -> int:
        port, lease = _checked(vif)
        port_id = vif.nic.port_id

        def undo(descriptor: int) -> None:
            os.close(descriptor)
            self._switch.unplug(port_id)

        self._dhcp.withdraw(port_id)
        descriptor = await self._thread.run_or_undo(undo, self._switch.plug, port)
        self._answer(vif, lease)
        self._guard.watch(port)
        return descriptor

    async def ensure(self, vifs: Iterable[VifPlan]) -> None:
        """One that cannot be carried out does not stop the others; the first such error is raised in the end."""
        leases: dict[PortId, Lease | None] = {}
        good: list[Port] = []
        bad: list[DataplaneError] = []
        for vif in vifs:
            try:
                port, leases[vif.nic.port_id] = _checked(vif)
                good.append(port)
            except DataplaneError as error:
                bad.append(error)
        there = await self._thread.run(self._switch.guard, good)
        for port in there:
            self._answer(port.vif, leases[port.vif.nic.port_id])
            self._guard.watch(port)
        for start in range(0, len(there), _CHUNK):
            try:
                await self._thread.run(self._switch.connect, there[start : start + _CHUNK])
            except DataplaneError as error:
                bad.append(error)
        if bad:
            raise bad[0]

    async def unplug(self, port_id: PortId) -> None:
        self._dhcp.withdraw(port_id)
        self._guard.forget(port_id)
        await self._thread.run(self._switch.unplug, port_id)

    async def sweep(self, keep: Mapping[PortId, NetworkId]) -> tuple[str, ...]:
        self._dhcp.keep(keep)
        self._guard.keep(keep)
        return await self._thread.run(self._switch.sweep, keep)

    async def counters(self, port_id: PortId) -> VifCounters | None:
        return await self._thread.run(self._switch.counters, port_id)

    def _answer(self, vif: VifPlan, lease: Lease | None) -> None:
        if lease is None:
            self._dhcp.withdraw(vif.nic.port_id)
        else:
            self._dhcp.offer(bridge_of(vif.network.id), lease)

    def _serve(self, bridge: str, listener: socket.socket, mac: str) -> None:
        """From the thread: answer DHCP on a bridge."""
        self._loop.call_soon_threadsafe(self._dhcp.serve, bridge, listener, bytes.fromhex(mac.replace(":", "")))

    def _stop(self, bridge: str) -> None:
        self._loop.call_soon_threadsafe(self._dhcp.stop, bridge)


def _checked(vif: VifPlan) -> tuple[Port, Lease | None]:
    """The port, and what DHCP tells it. Raises `BadVif` where the plan cannot be carried out."""
    port = Port(vif)
    try:
        return port, lease_of(vif)
    except ValueError as error:
        raise BadVif(port_id=vif.nic.port_id, reason=str(error)) from error
