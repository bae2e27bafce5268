"""What administrators see of hosts, and may change: what they have, what is promised of it, whether they take servers.

The hosts themselves, and what they report, are in `hosts`.
"""

import datetime
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from polyport.compute.hosts import UP_FOR
from polyport.db.engine import Tx
from polyport.db.tables.compute import hosts, servers
from polyport.db.tables.metadata import stored_time
from polyport.errors import NotFound
from polyport.ids import HostName, ServerId


class HypervisorNotFound(NotFound):
    """Compute host {id} could not be found."""


class NoHypervisorMatches(NotFound):
    """No hypervisor matching '{pattern}' could be found."""


class ServiceNotFound(NotFound):
    """Service {id} could not be found."""


class Hypervisor(Struct, frozen=True, kw_only=True):
    """A host. Memory is MiB, disk GiB."""

    number: int
    name: HostName
    kind: str
    """QEMU, for example."""
    version: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    vcpus_used: int
    memory_mb_used: int
    disk_gb_used: int
    servers: int
    enabled: bool
    disabled_reason: str | None
    forced_down: bool
    seen_at: str | None
    heard: bool
    """Whether it reported lately."""

    @property
    def up(self) -> bool:
        return self.heard and not self.forced_down

    @property
    def id(self) -> str:
        """A UUID that says no more than the name: the same in every database that knows the host."""
        return str(uuid.uuid5(_NAMESPACE, f"hypervisor {self.name}"))

    @property
    def service_id(self) -> str:
        return str(uuid.uuid5(_NAMESPACE, f"service {self.name}"))

    @property
    def version_number(self) -> int:
        """`8.2.1` as 8002001, the way OpenStack writes it."""
        parts = [int(part) for part in re.findall(r"[0-9]{1,4}", self.version)[:3]]
        major, minor, patch = (*parts, 0, 0, 0)[:3]
        return major * 1_000_000 + minor * 1_000 + patch


_NAMESPACE = uuid.UUID("6f0d2c3e-6d2f-5f0c-9d2b-0c9a54a1c7de")


def list_hypervisors(tx: Tx) -> Sequence[Hypervisor]:
    """All hosts, in the order in which they first reported."""
    used = (
        sa.select(
            servers.c.host,
            sa.func.count().label("servers"),
            sa.func.sum(servers.c.vcpus).label("vcpus"),
            sa.func.sum(servers.c.memory_mb).label("memory_mb"),
            sa.func.sum(servers.c.root_gb).label("root_gb"),
        )
        .where(servers.c.deleted_at.is_(None))
        .group_by(servers.c.host)
        .subquery()
    )
    statement = (
        sa.select(hosts, used.c.servers, used.c.vcpus, used.c.memory_mb.label("memory"), used.c.root_gb)
        .outerjoin(used, used.c.host == hosts.c.name)
        .order_by(hosts.c.number)
    )
    oldest = stored_time(datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=UP_FOR))
    return [_read(row, oldest) for row in tx.all(statement)]


def get_hypervisor(tx: Tx, id: str) -> Hypervisor:
    """By UUID or by number, as versions differ. Raises `HypervisorNotFound`."""
    for hypervisor in list_hypervisors(tx):
        if id in (hypervisor.id, str(hypervisor.number)):
            return hypervisor
    raise HypervisorNotFound(id=id)


def matching(tx: Tx, pattern: str) -> Sequence[Hypervisor]:
    """Those whose name has `pattern` in it. Raises `NoHypervisorMatches`."""
    found = [hypervisor for hypervisor in list_hypervisors(tx) if pattern in hypervisor.name]
    if not found:
        raise NoHypervisorMatches(pattern=pattern)
    return found


def servers_on(tx: Tx, names: Sequence[HostName]) -> Mapping[HostName, Sequence[tuple[ServerId, str]]]:
    """The servers of hosts, each as (id, name of its guest)."""
    found: dict[HostName, list[tuple[ServerId, str]]] = {name: [] for name in names}
    rows = tx.all(
        sa.select(servers.c.host, servers.c.id, servers.c.number)
        .where(servers.c.host.in_(names), servers.c.deleted_at.is_(None))
        .order_by(servers.c.number)
    )
    for row in rows:
        found[row.host].append((row.id, f"instance-{row.number:08x}"))
    return found


def get_service(tx: Tx, *, id: str | None = None, host: str | None = None) -> Hypervisor:
    """The host of a service, by the service's UUID or the host's name. Raises `ServiceNotFound`."""
    for hypervisor in list_hypervisors(tx):
        if hypervisor.service_id == id or hypervisor.name == host:
            return hypervisor
    raise ServiceNotFound(id=id or host)


def change_service(tx: Tx, name: HostName, values: Mapping[str, Any]) -> Hypervisor:
    """Change `enabled`, `disabled_reason` or `forced_down` of a host: one that is not enabled takes no more servers."""
    tx.execute(sa.update(hosts).where(hosts.c.name == name).values(**values))
    return get_service(tx, host=name)


def _read(row: sa.Row[Any], since: str) -> Hypervisor:
    return Hypervisor(
        number=row.number,
        name=row.name,
        kind=row.hypervisor,
        version=row.hypervisor_version,
        vcpus=row.cpus,
        memory_mb=row.memory_mb,
        disk_gb=row.disk_gb,
        vcpus_used=row.vcpus or 0,
        memory_mb_used=row.memory or 0,
        disk_gb_used=row.root_gb or 0,
        servers=row.servers or 0,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        forced_down=row.forced_down,
        seen_at=row.seen_at,
        heard=row.seen_at is not None and row.seen_at >= since,
    )
