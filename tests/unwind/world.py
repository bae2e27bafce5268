"""A host, a cloud half in memory, and agents that live and die between them."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from polyport.agent.disks import ImageCache
from polyport.agent.loop import Agent
from polyport.agent.servers import Host
from polyport.config import Config
from polyport.dataplane.fake import FakeDataplane, FakeNetworks
from polyport.hypervisor import HypervisorFacts
from polyport.hypervisor.fake import FakeHost, FakeHypervisor
from polyport.ids import HostName, ImageId, NetworkId, PortId, SecurityGroupId, ServerId, SubnetId, new_id
from polyport.names import tap_of
from polyport.plan import (
    FixedIp,
    HostPlan,
    HostReport,
    ImagePlan,
    NetworkPlan,
    NicPlan,
    SecurityGroupPlan,
    ServerPlan,
    ServerReport,
    SubnetPlan,
)

HOST = HostName("host")
SUBNET = SubnetPlan(id=SubnetId(new_id()), cidr="10.0.0.0/24", ip_version=4, gateway_ip="10.0.0.1")
NETWORK = NetworkPlan(id=NetworkId(new_id()), name="one", subnets=(SUBNET,))

Hook = Callable[[str], Awaitable[None]]


class Broken(Exception):
    """What a broken call raises."""


class MemoryCloud:
    """The cloud half: what is wanted, and what was reported, in memory."""

    def __init__(self) -> None:
        self.revision = 1
        self.servers: dict[ServerId, ServerPlan] = {}
        self.networks: dict[NetworkId, tuple[int, NetworkPlan]] = {NETWORK.id: (1, NETWORK)}
        self.groups: dict[SecurityGroupId, tuple[int, SecurityGroupPlan]] = {}
        self.reports: dict[ServerId, ServerReport] = {}
        self.round_trips: list[HostReport] = []
        self.images: dict[ImageId, bytes] = {}
        self._news = asyncio.Event()
        self._reported = asyncio.Condition()

    # What the user does

    def put(self, server: ServerPlan) -> ServerPlan:
        self.revision += 1
        self.servers[server.id] = server = replace(server, revision=self.revision)
        self._news.set()
        return server

    def put_network(self, network: NetworkPlan) -> None:
        self.revision += 1
        self.networks[network.id] = (self.revision, network)
        self._news.set()

    def put_group(self, group: SecurityGroupPlan) -> None:
        self.revision += 1
        self.groups[group.id] = (self.revision, group)
        self._news.set()

    def wake(self) -> None:
        self._news.set()

    # What the agent sees

    async def plan(self, since: int) -> HostPlan:
        self._news.clear()
        servers = tuple(server for server in self.servers.values() if server.revision > since)
        used = {nic.network_id for server in servers for nic in server.nics}
        networks = tuple(
            network for revision, network in self.networks.values() if network.id in used or revision > since
        )
        named = {group_id for server in servers for nic in server.nics for group_id in nic.security_groups}
        groups = tuple(group for revision, group in self.groups.values() if group.id in named or revision > since)
        return HostPlan(
            revision=self.revision, whole=since == 0, servers=servers, networks=networks, security_groups=groups
        )

    async def report(self, report: HostReport) -> None:
        self.round_trips.append(report)
        for server in report.servers:
            self.reports[server.id] = server
            if server.power == "gone":
                self.servers.pop(server.id, None)
        async with self._reported:
            self._reported.notify_all()

    async def wait(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return

    async def image(self, image: ImagePlan, into: Path) -> None:
        into.write_bytes(self.images[image.id])

    # What the test waits for

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self._reported:
            await self._reported.wait_for(condition)

    async def carried_out(self, server: ServerPlan, *, error: bool = False) -> ServerReport:
        """Wait for the report that a revision was carried out, or that it failed."""

        def told() -> bool:
            report = self.reports.get(server.id)
            return report is not None and report.revision >= server.revision and bool(report.error) == error

        await self.until(told)
        return self.reports[server.id]

    async def reported(self, server: ServerPlan) -> ServerReport:
        """Wait for any report on a revision."""
        await self.until(lambda: getattr(self.reports.get(server.id), "revision", 0) >= server.revision)
        return self.reports[server.id]


PURE = {"nic_address"}
"""What drivers answer without doing anything, so that it cannot fail."""


class Wired:
    """Something with its calls on a wire: `before` and `after` are called around each, with the call's name."""

    def __init__(self, real: object, before: Hook, after: Hook | None = None) -> None:
        self._real = real
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        call = getattr(self._real, name)
        if name in PURE:
            return call  # type: ignore[no-any-return]

        async def wired(*arguments: object, **named: object) -> object:
            await self._before(name)
            result = await call(*arguments, **named)
            if self._after is not None:
                await self._after(name)
            return result

        return wired


class Twice:
    """Something whose every call is made twice; the first answer is lost."""

    def __init__(self, real: object) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        call = getattr(self._real, name)
        if name in PURE:
            return call  # type: ignore[no-any-return]

        async def twice(*arguments: object, **named: object) -> object:
            first = await call(*arguments, **named)
            if name in ("open", "wait"):
                return first
            if isinstance(first, int):
                os.close(first)
            if name == "plug_all":
                for descriptor in first:  # type: ignore[attr-defined]
                    os.close(descriptor)
            return await call(*arguments, **named)

        return twice


class DiskHypervisor(FakeHypervisor):
    """Fake guests that want real disks."""

    async def open(self, changed: Callable[[ServerId], None]) -> HypervisorFacts:
        return replace(await super().open(changed), wants_disks=True)


class World:
    """One machine and its cloud half; both outlive agents."""

    def __init__(self, state: Path, *, disks: bool = False, timer: float = 0.02) -> None:
        self.config = Config(state=state, timer=timer)
        self.cloud = MemoryCloud()
        self.guests = FakeHost()
        self.networks = FakeNetworks()
        self.machine = "first life"
        self._disks = disks

    def drivers(self) -> tuple[FakeHypervisor, FakeDataplane]:
        hypervisor = DiskHypervisor if self._disks else FakeHypervisor
        return hypervisor(host=self.guests), FakeDataplane(networks=self.networks)

    @asynccontextmanager
    async def agent(
        self,
        before: Hook | None = None,
        after: Hook | None = None,
        *,
        wire: Callable[[object], object] | None = None,
        grace: float = 0.0,
        at_once: int | None = None,
    ) -> AsyncIterator[FakeHypervisor]:
        """An agent at work; leaving ends it as a clean stop does."""
        hypervisor, dataplane = self.drivers()
        wire = wire or (lambda real: Wired(real, before or _let_pass, after))
        wired = [wire(each) for each in (self.cloud, hypervisor, dataplane)]
        agent = Agent(*wired, self.config, HOST, machine=self.machine, grace=grace, at_once=at_once)  # type: ignore[arg-type]
        task = asyncio.create_task(agent.run())
        try:
            yield hypervisor
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled(), task.exception()

    @asynccontextmanager
    async def host(self) -> AsyncIterator[Host]:
        """What steps are carried out with, without an agent."""
        hypervisor, dataplane = self.drivers()
        self.config.servers.mkdir(parents=True)
        facts = await hypervisor.open(lambda server_id: None)
        await dataplane.open()
        yield Host(
            hypervisor=hypervisor,
            dataplane=dataplane,
            facts=facts,
            servers=self.config.servers,
            images=ImageCache(self.config.state / "cache", self.cloud.image),
            machine=self.machine,
        )
        await dataplane.close()
        await hypervisor.close()

    def restart_machine(self) -> None:
        """Lose what a machine loses: every guest, every tap."""
        self.guests = FakeHost()
        self.networks = FakeNetworks()
        self.machine += " and the next"

    # What is on the host

    @property
    def directories(self) -> set[str]:
        servers = self.config.servers
        return {path.name for path in servers.iterdir()} if servers.is_dir() else set()

    def vifs(self) -> set[str]:
        return set(self.networks.taps)

    def nics_of(self, server: ServerPlan) -> list[tuple[int, PortId]]:
        return [(nic.slot, nic.port_id) for nic in self.guests.guests[server.id].nics]

    def starts_of(self, server: ServerPlan) -> list[str]:
        """How often a guest was started, and with which boot number."""
        return self.guests.consoles.get(server.id, b"").decode().split("\r\n")[:-1]

    def assert_as_planned(self, *servers: ServerPlan) -> None:
        """Exactly these servers are on the host, each as its plan says; nothing else is."""
        running = [server for server in servers if server.wanted in ("running", "paused")]
        assert set(self.guests.guests) == {server.id for server in running}
        for server in running:
            guest = self.guests.guests[server.id]
            assert (guest.power, guest.boot) == (server.wanted, server.boot)
            assert self.nics_of(server) == [(nic.slot, nic.port_id) for nic in server.nics]
        assert self.vifs() == {tap_of(nic.port_id) for server in running for nic in server.nics}
        assert self.directories == {server.id for server in servers}

    def assert_clean(self) -> None:
        self.assert_as_planned()


async def _let_pass(name: str) -> None:
    return None


class Counted:
    """A wire that counts calls by name."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def __call__(self, name: str) -> None:
        self.calls.append(name)


class Fuse:
    """Breaks the n-th call after it is lit, once; counts calls."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.lit = False
        self.calls: list[str] = []

    async def __call__(self, name: str) -> None:
        if not self.lit or name in ("wait", "open", "close"):
            return
        self.calls.append(name)
        if len(self.calls) - 1 == self.at:
            raise Broken(f"call {self.at}, {name}")


class Death:
    """From the n-th call on nothing that this agent does reaches anybody, as if it had been killed there."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.lit = False
        self.died = asyncio.Event()
        self.over = asyncio.Event()
        self.calls: list[str] = []

    async def __call__(self, name: str) -> None:
        if not self.lit or name in ("open", "close"):
            return
        if name != "wait" or self.died.is_set():
            self.calls.append(name)
        if len(self.calls) - 1 >= self.at:
            self.died.set()
            await self.over.wait()
            raise Broken("the dead do nothing")


def nic(slot: int, *, network: NetworkPlan = NETWORK) -> NicPlan:
    return NicPlan(
        port_id=PortId(new_id()),
        slot=slot,
        network_id=network.id,
        mac_address=f"fa:16:3e:00:00:{slot:02x}",
        fixed_ips=(FixedIp(network.subnets[0].id, f"10.0.0.{slot + 10}"),),
    )


def server(nics: int = 3, **more: object) -> ServerPlan:
    plan = ServerPlan(
        id=ServerId(new_id()),
        name="vnf",
        hostname="vnf",
        project_id=new_id(),
        user_id=new_id(),
        revision=0,
        wanted="running",
        boot=1,
        vcpus=1,
        memory_mb=64,
        root_gb=0,
        nic_slots=30,
        nics=tuple(nic(slot) for slot in range(1, nics + 1)),
    )
    return replace(plan, **more)


def open_files() -> Mapping[str, str]:
    """This process's open descriptors."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            found[path.name] = str(path.readlink())
        except FileNotFoundError:
            continue
    return found


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something on the host that no report tells."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
