"""`/v2.0/security-groups`. Source: Neutron's API reference, "Security groups"."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType

from polyport.api.network.fields import (
    Project,
    Text,
    check_match,
    one_of,
    one_or_many,
    project_of,
    time_view,
    wrapped,
)
from polyport.api.network.lists import Noun, View, chosen, constant, listed
from polyport.api.network.security_group_rules import rule_view
from polyport.db.engine import Database, Tx
from polyport.network import refusals, security_group_rules, security_groups
from polyport.network.security_groups import (
    NewSecurityGroup,
    SecurityGroup,
    SecurityGroupChange,
    SecurityGroupNotFound,
)
from polyport.web.calls import Call, Reply


class CreateSecurityGroup(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Text
    description: Text | None = ""
    stateful: bool = True
    project_id: Project | None = None
    tenant_id: Project | None = None


class UpdateSecurityGroup(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Text | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    stateful: bool | UnsetType = UNSET


async def index(call: Call, database: Database) -> Reply:
    """A list shows the project's default group even where nothing needed it before."""
    project_id = call.context.project_id
    if not await database.read(lambda tx: security_groups.has_default(tx, project_id)):
        await database.write(lambda tx: security_groups.default_group(tx, project_id))
    return await database.read(lambda tx: listed(call, tx, SECURITY_GROUPS))


def show(call: Call, tx: Tx) -> Reply:
    group = security_groups.get_group(tx, call.context, call.params["id"])
    return Reply(body={"security_group": chosen(call, _views_of(tx, [group])[0])})


def create(call: Call, tx: Tx) -> Reply:
    bodies, many = one_or_many(call, "security_group", "security_groups", CreateSecurityGroup)
    wanted = [
        NewSecurityGroup(
            name=body.name,
            project_id=project_of(body.project_id, body.tenant_id),
            description=body.description or "",
            stateful=body.stateful,
        )
        for body in bodies
    ]
    views = _views_of(tx, security_groups.create_groups(tx, call.context, wanted))
    return Reply(status=201, body=wrapped(views, "security_group", "security_groups", many))


def update(call: Call, tx: Tx) -> Reply:
    body = one_of(call, "security_group", UpdateSecurityGroup)
    group = security_groups.get_group(tx, call.context, call.params["id"])
    check_match(call, group.revision_number)
    change = SecurityGroupChange(name=body.name, description=body.description, stateful=body.stateful)
    changed = security_groups.update_group(tx, call.context, group.id, change)
    return Reply(body={"security_group": _views_of(tx, [changed])[0]})


def delete(call: Call, tx: Tx) -> Reply:
    group = security_groups.get_group(tx, call.context, call.params["id"])
    check_match(call, group.revision_number)
    security_groups.delete_group(tx, call.context, group.id)
    return Reply(status=204)


def group_view(
    group: SecurityGroup, rules: Sequence[security_group_rules.SecurityGroupRule], refused: str | None
) -> View:
    return {
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "project_id": group.project_id,
        "tenant_id": group.project_id,
        "stateful": True,
        "shared": False,
        "is_default": group.is_default,
        "polyport:refused": refused,
        "security_group_rules": [rule_view(rule) for rule in rules],
        "tags": group.tags,
        "revision_number": group.revision_number,
        "created_at": time_view(group.created_at),
        "updated_at": time_view(group.updated_at),
    }


def _views_of(tx: Tx, groups: Sequence[SecurityGroup]) -> list[View]:
    ids = [group.id for group in groups]
    rules, refused = security_group_rules.rules_of(tx, ids), refusals.reasons(tx, ids)
    return [group_view(group, rules.get(group.id, ()), refused.get(group.id)) for group in groups]


def _views(call: Call, tx: Tx, statement: sa.Select[Any]) -> list[View]:
    return _views_of(tx, security_groups.read_groups(tx, statement))


def _not_found(group_id: str) -> SecurityGroupNotFound:
    return SecurityGroupNotFound(id=group_id)


SECURITY_GROUPS = Noun(
    plural="security_groups",
    columns=security_groups.COLUMNS,
    select=security_groups.select_groups,
    views=_views,
    not_found=_not_found,
    tags=security_groups.TAGS,
    conditions={"stateful": constant("stateful", True), "shared": constant("shared", False)},
)
