"""The agent: plans in, work handed out, reports sent.

At start it takes in the whole plan and what is on the host, and sweeps what belongs to nobody. Then it goes
round: it waits to be woken (or for its timer), reads what changed, hands out the work, and does not wait
for it. Every tenth timer it reads everything again and looks at everything again, so that nothing depends
on a wake-up having come.
"""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from polyport.agent import Cloud, inventory, metadata, records
from polyport.agent.disks import ImageCache
from polyport.agent.jobs import Jobs
from polyport.agent.outbox import Outbox
from polyport.agent.plans import PlanSum
from polyport.agent.reconcile import Seen
from polyport.agent.servers import Host
from polyport.agent.undo import off_loop
from polyport.config import Config
from polyport.dataplane import Answer, Dataplane, DataplaneError
from polyport.hypervisor import Hypervisor
from polyport.ids import HostName, PortId, SecurityGroupId, ServerId
from polyport.plan import HostFigures, PortCounters, RefusedGroup

log = logging.getLogger(__name__)

TIMERS_PER_LOOK = 10
SHORTEST_PAUSE = 0.1


class Agent:
    """One host's agent. `run` is its whole life.

    `machine` names this life of the machine (found out where None); `grace` is how long a guest that is
    asked to power off is waited for, in seconds; `at_once` how many servers are worked on at the same time.
    """

    def __init__(
        self,
        cloud: Cloud,
        hypervisor: Hypervisor,
        dataplane: Dataplane,
        config: Config,
        host: HostName,
        *,
        machine: str | None = None,
        grace: float = 10.0,
        at_once: int | None = None,
    ) -> None:
        self._cloud = cloud
        self._hypervisor = hypervisor
        self._dataplane = dataplane
        self._state = config.state.absolute()
        self._servers = config.servers.absolute()
        self._timer = config.timer
        self._policy_routing = config.policy_routing
        self._machine = machine
        self._grace = grace
        self._at_once = at_once
        self._outbox = Outbox(cloud.report, host)
        self._plans = PlanSum()
        self._jobs: Jobs | None = None
        self._quarantined: frozenset[PortId] = frozenset()
        self._quarantines = self._recoveries = 0
        self._last_round: float | None = None
        self._refused: Mapping[SecurityGroupId, str] | None = None
        """The security groups that were last reported as not in force; None before the first report."""

    async def run(self) -> None:
        """Work until cancelled. Guests keep running then, and the next agent finds them.

        Raises what the drivers raise where they cannot be opened; nothing else ends it.
        """
        async with AsyncExitStack() as drivers:
            facts = await self._hypervisor.open(self._changed)
            drivers.push_async_callback(self._hypervisor.close)
            dataplane_facts = await self._dataplane.open(quarantined=self._quarantine, metadata=self._metadata)
            drivers.push_async_callback(self._dataplane.close)
            machine = self._machine if self._machine is not None else await off_loop(inventory.machine)
            host = Host(
                hypervisor=self._hypervisor,
                dataplane=self._dataplane,
                facts=facts,
                servers=self._servers,
                images=ImageCache(self._state / "cache", self._cloud.image),
                machine=machine,
                policy_routing=self._policy_routing,
            )

            async def tell_facts() -> None:
                self._outbox.put_facts(await off_loop(inventory.host_facts, self._state, facts, dataplane_facts))

            async with asyncio.TaskGroup() as group:
                jobs = self._jobs = Jobs(
                    host,
                    self._plans,
                    self._outbox,
                    group,
                    grace=self._grace,
                    at_once=self._at_once or (8 if facts.wants_disks else 64),
                    pause=self._timer,
                )
                jobs.quarantined(self._quarantined)
                group.create_task(self._outbox.run())
                try:
                    await self._insist(lambda: self._adopt(jobs))
                    await self._insist(tell_facts)
                    await self._rounds(jobs, tell_facts)
                finally:
                    jobs.close()
                    self._jobs = None

    async def counters(self, port_id: PortId) -> PortCounters | None:
        """What was counted at a port; None where it is not plugged here, or nobody can tell now."""
        if self._jobs is None:
            return None
        try:
            return await self._dataplane.counters(port_id)
        except DataplaneError as error:
            log.error("port not read: %s", error, extra={"action": "counters", "port": port_id})
            return None

    def figures(self) -> HostFigures:
        servers = self._jobs.servers.values() if self._jobs is not None else ()
        return HostFigures(
            guests=Counter(server.seen.guest.power for server in servers if server.seen.guest is not None),
            quarantines=self._quarantines,
            recoveries=self._recoveries,
            last_round=self._last_round,
        )

    def _metadata(self, server_id: ServerId, port_id: PortId, path: str) -> Answer | None:
        """What a guest is told that asks by this port; nothing where its plan does not have the port any more."""
        server = self._plans.servers.get(server_id)
        if server is None or all(nic.port_id != port_id for nic in server.nics):
            return None
        return metadata.answer(
            server,
            self._plans.networks,
            path,
            nic_address=self._hypervisor.nic_address,
            seed=os.urandom,
            policy_routing=self._policy_routing,
        )

    def _changed(self, server_id: ServerId) -> None:
        if self._jobs is not None:
            self._jobs.changed(server_id)

    def _quarantine(self, port_ids: frozenset[PortId]) -> None:
        self._quarantines += len(port_ids - self._quarantined)
        self._recoveries += len(self._quarantined - port_ids)
        self._quarantined = port_ids
        if self._jobs is not None:
            self._jobs.quarantined(port_ids)

    async def _adopt(self, jobs: Jobs) -> None:
        """Take in the whole plan, and everything found on the host."""
        plan = await self._cloud.plan(0)
        self._plans.add_groups(plan)
        await self._tell_groups()
        found = await off_loop(records.read_all, self._servers)
        guests = await self._hypervisor.guests()
        # No wait from here on: a guest that ends from now on is in the table, and is looked at.
        for server_id in found.keys() | guests.keys():
            seen = Seen(guest=guests.get(server_id), record=found.get(server_id), directory=server_id in found)
            jobs.adopt(server_id, seen)
        concerned = self._plans.add(plan)
        jobs.sweep_soon()
        for server_id in concerned | jobs.servers.keys():
            jobs.planned(server_id)
        log.info(
            "adopted %d guests, %d servers planned",
            len(guests),
            len(plan.servers),
            extra={"action": "adopt", "revision": plan.revision},
        )

    async def _tell_groups(self) -> None:
        """Hand changed security groups to the dataplane, before the vifs that use them. What it cannot have is told
        again in the next round, and holds up nothing else."""
        news = dict(self._plans.news)
        refused: Mapping[SecurityGroupId, str] = {}
        if news:
            try:
                refused = await self._dataplane.ensure_groups(news.values())
            except Exception as error:
                log.error("security groups not told: %s", error, extra={"action": "groups", "groups": sorted(news)})
                refused = dict.fromkeys(news, "The host could not take in the rules; its log says why.")
        for group_id, group in news.items():
            if group_id not in refused and self._plans.news.get(group_id) is group:
                del self._plans.news[group_id]
        if refused != self._refused:
            self._refused = refused
            if refused:
                log.error("groups not as planned", extra={"action": "groups", "groups": dict(refused)})
            self._outbox.put_refused(tuple(RefusedGroup(id=each, reason=why) for each, why in refused.items()))

    async def _rounds(self, jobs: Jobs, tell_facts: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        next_look = loop.time() + self._timer * TIMERS_PER_LOOK

        async def one_round() -> None:
            nonlocal next_look
            slow = loop.time() >= next_look
            concerned = self._plans.add(await self._cloud.plan(0 if slow else self._plans.revision))
            await self._tell_groups()
            for server_id in concerned:
                jobs.planned(server_id)
            jobs.retry_due()
            self._last_round = time.time()
            if slow:
                next_look = loop.time() + self._timer * TIMERS_PER_LOOK
                jobs.doubt_all()
                jobs.sweep_soon()
                await tell_facts()

        while True:
            await self._insist(lambda: self._cloud.wait(self._timer))
            await self._insist(one_round)

    async def _insist(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do something until it succeeds, with growing pauses: the agent outlives whatever is wrong for a
        while."""
        pause = SHORTEST_PAUSE
        while True:
            try:
                return await step()
            except Exception:
                log.exception("the agent's round failed", extra={"action": "round"})
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._timer)
