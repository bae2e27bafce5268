"""Hosts: they register by their first report, tell what they have, and are up while they are heard of."""

import datetime

import sqlalchemy as sa

from polyport.compute.scheduler import Candidate
from polyport.db.engine import Tx
from polyport.db.tables.compute import hosts
from polyport.db.tables.metadata import now, stored_time
from polyport.ids import HostName
from polyport.plan import HostFacts

UP_FOR = 600.0
"""Seconds after its last report for which a host counts as up. A quiet host reports only on its slow timer."""

NOTED_EVERY = 10.0
"""Seconds in which it is written once that a host was heard of."""


def register(tx: Tx, name: HostName, facts: HostFacts | None = None) -> None:
    """Note that a host was heard of, and its facts if it sent them. One that is not known is added.

    That it was heard of is not written each time: a busy host reports many times a second.
    """
    if facts is None and (tx.value(_SEEN, {"host": name}) or "") > _ago(NOTED_EVERY):
        return
    values: dict[str, object] = {"seen_at": now()}
    if facts is not None:
        values |= {
            "hypervisor": facts.hypervisor[:32],
            "hypervisor_version": facts.hypervisor_version[:32],
            "accelerator": facts.accelerator[:16],
            "dataplane": facts.dataplane[:32],
            "cpus": facts.cpus,
            "memory_mb": facts.memory_mb,
            "disk_gb": facts.disk_gb,
        }
    if tx.execute(_HEARD, {"host_": name, **values}).rowcount == 0:
        number = (tx.value(sa.select(sa.func.max(hosts.c.number))) or 0) + 1
        tx.execute(sa.insert(hosts).values(name=name, number=number, **values))


def promise(tx: Tx, name: str, *, vcpus: int, memory_mb: int) -> None:
    """Count what servers were promised of a host; negative when they go."""
    tx.execute(_PROMISE, {"host": name, "cpus_": vcpus, "memory_": memory_mb})


def candidates(tx: Tx) -> list[Candidate]:
    """Every host, as the scheduler sees it."""
    oldest = _ago(UP_FOR)
    return [
        Candidate(
            name=HostName(row.name),
            up=row.seen_at is not None and row.seen_at >= oldest and not row.forced_down,
            enabled=row.enabled,
            vcpus=row.cpus,
            memory_mb=row.memory_mb,
            promised_memory_mb=row.promised_memory_mb,
        )
        for row in tx.all(_CANDIDATES)
    ]


def _ago(seconds: float) -> str:
    return stored_time(datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds))


_CANDIDATES = sa.select(
    hosts.c.name,
    hosts.c.seen_at,
    hosts.c.enabled,
    hosts.c.forced_down,
    hosts.c.cpus,
    hosts.c.memory_mb,
    hosts.c.promised_memory_mb,
)
_SEEN = sa.select(hosts.c.seen_at).where(hosts.c.name == sa.bindparam("host"))
_HEARD = sa.update(hosts).where(hosts.c.name == sa.bindparam("host_"))
_PROMISE = (
    sa.update(hosts)
    .where(hosts.c.name == sa.bindparam("host"))
    .values(
        promised_vcpus=hosts.c.promised_vcpus + sa.bindparam("cpus_"),
        promised_memory_mb=hosts.c.promised_memory_mb + sa.bindparam("memory_"),
    )
)
