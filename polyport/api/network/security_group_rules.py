"""`/v2.0/security-group-rules`. Source: Neutron's API reference, "Security group rules"."""

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from polyport.api.network.fields import (
    Address,
    Project,
    Text,
    check_match,
    one_or_many,
    project_of,
    time_view,
    wrapped,
)
from polyport.api.network.lists import Noun, View, chosen, listed
from polyport.db.engine import Tx
from polyport.ids import SecurityGroupId
from polyport.network import security_group_rules
from polyport.network.security_group_rules import (
    NewSecurityGroupRule,
    SecurityGroupInvalidPortValue,
    SecurityGroupRule,
    SecurityGroupRuleNotFound,
)
from polyport.web.calls import Call, Reply


class CreateSecurityGroupRule(Struct, forbid_unknown_fields=True, kw_only=True):
    security_group_id: Text
    direction: Text
    ethertype: Text | None = "IPv4"
    protocol: Text | int | None = None
    port_range_min: int | str | None = None
    port_range_max: int | str | None = None
    remote_ip_prefix: Address | None = None
    remote_group_id: Text | None = None
    description: Text | None = ""
    project_id: Project | None = None
    tenant_id: Project | None = None


def index(call: Call, tx: Tx) -> Reply:
    return listed(call, tx, SECURITY_GROUP_RULES)


def show(call: Call, tx: Tx) -> Reply:
    rule = security_group_rules.get_rule(tx, call.context, call.params["id"])
    return Reply(body={"security_group_rule": chosen(call, rule_view(rule))})


def create(call: Call, tx: Tx) -> Reply:
    bodies, many = one_or_many(call, "security_group_rule", "security_group_rules", CreateSecurityGroupRule)
    made = security_group_rules.create_rules(tx, call.context, [_wanted(body) for body in bodies])
    views = [rule_view(rule) for rule in made]
    return Reply(status=201, body=wrapped(views, "security_group_rule", "security_group_rules", many))


def delete(call: Call, tx: Tx) -> Reply:
    rule = security_group_rules.get_rule(tx, call.context, call.params["id"])
    check_match(call, rule.revision_number)
    security_group_rules.delete_rule(tx, call.context, rule.id)
    return Reply(status=204)


def rule_view(rule: SecurityGroupRule) -> View:
    return {
        "id": rule.id,
        "project_id": rule.project_id,
        "tenant_id": rule.project_id,
        "security_group_id": rule.security_group_id,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_range_min": rule.port_range_min,
        "port_range_max": rule.port_range_max,
        "remote_ip_prefix": rule.remote_ip_prefix,
        "remote_group_id": rule.remote_group_id,
        "description": rule.description,
        "revision_number": rule.revision_number,
        "created_at": time_view(rule.created_at),
        "updated_at": time_view(rule.updated_at),
    }


def _wanted(body: CreateSecurityGroupRule) -> NewSecurityGroupRule:
    return NewSecurityGroupRule(
        security_group_id=SecurityGroupId(body.security_group_id.lower()),
        direction=body.direction,
        project_id=project_of(body.project_id, body.tenant_id),
        ethertype=body.ethertype or "IPv4",
        protocol=None if body.protocol is None else str(body.protocol),
        port_range_min=_port(body.port_range_min),
        port_range_max=_port(body.port_range_max),
        remote_ip_prefix=body.remote_ip_prefix or None,
        remote_group_id=None if body.remote_group_id is None else SecurityGroupId(body.remote_group_id.lower()),
        description=body.description or "",
    )


def _port(value: int | str | None) -> int | None:
    """Numbers may come as text, as Neutron takes them too."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 10):
            raise SecurityGroupInvalidPortValue(port=value[:50])
        return int(value)
    return value


def _views(call: Call, tx: Tx, statement: sa.Select[Any]) -> list[View]:
    return [rule_view(rule) for rule in security_group_rules.read_rules(tx, statement)]


def _not_found(rule_id: str) -> SecurityGroupRuleNotFound:
    return SecurityGroupRuleNotFound(id=rule_id)


SECURITY_GROUP_RULES = Noun(
    plural="security_group_rules",
    columns=security_group_rules.COLUMNS,
    select=security_group_rules.select_rules,
    views=_views,
    not_found=_not_found,
)
