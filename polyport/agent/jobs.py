"""Who works on which server.

                kick                         dispatch
    (at rest) ------> queued ---------------------+----> nothing to do, or nothing new: told, at rest
        ^                ^                        +----> updating   many servers' vifs in one call
        |                | kicked meanwhile       +----> working    one server, step by step
        +----------------+----- released <--------+
                                    ^
    stale: what is there is in doubt (a guest ended, a step failed): looked at first, all stale servers in
    one call

A server is in at most one task's hand at a time; kicks that come meanwhile are one kick when it is
released. What failed is not tried again before its time (or a new plan), so a server that cannot be had
costs nothing. The host is swept in moments when no server is in any hand, and none is taken up meanwhile: a
sweep must not meet a vif half made.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping

from polyport.agent.kept import KeptServer, look
from polyport.agent.outbox import Outbox
from polyport.agent.plans import PlanSum
from polyport.agent.reconcile import Clear, Seen, Start, Step, Stop, UpdateVifs, decide
from polyport.agent.report import server_report
from polyport.agent.servers import Host, bring_images, carry_out, stop
from polyport.agent.vifs import vif_plans
from polyport.dataplane import VifPlan
from polyport.errors import PolyportError
from polyport.hypervisor import FoundGuest
from polyport.ids import NetworkId, PortId, ServerId
from polyport.plan import ServerPlan

log = logging.getLogger(__name__)

SLICE = 64
"""Servers decided on in one go: the event loop is shared with the API, which must not wait for thousands."""

MOST_DOUBLINGS = 6
"""A server that keeps failing is tried again after 1, 2, 4 ... 64 times the first pause."""


class Jobs:
    """`at_once`: servers worked on at the same time; `pause`: seconds before a failed server is tried
    again."""

    def __init__(
        self,
        host: Host,
        plans: PlanSum,
        outbox: Outbox,
        group: asyncio.TaskGroup,
        *,
        grace: float,
        at_once: int,
        pause: float,
    ) -> None:
        self.servers: dict[ServerId, KeptServer] = {}
        self._host = host
        self._plans = plans
        self._outbox = outbox
        self._group = group
        self._grace = grace
        self._pause = pause
        self._quarantined: frozenset[PortId] = frozenset()
        self._limit = asyncio.Semaphore(at_once)
        self._loop = asyncio.get_running_loop()
        self._queue: dict[ServerId, KeptServer] = {}
        self._stale: dict[ServerId, KeptServer] = {}
        self._failing: dict[ServerId, KeptServer] = {}
        self._in_hand = 0
        self._looking = False
        self._sweeping = False
        self._sweep_due = False
        self._scheduled = False
        self._closed = False

    # What others ask for

    def close(self) -> None:
        """Take up nothing more."""
        self._closed = True

    def adopt(self, server_id: ServerId, seen: Seen) -> None:
        """Keep a server that was found on the host."""
        self.servers[server_id] = KeptServer(server_id, look(seen, seen.guest, doubted=True))

    def planned(self, server_id: ServerId) -> None:
        """There may be something to do for a server: its plan, or a network it is on, has changed."""
        plan = self._plans.servers.get(server_id)
        server = self.servers.get(server_id)
        if server is None:
            if plan is None:
                return
            server = self.servers[server_id] = KeptServer(server_id, Seen())
        server.vifs = None
        if plan != server.plan:
            server.plan = plan
            server.error, server.failures, server.held, server.given_up = None, 0, (), False
            if server.hurry is not None and _hurried(plan, server.seen.guest):
                server.hurry.set()
        self.kick(server)

    def changed(self, server_id: ServerId) -> None:
        """The guest of a server is not what it was."""
        server = self.servers.get(server_id)
        if server is not None:
            server.stale = True
            self.kick(server)

    def quarantined(self, port_ids: frozenset[PortId]) -> None:
        """These ports, and no others, are cut off by the storm guard: the servers concerned are reported anew."""
        changed = port_ids ^ self._quarantined
        self._quarantined = port_ids
        for server in self.servers.values():
            if not changed.isdisjoint(server.seen.vifs):
                self.kick(server)

    def doubt_all(self) -> None:
        """Look at everything again, and repair every vif."""
        for server in self.servers.values():
            server.stale = server.doubted = True
            self.kick(server)

    def retry_due(self) -> None:
        """Try again what failed, where its time has come."""
        now = self._loop.time()
        for server in [server for server in self._failing.values() if server.retry_at <= now]:
            self.kick(server)

    def sweep_soon(self) -> None:
        """Remove from the host what belongs to no server, as soon as no server is in hand."""
        self._sweep_due = True
        self._schedule()

    def kick(self, server: KeptServer) -> None:
        """Have a server dealt with."""
        if server.busy:
            server.kicked = True
            return
        if server.stale:
            self._stale[server.id] = server
        else:
            self._queue[server.id] = server
        self._schedule()

    # Dispatch

    def _schedule(self) -> None:
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        if self._closed or self._sweeping:
            return
        if self._sweep_due and self._in_hand == 0:
            self._sweeping, self._sweep_due = True, False
            self._group.create_task(self._sweep())
            return
        if self._stale and not self._looking:
            self._looking = True
            stale, self._stale = list(self._stale.values()), {}
            self._hand_out(stale, self._look(stale))
        updates: list[tuple[KeptServer, UpdateVifs]] = []
        for server_id in list(self._queue)[:SLICE]:
            server = self._queue.pop(server_id)
            if not server.busy and not server.stale:
                self._take_up(server, updates)
        if updates:
            self._hand_out([server for server, _ in updates], self._update(updates))
        if self._queue:
            self._schedule()

    def _take_up(self, server: KeptServer, updates: list[tuple[KeptServer, UpdateVifs]]) -> None:
        try:
            _, steps = self._decide(server)
        except Exception as error:
            self._fail(server, server.plan, error)
            return
        if not steps:
            self._settle(server, server.plan)
        elif steps == server.held and self._loop.time() < server.retry_at:
            self._tell(server, server.plan)
        elif len(steps) == 1 and isinstance(steps[0], UpdateVifs):
            updates.append((server, steps[0]))
        else:
            self._hand_out([server], self._work(server, steps))

    def _decide(self, server: KeptServer) -> tuple[tuple[VifPlan, ...], tuple[Step, ...]]:
        plan = server.plan
        if server.vifs is None:
            server.vifs = vif_plans(plan, self._plans.networks) if plan is not None and plan.wanted != "gone" else ()
        vifs = server.vifs
        steps = decide(plan, vifs, server.seen, machine=self._host.machine, grace=self._grace)
        return vifs, _without_start(steps) if server.given_up else steps

    def _hand_out(self, servers: list[KeptServer], job: Coroutine[object, object, None]) -> None:
        for server in servers:
            server.busy = True
        self._in_hand += 1
        self._group.create_task(job)

    def _release(self, servers: list[KeptServer]) -> None:
        self._in_hand -= 1
        for server in servers:
            server.busy = False
            if server.kicked:
                server.kicked = False
                if server.id in self.servers:
                    self.kick(server)
        if self._sweep_due or self._stale:
            self._schedule()

    # Jobs

    async def _work(self, server: KeptServer, steps: tuple[Step, ...]) -> None:
        plan = server.plan
        try:
            if steps and isinstance(steps[0], Stop) and steps[0].grace > 0:
                await self._stop_gently(server, steps[0].grace)
            if any(isinstance(step, Start) for step in steps):
                await bring_images(self._host, server.plan)
            async with self._limit:
                # The plan may have changed while this server waited for its turn.
                plan = server.plan
                vifs, steps = self._decide(server)
                await carry_out(self._host, server, plan, vifs, steps)
        except Exception as error:
            self._fail(server, plan, error)
        else:
            self._settle(server, plan)
        finally:
            self._release([server])

    async def _stop_gently(self, server: KeptServer, grace: float) -> None:
        """Wait for a guest to power off, unless a new plan is in a hurry. Other servers need not wait for
        that."""
        hurry = server.hurry = asyncio.Event()
        stopping = asyncio.ensure_future(stop(self._host, server, grace))
        hurrying = asyncio.ensure_future(hurry.wait())
        try:
            await asyncio.wait({stopping, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.hurry = None
            hurrying.cancel()
            stopping.cancel()
            await asyncio.wait({stopping, hurrying})
        if not stopping.cancelled():
            stopping.result()

    async def _update(self, updates: list[tuple[KeptServer, UpdateVifs]]) -> None:
        """All in one call; where that fails, one by one, so that each server has its own error."""
        plans = {server.id: server.plan for server, _ in updates}
        try:
            try:
                await self._host.dataplane.ensure([vif for _, step in updates for vif in step.vifs])
            except Exception as error:
                log.warning("vifs not updated together: %s", error, extra={"action": "update"})
                for server, step in updates:
                    await self._update_one(server, plans[server.id], step)
                return
            for server, step in updates:
                for vif in step.vifs:
                    server.see_vif(vif.nic.port_id, vif)
                self._settle(server, plans[server.id])
        finally:
            self._release([server for server, _ in updates])

    async def _update_one(self, server: KeptServer, plan: ServerPlan | None, step: UpdateVifs) -> None:
        try:
            await carry_out(self._host, server, plan, step.vifs, (step,))
        except Exception as error:
            self._fail(server, plan, error)
        else:
            self._settle(server, plan)

    async def _look(self, stale: list[KeptServer]) -> None:
        try:
            for server in stale:
                # Before the look: a change that comes during it makes the server stale again.
                server.stale = False
            guests = await self._host.hypervisor.guests()
            for count, server in enumerate(stale):
                server.seen = look(server.seen, guests.get(server.id), doubted=server.doubted)
                server.doubted, server.kicked = False, True
                if count % SLICE == 0:
                    await asyncio.sleep(0)
            for server_id in guests.keys() - self.servers.keys():
                log.warning("a guest nobody planned", extra={"action": "adopt", "server": server_id})
                self.adopt(server_id, Seen(guest=guests[server_id], directory=True))
                self.planned(server_id)
        except Exception:
            log.exception("guests cannot be looked at", extra={"action": "look"})
            for server in stale:
                server.stale, server.retry_at = True, self._loop.time() + self._pause
                self._failing[server.id] = server
        finally:
            self._looking = False
            self._release(stale)

    async def _sweep(self) -> None:
        try:
            removed = await self._host.dataplane.sweep(self._kept_ports())
            images = await self._host.images.sweep(self._plans.images())
            for name in (*removed, *images):
                log.warning("leftover removed: %s", name, extra={"action": "sweep", "leftover": name})
        except Exception:
            log.exception("sweep failed", extra={"action": "sweep"})
        finally:
            self._sweeping = False
            self._schedule()

    def _kept_ports(self) -> Mapping[PortId, NetworkId]:
        """The ports of all vifs there should be. A NIC of a guest that its plan does not have is about to
        go."""
        kept: dict[PortId, NetworkId] = {}
        for server in self.servers.values():
            if server.plan is not None:
                planned = {nic.port_id: nic.network_id for nic in server.plan.nics}
                kept |= {port_id: planned[port_id] for port_id in server.seen.vifs if port_id in planned}
        return kept

    # Results

    def _settle(self, server: KeptServer, plan: ServerPlan | None) -> None:
        if not server.given_up:
            server.error = None
        server.failures, server.held = 0, ()
        self._failing.pop(server.id, None)
        self._tell(server, plan)
        if server.plan is plan and server.no_more():
            del self.servers[server.id]
            self._plans.forget(server.id)

    def _fail(self, server: KeptServer, plan: ServerPlan | None, error: Exception) -> None:
        log.error("server failed: %s", error, exc_info=error, extra={"action": "fail", "server": server.id})
        server.error = error.message if isinstance(error, PolyportError) else "The host failed."
        server.stale = True
        if server.plan is plan and not self._hold(server):
            # What failed did not matter in the end: a vif that would not go was replaced.
            self._settle(server, plan)
        self._tell(server, plan)

    def _hold(self, server: KeptServer) -> bool:
        """Not the same steps again before their time; False where none are left. A boot that failed is not tried
        again at all: the user was told so, and a server must not come up hours after it was given up."""
        try:
            _, steps = self._decide(server)
        except Exception:  # what could not be decided on failed for that reason, and was logged
            steps = server.held
        else:
            if not steps:
                return False
            if any(isinstance(step, Start) and not step.again for step in steps):
                server.given_up = True
                steps = _without_start(steps)
        server.held = steps
        server.retry_at = self._loop.time() + self._pause * 2 ** min(server.failures, MOST_DOUBLINGS)
        server.failures += 1
        self._failing[server.id] = server
        return True

    def _tell(self, server: KeptServer, plan: ServerPlan | None) -> None:
        if plan is None:
            return
        report = server_report(plan, server.seen, server.error, self._quarantined)
        if report != server.told:
            server.told = report
            self._outbox.put(report)


def _without_start(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """What is left to do for a server whose start was given up: clearing up, unless its guest still runs."""
    if not any(isinstance(step, Start) for step in steps):
        return steps
    if any(isinstance(step, Stop) for step in steps):
        return ()
    return tuple(step for step in steps if isinstance(step, Clear))


def _hurried(plan: ServerPlan | None, guest: FoundGuest | None) -> bool:
    """Whether a plan does not let a guest that is being stopped take its time."""
    if plan is None or plan.wanted == "gone":
        return True
    if plan.wanted == "stopped" or guest is None:
        return False
    return plan.restart == "hard" and guest.boot < plan.boot
