"""What projects used in a span of time: hours of servers, of their cores, memory and disks."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from polyport.db.engine import Tx
from polyport.db.tables.compute import servers
from polyport.ids import ProjectId, ServerId

_STORED = "%Y-%m-%dT%H:%M:%S.%f"


class ServerUsage(Struct, frozen=True, kw_only=True):
    id: ServerId
    name: str
    project_id: ProjectId
    state: str
    flavor: str
    vcpus: int
    memory_mb: int
    local_gb: int
    started_at: str
    ended_at: str | None
    hours: float
    """Within the span."""
    seconds: int
    """Since its start, until its end or the span's."""


def used_between(
    tx: Tx,
    start: datetime.datetime,
    stop: datetime.datetime,
    *,
    project_id: ProjectId | None = None,
    limit: int | None = None,
    after: ServerId | None = None,
) -> Mapping[ProjectId, Sequence[ServerUsage]]:
    """The servers that ran within a span (UTC), by project; `limit` many of them, after the server `after`."""
    statement = (
        sa.select(servers)
        .where(
            servers.c.launched_at.is_not(None),
            servers.c.launched_at < stop.strftime(_STORED),
            sa.or_(servers.c.deleted_at.is_(None), servers.c.deleted_at > start.strftime(_STORED)),
        )
        .order_by(servers.c.id)
    )
    if project_id is not None:
        statement = statement.where(servers.c.project_id == project_id)
    if after is not None:
        statement = statement.where(servers.c.id > after)
    found: dict[ProjectId, list[ServerUsage]] = {}
    for row in tx.all(statement if limit is None else statement.limit(limit)):
        found.setdefault(row.project_id, []).append(_read(row, start, stop))
    return found


def _read(row: sa.Row[Any], start: datetime.datetime, stop: datetime.datetime) -> ServerUsage:
    launched = _time(row.launched_at)
    ended = min(_time(row.deleted_at), stop) if row.deleted_at else stop
    return ServerUsage(
        id=row.id,
        name=row.name,
        project_id=row.project_id,
        state="terminated" if row.deleted_at else row.vm_state,
        flavor=row.flavor["name"],
        vcpus=row.vcpus,
        memory_mb=row.memory_mb,
        local_gb=row.root_gb,
        started_at=row.launched_at,
        ended_at=row.deleted_at,
        hours=max((ended - max(launched, start)).total_seconds(), 0.0) / 3600,
        seconds=max(int((ended - launched).total_seconds()), 0),
    )


def _time(stored: str) -> datetime.datetime:
    return datetime.datetime.strptime(stored, _STORED).replace(tzinfo=datetime.UTC)
