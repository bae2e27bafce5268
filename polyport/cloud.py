"""The composition root: the one module that knows everybody. It builds a cloud from a configuration and runs it.

configuration -> database -> services -> application
                    |
                    +-- LocalCloud (plans and reports as plain calls) -- agent -- hypervisor, dataplane
"""

import asyncio
import contextlib
import fcntl
import importlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from polyport import agent as agents
from polyport import dataplane as dataplanes
from polyport import hypervisor as hypervisors
from polyport import quotas
from polyport.agent.loop import Agent
from polyport.api import compute as compute_api
from polyport.api import identity as identity_api
from polyport.api import image as image_api
from polyport.api import metrics as metrics_api
from polyport.api import network as network_api
from polyport.compute import flavors, hosts, nics, plans, reports
from polyport.config import Config
from polyport.dataplane import Dataplane
from polyport.dataplane.bridge.namespace import alone_in
from polyport.db import schema
from polyport.db.engine import Database, Tx
from polyport.errors import Conflict, Invalid
from polyport.hypervisor import Hypervisor
from polyport.identity import passwords, seed
from polyport.identity.tokens import Tokens
from polyport.ids import HostName, ServerId
from polyport.image import images
from polyport.image.store import Store
from polyport.plan import HostPlan, HostReport, ImagePlan
from polyport.web.app import App
from polyport.web.tally import Tally

log = logging.getLogger(__name__)


class StateInUse(Conflict):
    """Another polyport runs on the state directory {path}."""


class NoSuchState(Invalid):
    """The state directory {path} cannot be used: {reason}."""


class Cloud:
    """A cloud that runs: the application to serve, its database, and the agent of this host."""

    def __init__(
        self,
        config: Config,
        database: Database,
        app: App,
        agent: asyncio.Task[None],
        dataplane: Dataplane,
        password: str | None,
    ) -> None:
        self.config = config
        self.database = database
        self.app = app
        self.agent = agent
        """Ends only when something is wrong that polyport cannot mend by itself."""
        self.dataplane = dataplane
        self.password = password
        """The administrator's password where this start made the database; None where it was there already."""


class LocalCloud:
    """The cloud half as the agent of the same process sees it: plain calls."""

    def __init__(self, database: Database, store: Store, host: HostName) -> None:
        self._database = database
        self._store = store
        self._host = host
        self._kept = plans.Kept()

    async def plan(self, since: int) -> HostPlan:
        # What has just changed is read where it was written: there it is still in memory, and costs half. It is not
        # committed before that returns, so nothing is kept of it where it raises. A whole plan would hold writers up.
        run = self._database.write if since else self._database.read
        try:
            return await run(lambda tx: plans.plan_for(tx, self._host, since, self._kept))
        except BaseException:
            self._kept = plans.Kept()
            raise

    async def report(self, report: HostReport) -> None:
        await self._database.write(lambda tx: reports.record(tx, report))

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 - as the protocol says
        await self._database.wakeups.wait(self._host, timeout)

    async def image(self, image: ImagePlan, into: Path) -> None:
        await asyncio.to_thread(self._store.link, image.id, into)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Cloud]:
    """A cloud from its configuration: database made or migrated, agent at work. Leaving it stops the cloud, not the
    guests. Raises what `alone` raises."""
    async with alone(config, new=True), _database(config) as (database, password):
        host = HostName(config.host)
        store = Store(config.images)
        hypervisor, dataplane = drivers(config)
        agent = Agent(LocalCloud(database, store, host), hypervisor, dataplane, config, host)
        app = _app(config, database, hypervisor, dataplane, agent)
        async with _at_work(agent) as task:
            yield Cloud(config, database, app, task, dataplane, password)


async def restore_admin(config: Config) -> str:
    """Let the administrator `admin` into a cloud that is not running; the new password. Raises what `state_of`
    raises."""
    password = secrets.token_urlsafe(16)
    with state_of(config.state):
        async with _database(config) as (database, _):
            digest = await asyncio.to_thread(passwords.hash_password, password)
            await database.write(lambda tx: seed.restore_admin(tx, digest))
    return password


def drivers(config: Config) -> tuple[Hypervisor, Dataplane]:
    """The drivers the configuration names, from the two tables."""
    hypervisor = _load(hypervisors.DRIVERS[config.hypervisor.driver])
    dataplane = _load(dataplanes.DRIVERS[config.dataplane.driver])
    return (
        hypervisor() if config.hypervisor.driver == "fake" else hypervisor(config.hypervisor, config.servers),
        dataplane() if config.dataplane.driver == "fake" else dataplane(config.dataplane),
    )


def _app(config: Config, database: Database, hypervisor: Hypervisor, dataplane: Dataplane, agent: Agent) -> App:
    async def console_log(server_id: ServerId, most: int) -> bytes:
        return await hypervisor.console_log(server_id, config.servers / server_id, most)

    tally = Tally()
    tokens = Tokens(database)
    return App(
        [
            identity_api.service(region=config.region, token_hours=config.api.token_hours),
            image_api.service(config.images),
            network_api.service(
                port_gone=nics.port_gone,
                counters=agent.counters,
                capture=dataplane.capture,
                capture_config=config.capture,
            ),
            compute_api.service(console_log=console_log),
            metrics_api.service(counters=agent.counters, host=agent.figures, tally=tally),
        ],
        database,
        tokens.authenticate,
        root=identity_api.root_document,
        public_url=config.api.public_url,
        most_body_bytes=config.api.most_body_bytes,
        tally=tally,
    )


@asynccontextmanager
async def _at_work(agent: Agent) -> AsyncIterator[asyncio.Task[None]]:
    """The agent as a task beside the body; what ended it before its time is raised when the body is left."""
    task = asyncio.create_task(agent.run(), name="agent")
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _database(config: Config) -> AsyncIterator[tuple[Database, str | None]]:
    """The database with the schema of now and the rows a cloud begins with, open while the body runs; and the
    administrator's password where it was made here."""
    if config.database is None:
        # Passwords and tokens are in it, if only as digests. SQLite gives its log and index the mode of the database.
        config.database_file.touch(mode=0o600)
        config.database_file.chmod(0o600)
    await asyncio.to_thread(schema.upgrade, config.database_url)
    database = Database(config.database_url)
    database.open()
    try:
        yield database, await _begin(config, database)
    finally:
        database.close()


async def _begin(config: Config, database: Database) -> str | None:
    """Write the rows a cloud begins with; the administrator's password where it was made here."""
    fresh = await database.read(seed.is_fresh)
    password = (config.admin_password or secrets.token_urlsafe(16)) if fresh else None
    digest = await asyncio.to_thread(passwords.hash_password, password) if password else ""
    limits = {name: int(most) for name, most in msgspec.structs.asdict(config.limits).items()}

    def begin(tx: Tx) -> set[str]:
        if fresh:
            seed.seed(tx, digest)
            flavors.seed(tx)
        quotas.configure(tx, limits)
        hosts.register(tx, HostName(config.host))
        return images.recover(tx)

    kept = await database.write(begin)
    # What an upload that was broken off by a crash left behind.
    await asyncio.to_thread(Store(config.images).sweep, kept)
    return password


@asynccontextmanager
async def alone(config: Config, *, new: bool = False) -> AsyncIterator[None]:
    """Hold the state directory and the network namespace for this process alone. Raises what `state_of` and
    `namespace.alone_in` raise."""
    with state_of(config.state, new=new):
        if config.dataplane.driver == "bridge":
            async with alone_in(config.dataplane.namespace):
                yield
        else:
            yield


@contextmanager
def state_of(path: Path, *, new: bool = False) -> Iterator[None]:
    """Hold the state directory for this process alone; what is below it is nobody else's to read. Only where it may be
    `new` it is made. Raises `NoSuchState`, `StateInUse`."""
    try:
        if new:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NoSuchState(path=path, reason=error.strerror) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateInUse(path=path) from error
        yield
    finally:
        os.close(lock)


def _load(place: str) -> Any:
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)


_: type[agents.Cloud] = LocalCloud
