"""`/os-security-groups`, as compute had them until 2.35, and `/servers/{id}/os-security-groups`, which stayed."""

from collections.abc import Mapping, Sequence
from typing import Any

from polyport.api.compute.microversions import PROXIES, during
from polyport.api.compute.servers import the_server
from polyport.compute import nics
from polyport.db.engine import Tx
from polyport.ids import SecurityGroupId
from polyport.network import security_groups
from polyport.network.security_group_rules import SecurityGroupRule, rules_of
from polyport.network.security_groups import COLUMNS, SecurityGroup
from polyport.policy import reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import get


def list_groups(call: Call, tx: Tx) -> Reply:
    statement = security_groups.select_groups(call.context)
    if not (call.context.is_admin and "all_tenants" in call.query):
        statement = statement.where(COLUMNS["project_id"] == call.context.project_id)
    found = security_groups.read_groups(tx, statement.order_by(COLUMNS["created_at"], COLUMNS["id"]))
    return Reply(body={"security_groups": _views(tx, found)})


def show(call: Call, tx: Tx) -> Reply:
    group = security_groups.get_group(tx, call.context, call.params["group_id"])
    return Reply(body={"security_group": _views(tx, [group])[0]})


def list_of_server(call: Call, tx: Tx) -> Reply:
    """The groups of a server's ports, each once; not those of other projects, which only an administrator gives it."""
    server = the_server(call, tx)
    of_nics = [nics.group_ids(nic.security_groups) for nic in nics.of_server(tx, server.id)]
    ids = list(dict.fromkeys(group_id for group_ids in of_nics for group_id in group_ids))
    statement = security_groups.select_groups(call.context).where(COLUMNS["id"].in_(ids))
    found = {group.id: group for group in security_groups.read_groups(tx, statement)}
    return Reply(body={"security_groups": _views(tx, [found[group_id] for group_id in ids if group_id in found])})


def _views(tx: Tx, found: Sequence[SecurityGroup]) -> list[dict[str, Any]]:
    rules = rules_of(tx, [group.id for group in found])
    remote = {rule.remote_group_id for of_group in rules.values() for rule in of_group if rule.remote_group_id}
    names = security_groups.group_names(tx, remote)
    return [
        {
            "id": group.id,
            "name": group.name,
            "description": group.description,
            "tenant_id": group.project_id,
            "rules": [_rule_view(rule, names) for rule in rules.get(group.id, ()) if rule.direction == "ingress"],
        }
        for group in found
    ]


def _rule_view(rule: SecurityGroupRule, names: Mapping[SecurityGroupId, str]) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": rule.id,
        "parent_group_id": rule.security_group_id,
        "ip_protocol": rule.protocol,
        "from_port": rule.port_range_min,
        "to_port": rule.port_range_max,
        "ip_range": {},
        "group": {},
    }
    if rule.remote_group_id is not None:
        view["group"] = {"name": names[rule.remote_group_id], "tenant_id": rule.project_id}
    else:
        view["ip_range"] = {"cidr": rule.remote_ip_prefix or ("::/0" if rule.ethertype == "IPv6" else "0.0.0.0/0")}
    return view


ROUTES = (
    during(PROXIES, get("/os-security-groups", list_groups, reader)),
    during(PROXIES, get("/os-security-groups/{group_id}", show, reader)),
    get("/servers/{server_id}/os-security-groups", list_of_server, reader),
)
