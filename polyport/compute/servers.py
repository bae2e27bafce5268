"""Servers: read, look for, write. (`boot` makes them, `actions` acts on them.)"""

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from polyport.compute import states
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.compute import servers
from polyport.db.tables.metadata import now
from polyport.errors import Conflict, NotFound
from polyport.ids import ServerId


class ServerNotFound(NotFound):
    """Instance {server_id} could not be found."""


class ServerLocked(Conflict):
    """Instance {server_id} is locked"""


class Server(Struct, frozen=True, gc=False):
    """A row, in the order of `COLUMNS`. What is JSON in the database stays text here: most of it is shown as it is."""

    number: int
    id: ServerId
    project_id: str
    user_id: str
    name: str
    hostname: str
    description: str | None
    host: str
    availability_zone: str
    pinned_zone: str | None
    vm_state: str
    task_state: str | None
    power_state: int
    wanted: states.Wanted
    boot: int
    restart: str
    disk: int
    locked: bool
    locked_reason: str | None
    locked_by: str | None
    image_id: str | None
    image: str | None
    flavor: str
    vcpus: int
    memory_mb: int
    root_gb: int
    nic_slots: int
    key_name: str | None
    key: str | None
    user_data: str | None
    personality: str | None
    config_drive: bool
    disk_config: str
    metadata: str
    tags: str
    access_ip_v4: str
    access_ip_v6: str
    admin_password: str | None
    trusted_certificates: str | None
    scheduler_hints: str
    group_id: str | None
    reservation_id: str
    launch_index: int
    fault: str | None
    created_at: str
    updated_at: str
    launched_at: str | None
    terminated_at: str | None
    deleted_at: str | None
    plan_revision: int
    reported_revision: int

    @property
    def state(self) -> states.State:
        return states.State(
            vm_state=self.vm_state,
            task_state=self.task_state,
            power_state=self.power_state,
            wanted=self.wanted,
            boot=self.boot,
            restart="soft" if self.restart == "soft" else "hard",
            disk=self.disk,
        )

    @property
    def status(self) -> str:
        return states.status_of(self.vm_state, self.task_state)

    def metadata_items(self) -> dict[str, str]:
        return msgspec.json.decode(self.metadata, type=dict[str, str])

    def tag_list(self) -> list[str]:
        return msgspec.json.decode(self.tags, type=list[str])


@functools.lru_cache(512)
def flavor_of(text: str) -> Mapping[str, Any]:
    """A server's flavor as it was at boot; many servers share a few."""
    return cast("Mapping[str, Any]", msgspec.json.decode(text))


COLUMNS = tuple(servers.c[name] for name in Server.__struct_fields__)
_SELECT = sa.select(*COLUMNS)
_LONG = ("image", "user_data", "personality", "key", "admin_password")
_SLIM = sa.select(*(sa.null().label(column.name) if column.name in _LONG else column for column in COLUMNS))
_ALIVE = sa.and_(servers.c.deleted_at.is_(None), servers.c.number < sa.bindparam("before"))
_OWN = sa.and_(_ALIVE, servers.c.project_id == sa.bindparam("project"))
_NEWEST = {
    (slim, everything): (_SLIM if slim else _SELECT)
    .where(_ALIVE if everything else _OWN)
    .order_by(servers.c.number.desc())
    .limit(sa.bindparam("most"))
    for slim in (False, True)
    for everything in (False, True)
}
_ANY_BY_ID = _SELECT.where(servers.c.id == sa.bindparam("server"))
_OF_HOST = _SELECT.where(servers.c.host == sa.bindparam("on"), servers.c.terminated_at.is_(None))
_CHANGED = _OF_HOST.where(servers.c.plan_revision > sa.bindparam("since"))
_NAMED = _OF_HOST.where(servers.c.id.in_(sa.bindparam("ids", expanding=True)))
_UPDATE = sa.update(servers).where(servers.c.id == sa.bindparam("server_"))
_LOCKED, _CONFIG_DRIVE = (Server.__struct_fields__.index(name) for name in ("locked", "config_drive"))
_BY_ID = _SELECT.where(servers.c.id == sa.bindparam("server"), servers.c.deleted_at.is_(None))


def read_server(tx: Tx, context: Context, server_id: str | None, *, deleted: bool = False) -> Server:
    """A server the caller may see. Raises `ServerNotFound`; with `deleted` also one that is no more is found."""
    row: Any = None
    if server_id is not None:
        if deleted:
            rows = tx.tuples(_ANY_BY_ID, {"server": server_id})
        else:
            rows = tx.tuples(_BY_ID, {"server": server_id})
        row = rows[0] if rows else None
    if row is None or (row[2] != context.project_id and not context.is_admin):
        raise ServerNotFound(server_id=server_id)
    return _server(row)


def find_servers(tx: Tx, statement: sa.Select[Any], values: Mapping[str, object] | None = None) -> list[Server]:
    """The servers a statement over `COLUMNS` selects; read as tuples, so that JSON stays the text it is."""
    return [_server(row) for row in tx.tuples(statement, values)]


def newest(tx: Tx, *, project_id: str | None, most: int, before: int | None = None, slim: bool = False) -> list[Server]:
    """The servers that are there, of one project or (None) of all, the newest first: the list most clients ask for.
    `before`: those with a smaller number alone."""
    values: dict[str, object] = {"most": most, "before": sys.maxsize if before is None else before}
    if project_id is not None:
        values["project"] = project_id
    return find_servers(tx, _NEWEST[slim, project_id is None], values)


def _server(row: Sequence[Any]) -> Server:
    values = list(row)
    values[_LOCKED], values[_CONFIG_DRIVE] = values[_LOCKED] == 1, values[_CONFIG_DRIVE] == 1
    return Server(*values)


def select_servers(*, slim: bool = False) -> sa.Select[Any]:
    """Servers, to look for; `slim` leaves out (as None) what is long and most lists do not show: image, user data,
    files, key and password."""
    return _SLIM if slim else _SELECT


def hosts_of(tx: Tx, server_ids: Sequence[ServerId]) -> dict[str, int]:
    """How many of these servers each host has."""
    statement = sa.select(servers.c.host, sa.func.count().label("has")).where(servers.c.id.in_(server_ids))
    return {row.host: row.has for row in tx.all(statement.group_by(servers.c.host))}


def write_server(tx: Tx, server_id: ServerId, values: Mapping[str, object], *, touch: bool = True) -> None:
    """Change columns of a server; `touch`: it counts as an update a user sees."""
    changed = dict(values) | ({"updated_at": now()} if touch else {})
    tx.execute(_UPDATE, {"server_": server_id, **changed})


def check_lock(context: Context, server: Server) -> None:
    """Raises `ServerLocked` where the caller may not change the server."""
    if server.locked and not context.is_admin:
        raise ServerLocked(server_id=server.id)


def update_server(tx: Tx, context: Context, server: Server, values: Mapping[str, object]) -> Server:
    """Change what a user may change without the host doing anything but rewriting what guests read of themselves."""
    changed = dict(values)
    if changed.keys() & {"name", "hostname"}:
        changed["plan_revision"] = tx.revision()
        tx.wake(server.host)
    write_server(tx, server.id, changed)
    return read_server(tx, context, server.id)


def plan_rows(tx: Tx, host: str, since: int, also: Sequence[str]) -> list[Server]:
    """The servers of a host that changed after `since`, and those named besides; all that are left where it is 0."""
    if since == 0:
        return find_servers(tx, _OF_HOST, {"on": host})
    found = find_servers(tx, _CHANGED, {"on": host, "since": since})
    missing = set(also).difference(server.id for server in found)
    if missing:
        found += find_servers(tx, _NAMED, {"on": host, "ids": list(missing)})
    return found


def count_by_status(tx: Tx) -> dict[str, int]:
    """How many servers there are of each status, of every project."""
    counts: dict[str, int] = {}
    for vm_state, task_state, number in tx.tuples(_COUNTS):
        status = states.status_of(vm_state, task_state)
        counts[status] = counts.get(status, 0) + number
    return counts


_COUNTS = (
    sa.select(servers.c.vm_state, servers.c.task_state, sa.func.count())
    .where(servers.c.deleted_at.is_(None))
    .group_by(servers.c.vm_state, servers.c.task_state)
)
