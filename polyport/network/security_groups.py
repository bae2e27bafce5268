"""Security groups. Every project has one called `default`, made when it is first needed."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType

from polyport import quotas
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.metadata import now
from polyport.db.tables.network import group_bindings, ports, security_group_rules, security_groups
from polyport.errors import Conflict, NotFound
from polyport.ids import ProjectId, SecurityGroupId, is_uuid, new_id
from polyport.network import InvalidInput
from polyport.network.networks import project_of

DEFAULT_NAME = "default"


class SecurityGroupNotFound(NotFound):
    """Security group {id} does not exist."""


class SecurityGroupInUse(Conflict):
    """Security Group {id} in use."""


class SecurityGroupDefaultAlreadyExists(Conflict):
    """Default security group already exists."""


class SecurityGroupCannotRemoveDefault(Conflict):
    """Insufficient rights for removing default security group."""


class SecurityGroupCannotUpdateDefault(Conflict):
    """Updating default security group not allowed."""


class SecurityGroup(Struct, frozen=True, kw_only=True):
    id: SecurityGroupId
    project_id: ProjectId
    name: str
    description: str
    is_default: bool
    tags: tuple[str, ...]
    revision_number: int
    created_at: str
    updated_at: str


class NewSecurityGroup(Struct, frozen=True, kw_only=True):
    name: str
    project_id: ProjectId | None = None
    description: str = ""
    stateful: bool = True


class SecurityGroupChange(Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    stateful: bool | UnsetType = UNSET


COLUMNS: dict[str, sa.ColumnElement[Any]] = {
    "id": security_groups.c.id,
    "name": security_groups.c.name,
    "description": security_groups.c.description,
    "project_id": security_groups.c.project_id,
    "tenant_id": security_groups.c.project_id,
    "revision_number": security_groups.c.revision_number,
    "created_at": security_groups.c.created_at,
    "updated_at": security_groups.c.updated_at,
}
"""Attributes a list may be filtered and sorted by."""

TAGS: sa.ColumnElement[Any] = security_groups.c.tags


def select_groups(context: Context) -> sa.Select[Any]:
    statement = sa.select(security_groups)
    return statement if context.is_admin else statement.where(security_groups.c.project_id == context.project_id)


def read_groups(tx: Tx, statement: sa.Select[Any]) -> list[SecurityGroup]:
    """The groups a statement on the table selects, in its order."""
    return [_group(row) for row in tx.all(statement)]


def get_group(tx: Tx, context: Context, group_id: str) -> SecurityGroup:
    """Raises `SecurityGroupNotFound`, also for what the caller may not see."""
    row = tx.first(select_groups(context).where(security_groups.c.id == group_id)) if is_uuid(group_id) else None
    if row is None:
        raise SecurityGroupNotFound(id=group_id[:255])
    return _group(row)


def groups_by_name(tx: Tx, context: Context, names: Collection[str]) -> dict[str, list[SecurityGroupId]]:
    """The ids of the project's own groups that have one of `names`, or are it: under the word asked for."""
    found: dict[str, list[SecurityGroupId]] = {name: [] for name in names}
    words = list(names)
    rows = tx.all(
        sa.select(security_groups.c.id, security_groups.c.name)
        .where(
            security_groups.c.project_id == context.project_id,
            sa.or_(security_groups.c.name.in_(words), security_groups.c.id.in_(words)),
        )
        .order_by(security_groups.c.created_at, security_groups.c.id)
    )
    for row in rows:
        if row.id in found:
            found[row.id] = [row.id]
        elif row.name in found:
            found[row.name].append(row.id)
    return found


def group_names(tx: Tx, group_ids: Collection[SecurityGroupId]) -> dict[SecurityGroupId, str]:
    """Names of groups, for views that show names."""
    if not group_ids:
        return {}
    rows = tx.all(_NAMES, {"ids": list(group_ids)})
    return {row.id: row.name for row in rows}


def has_default(tx: Tx, project_id: ProjectId) -> bool:
    return tx.first(_DEFAULT, {"project": project_id}) is not None


def default_group(tx: Tx, project_id: ProjectId) -> SecurityGroupId:
    """The id of a project's default group, which is made if need be: out free, in only from members of the group."""
    row = tx.first(_DEFAULT, {"project": project_id})
    if row is not None:
        return SecurityGroupId(row[0])
    time = now()
    group = _new(project_id, DEFAULT_NAME, "Default security group", time, is_default=True)
    quotas.count(tx, project_id, {"security_group": 1, "security_group_rule": 4})
    _insert(tx, [group], time)
    return group.id


def create_groups(tx: Tx, context: Context, wanted: Sequence[NewSecurityGroup]) -> list[SecurityGroup]:
    """All of them or none. A new group lets everything out and nothing in."""
    time = now()
    made = []
    for entry in wanted:
        project_id = project_of(context, entry.project_id)
        if entry.name.lower() == DEFAULT_NAME:
            raise SecurityGroupDefaultAlreadyExists
        check_stateful(entry.stateful)
        made.append(_new(project_id, entry.name, entry.description, time))
    for project_id in dict.fromkeys(group.project_id for group in made):
        count = sum(group.project_id == project_id for group in made)
        quotas.charge(tx, project_id, {"security_group": count, "security_group_rule": 2 * count})
        default_group(tx, project_id)
    _insert(tx, made, time)
    return made


def update_group(tx: Tx, context: Context, group_id: str, change: SecurityGroupChange) -> SecurityGroup:
    group = get_group(tx, context, group_id)
    if group.is_default and change.name is not UNSET and change.name != group.name:
        raise SecurityGroupCannotUpdateDefault
    if change.stateful is not UNSET:
        check_stateful(change.stateful)
    if change.name is not UNSET and not group.is_default and change.name.lower() == DEFAULT_NAME:
        raise SecurityGroupDefaultAlreadyExists
    values = {name: value for name in ("name", "description") if (value := getattr(change, name)) is not UNSET}
    touched(tx, group.id, **values)
    return get_group(tx, context, group.id)


def delete_group(tx: Tx, context: Context, group_id: str) -> None:
    """Rules of other groups that name it go too. Raises `SecurityGroupInUse` while a port has it."""
    group = get_group(tx, context, group_id)
    if group.is_default and not context.is_admin:
        raise SecurityGroupCannotRemoveDefault
    if tx.first(sa.select(group_bindings.c.port_id).where(group_bindings.c.security_group_id == group.id).limit(1)):
        raise SecurityGroupInUse(id=group.id)
    rules = security_group_rules
    mine = sa.or_(rules.c.security_group_id == group.id, rules.c.remote_group_id == group.id)
    gone = tx.all(sa.delete(rules).where(mine).returning(rules.c.project_id, rules.c.security_group_id))
    for project_id in {row.project_id for row in gone}:
        quotas.refund(tx, project_id, {"security_group_rule": sum(row.project_id == project_id for row in gone)})
    for other in {row.security_group_id for row in gone if row.security_group_id != group.id}:
        touched(tx, other)
    tx.execute(sa.delete(security_groups).where(security_groups.c.id == group.id))
    quotas.refund(tx, group.project_id, {"security_group": 1})


def touched(tx: Tx, group_id: SecurityGroupId, **values: Any) -> None:
    """Number a change of a group or of its rules, and wake the hosts of the ports that have it."""
    tx.execute(
        sa.update(security_groups)
        .where(security_groups.c.id == group_id)
        .values(
            **values,
            revision_number=security_groups.c.revision_number + 1,
            updated_at=now(),
            plan_revision=tx.revision(),
        )
    )
    hosts = (
        sa.select(ports.c.host)
        .distinct()
        .join(group_bindings, group_bindings.c.port_id == ports.c.id)
        .where(group_bindings.c.security_group_id == group_id, ports.c.host != "")
    )
    for row in tx.all(hosts):
        tx.wake(row[0])


def check_stateful(stateful: bool) -> None:
    """Groups are stateful here; one that is not would be a promise not kept."""
    if not stateful:
        raise InvalidInput(reason="Stateless security groups are not supported")


def _new(project_id: ProjectId, name: str, description: str, time: str, *, is_default: bool = False) -> SecurityGroup:
    return SecurityGroup(
        id=SecurityGroupId(new_id()),
        project_id=project_id,
        name=name,
        description=description,
        is_default=is_default,
        tags=(),
        revision_number=1,
        created_at=time,
        updated_at=time,
    )


def _insert(tx: Tx, groups: Sequence[SecurityGroup], time: str) -> None:
    """Groups with the rules Neutron gives new ones: two, and two more in a default group."""
    rows = []
    rules = []
    for group in groups:
        rows.append({name: getattr(group, name) for name in group.__struct_fields__})
        rows[-1].update(stateful=True, plan_revision=0)
        for direction in ("egress", "ingress") if group.is_default else ("egress",):
            for ethertype in ("IPv4", "IPv6"):
                rules.append(
                    {
                        "id": new_id(),
                        "project_id": group.project_id,
                        "security_group_id": group.id,
                        "direction": direction,
                        "ethertype": ethertype,
                        "remote_group_id": group.id if direction == "ingress" else None,
                        "description": "",
                        "revision_number": 1,
                        "created_at": time,
                        "updated_at": time,
                    }
                )
    tx.execute(sa.insert(security_groups), rows)
    tx.execute(sa.insert(security_group_rules), rules)


def _group(row: Any) -> SecurityGroup:
    return SecurityGroup(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        description=row.description,
        is_default=row.is_default,
        tags=row.tags,
        revision_number=row.revision_number,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


_DEFAULT = sa.select(security_groups.c.id).where(
    security_groups.c.project_id == sa.bindparam("project"), security_groups.c.is_default
)
_NAMES = sa.select(security_groups.c.id, security_groups.c.name).where(
    security_groups.c.id.in_(sa.bindparam("ids", expanding=True))
)
