"""The storm guard's probes: it looks for guests that join their NICs, and says which ports are quarantined.

    in service --probe of a lower sibling comes back (the kernel sees it)--> quarantined
         ^                                                                     |
         +------------- no probe has come back for QUARANTINE seconds ---------+

Which ports go where is decided by rules in the kernel, so that a port is off within the frame that proves the loop.
What rules cannot see are circles through several networks: for those every probe that comes back is logged, the guard
works out which port closes the circle (`loops`), and adds a rule for its probes; the rest is the same.

Without the guard (the agent is being restarted) nobody probes: quarantined ports come back after a while, and the
limits alone hold a loop down until the next guard finds it.
"""

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from msgspec import Struct

from polyport.dataplane.bridge import firewall, nflog, probe
from polyport.dataplane.bridge.firewall import PROBE_GROUP, QUARANTINE, TABLE, Element, Port
from polyport.dataplane.bridge.loops import Place, Sightings, closing_ports, joined_networks
from polyport.dataplane.bridge.namespace import NamespaceThread
from polyport.dataplane.bridge.nft import Nft
from polyport.ids import NetworkId, PortId, ServerId
from polyport.names import bridge_of, tap_of

log = logging.getLogger(__name__)

TICKS = 4
"""In a second. Each port is probed in one of them; in all of them while its server has a loop or may close one."""

_MOST_HURRIED = 8
"""NICs of a server that is probed faster: what comes back grows with the square of their number."""

_OLDEST_PROBE = 2 * QUARANTINE * TICKS
"""Ticks after which a probe that comes back proves nothing any more."""

_EVER = 1e9
"""Seconds later than anything: loops that were there before this guard count as the youngest."""


class Watched(Struct):
    """A port that is probed when its server has another."""

    place: Place
    tap: str
    bridge: str
    tick: int
    index: int | None = None
    """The kernel's number of the tap, once it is known."""


class _Kernel(NamedTuple):
    """What is open in the namespace."""

    nft: Nft
    sender: socket.socket
    log: socket.socket | None
    looped: frozenset[str]


class Guard:
    """`told` is called with all quarantined ports whenever they change. Nothing that goes wrong here stops it."""

    def __init__(self, thread: NamespaceThread) -> None:
        self._thread = thread
        self._key = secrets.token_bytes(probe.KEY_SIZE)
        self._watched: dict[PortId, Watched] = {}
        self._of: dict[ServerId, set[PortId]] = {}
        self._by_index: dict[int, PortId] = {}
        self._sightings = Sightings(QUARANTINE)
        self._hurried: dict[ServerId, float] = {}
        """Server -> until when it is probed in every tick."""
        self._closing: frozenset[Element] = frozenset()
        self._before: frozenset[str] = frozenset()
        """Taps that were quarantined when this guard began."""
        self._joined: frozenset[NetworkId] = frozenset()
        """Networks that a guest joins with another one."""
        self._count = 0
        self._look = False
        self.quarantined: frozenset[PortId] = frozenset()

    async def open(self, told: Callable[[frozenset[PortId]], None]) -> None:
        self._told = told
        self._kernel = await self._thread.run(_open)
        self._before = self._kernel.looped
        if self._kernel.log is not None:
            asyncio.get_running_loop().add_reader(self._kernel.log, self._read)
        self._task = asyncio.create_task(self._run(), name="storm guard")

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._kernel.log is not None:
            asyncio.get_running_loop().remove_reader(self._kernel.log)
            self._kernel.log.close()
        self._kernel.sender.close()
        await self._thread.run(self._kernel.nft.close)

    def watch(self, port: Port) -> None:
        """A port was plugged or changed. One that is down is not probed."""
        nic = port.vif.nic
        if not port.up:
            self.forget(nic.port_id)
            return
        old = self._watched.get(nic.port_id)
        self.forget(nic.port_id)
        self._watched[nic.port_id] = Watched(
            place=Place(port.vif.server_id, port.vif.network.id, nic.slot),
            tap=tap_of(nic.port_id),
            bridge=bridge_of(port.vif.network.id),
            tick=old.tick if old is not None else len(self._watched) % TICKS,
        )
        self._of.setdefault(port.vif.server_id, set()).add(nic.port_id)
        if tap_of(nic.port_id) in self._before and nic.port_id not in self.quarantined:
            # Until the first look says more: a report without it would say that the loop has gone.
            self._tell(self.quarantined | {nic.port_id})

    def forget(self, port_id: PortId) -> None:
        watched = self._watched.pop(port_id, None)
        if watched is None:
            return
        self._of[watched.place.server_id].discard(port_id)
        if not self._of[watched.place.server_id]:
            del self._of[watched.place.server_id]
        if watched.index is not None:
            self._by_index.pop(watched.index, None)

    def keep(self, port_ids: Iterable[PortId]) -> None:
        """Forget all others."""
        for port_id in self._watched.keys() - set(port_ids):
            self.forget(port_id)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(1 / TICKS)
            try:
                await self._tick()
            except Exception:
                log.exception("the storm guard failed", extra={"action": "probe"})

    async def _tick(self) -> None:
        self._count += 1
        probed = self._probed()
        unknown = {port_id: watched for port_id, watched in probed.items() if watched.index is None}
        if unknown:
            self._number(unknown, await self._thread.run(_numbers, [watched.tap for watched in unknown.values()]))
        now = time.monotonic()
        self._hurried = {server: until for server, until in self._hurried.items() if until > now}
        for port_id, watched in probed.items():
            if watched.tick == self._count % TICKS or watched.place.server_id in self._hurried:
                frame = probe.frame_of(self._key, port_id, watched.bridge, self._count)
                # A tap whose guest does not read it now, or that is going: there is nothing to find out.
                with suppress(OSError):
                    self._kernel.sender.sendto(frame, socket.MSG_DONTWAIT, (watched.tap, 0))
        if self._look or (self._count % TICKS == 0 and (probed or self.quarantined or self._closing)):
            self._look = False
            await self._decide(now)

    def _probed(self) -> dict[PortId, Watched]:
        """The ports of servers that have several."""
        return {
            port_id: self._watched[port_id]
            for port_ids in self._of.values()
            if len(port_ids) > 1
            for port_id in port_ids
        }

    def _number(self, ports: Mapping[PortId, Watched], numbers: Mapping[str, int]) -> None:
        for port_id, watched in ports.items():
            if watched.tap in numbers and self._watched.get(port_id) is watched:
                watched.index = numbers[watched.tap]
                self._by_index[watched.index] = port_id

    def _read(self) -> None:
        """Probes came back."""
        assert self._kernel.log is not None
        now = time.monotonic()
        for index, payload in nflog.read(self._kernel.log):
            came_back = self._by_index.get(index)
            found = probe.read_probe(payload)
            if came_back is None or found is None or found.port_id not in self._watched:
                continue
            at, sent = self._watched[came_back], self._watched[found.port_id]
            # A guest that carries a probe of another server's does not prove anything about its own NICs.
            if at.place.server_id != sent.place.server_id or came_back == found.port_id:
                continue
            if not 0 <= self._count - found.number <= _OLDEST_PROBE:
                continue
            if not probe.is_sealed(self._key, found, sent.bridge):
                continue
            old = at.tap in self._before or sent.tap in self._before
            self._sightings.add(found.port_id, came_back, now, since=now + _EVER if old else now)
            self._hurry(at.place.server_id, now)
            self._look = True

    def _hurry(self, server_id: ServerId, now: float) -> None:
        if len(self._of[server_id]) <= _MOST_HURRIED:
            self._hurried[server_id] = now + QUARANTINE

    async def _decide(self, now: float) -> None:
        places = {port_id: watched.place for port_id, watched in self._watched.items()}
        fresh = self._sightings.fresh(now)
        closing = closing_ports(fresh, places)
        joined = joined_networks(fresh, places)
        for server_id, port_ids in self._of.items() if joined else ():
            # Whoever could join these networks a second time is found out the sooner.
            if len({places[port_id].network_id for port_id in port_ids} & joined) > 1:
                self._hurry(server_id, now)
        if joined - self._joined:
            log.info("guests join networks: %s", ", ".join(sorted(joined)), extra={"action": "join"})
        self._joined = joined
        wanted = frozenset(
            Element("closing", f'"{self._watched[port_id].tap}" . {probe.probe_mac(other)}')
            for port_id, others in closing.items()
            for other in others
            # Siblings on one network have their rules already.
            if any(places[each].network_id != places[port_id].network_id for each in others)
        )
        text = firewall.change(wanted - self._closing, self._closing - wanted)
        looped = await self._thread.run(_exchange, self._kernel.nft, text)
        self._closing = wanted
        self._before &= looped
        quarantined = frozenset(port_id for port_id, watched in self._watched.items() if watched.tap in looped)
        if quarantined != self.quarantined:
            self._tell(quarantined)

    def _tell(self, quarantined: frozenset[PortId]) -> None:
        for action, ports in (
            ("quarantine", quarantined - self.quarantined),
            ("recover", self.quarantined - quarantined),
        ):
            for port_id in ports:
                watched = self._watched.get(port_id)
                facts = {"server": watched.place.server_id, "slot": watched.place.slot} if watched else {}
                log.warning("%s port %s", action, port_id, extra={"action": action, "port": port_id, **facts})
        self.quarantined = quarantined
        self._told(quarantined)


# On the namespace's thread


def _open() -> _Kernel:
    nft = Nft()
    # What the last guard found between networks is found again, or is no more.
    nft.run(f"flush set {TABLE} closing\n")
    try:
        listener = nflog.listen(PROBE_GROUP, 64)
    except nflog.LogUnavailable as error:
        log.warning("loops through several networks go unseen: %s", error, extra={"action": "probe"})
        listener = None
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    return _Kernel(nft, sender, listener, _looped(nft))


def _exchange(nft: Nft, text: str) -> frozenset[str]:
    """Change rules, where there is something to change; the taps that are looped."""
    if text:
        nft.run(text)
    return _looped(nft)


def _looped(nft: Nft) -> frozenset[str]:
    entries = [
        entry for listed in nft.read(f"list set {TABLE} looped") for entry in listed.get("set", {}).get("elem", ())
    ]
    return frozenset(str(entry["elem"]["val"] if isinstance(entry, dict) else entry) for entry in entries)


def _numbers(taps: Iterable[str]) -> dict[str, int]:
    """The kernel's numbers of those taps that exist."""
    numbers = {}
    for tap in taps:
        with suppress(OSError):
            numbers[tap] = socket.if_nametoindex(tap)
    return numbers
