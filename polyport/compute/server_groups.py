"""Server groups: a policy about which hosts their members may be on. A server says itself which group it is in."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from polyport import quotas
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.compute import server_groups, servers
from polyport.errors import NotFound, OverQuota
from polyport.ids import ProjectId, ServerId, UserId, new_id


class ServerGroupNotFound(NotFound):
    """Instance group {group_id} could not be found."""


class TooManyServerGroups(OverQuota):
    """Quota exceeded, too many server groups."""


class ServerGroup(Struct, frozen=True, kw_only=True):
    id: str
    project_id: ProjectId
    user_id: UserId
    name: str
    policy: str
    """affinity | anti-affinity | soft-affinity | soft-anti-affinity"""
    rules: Mapping[str, int] = {}
    """`max_server_per_host`, for anti-affinity"""
    members: tuple[ServerId, ...] = ()


def get_group(tx: Tx, context: Context, group_id: str | None) -> ServerGroup:
    """A group the caller may see. Raises `ServerGroupNotFound`."""
    row = tx.first(sa.select(server_groups).where(server_groups.c.id == group_id))
    if row is None or not (context.is_admin or row.project_id == context.project_id):
        raise ServerGroupNotFound(group_id=group_id)
    return _read(row, _members(tx, [row.id]))


def list_groups(
    tx: Tx, context: Context, *, all_projects: bool = False, limit: int | None = None, offset: int = 0
) -> Sequence[ServerGroup]:
    """The groups of the caller's project (or of all), in the order they were made."""
    statement = sa.select(server_groups).order_by(server_groups.c.number).offset(offset)
    if not all_projects:
        statement = statement.where(server_groups.c.project_id == context.project_id)
    rows = tx.all(statement if limit is None else statement.limit(limit))
    members = _members(tx, [row.id for row in rows])
    return [_read(row, members) for row in rows]


def create_group(
    tx: Tx, context: Context, name: str, policy: str, rules: Mapping[str, int] | None = None
) -> ServerGroup:
    """Raises `TooManyServerGroups`."""
    try:
        quotas.charge(tx, context.project_id, {"server_groups": 1})
    except quotas.QuotaExceeded as error:
        raise TooManyServerGroups from error
    group_id = new_id()
    row = {
        "id": group_id,
        "project_id": context.project_id,
        "user_id": context.user_id,
        "name": name,
        "policy": policy,
        "rules": dict(rules or {}),
    }
    tx.execute(sa.insert(server_groups), row)
    return get_group(tx, context, group_id)


def delete_group(tx: Tx, context: Context, group_id: str | None) -> None:
    """The servers in it stay. Raises `ServerGroupNotFound`."""
    group = get_group(tx, context, group_id)
    tx.execute(sa.update(servers).where(servers.c.group_id == group.id).values(group_id=None))
    tx.execute(sa.delete(server_groups).where(server_groups.c.id == group.id))
    quotas.refund(tx, group.project_id, {"server_groups": 1})


def _members(tx: Tx, group_ids: Sequence[str]) -> dict[str, list[ServerId]]:
    found: dict[str, list[ServerId]] = {}
    rows = tx.all(
        sa.select(servers.c.group_id, servers.c.id)
        .where(servers.c.group_id.in_(group_ids), servers.c.deleted_at.is_(None))
        .order_by(servers.c.number)
    )
    for row in rows:
        found.setdefault(row.group_id, []).append(row.id)
    return found


def _read(row: sa.Row[Any], members: Mapping[str, Sequence[ServerId]]) -> ServerGroup:
    return ServerGroup(
        id=row.id,
        project_id=row.project_id,
        user_id=row.user_id,
        name=row.name,
        policy=row.policy,
        rules=row.rules,
        members=tuple(members.get(row.id, ())),
    )
