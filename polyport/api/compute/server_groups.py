"""`/os-server-groups`"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from polyport.api.compute.fields import Name, Number, check_query, number
from polyport.api.compute.microversions import SERVER_GROUP_OWNER, SERVER_GROUP_POLICY, SOFT_AFFINITY
from polyport.compute import server_groups
from polyport.compute.server_groups import ServerGroup
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.policy import member, reader
from polyport.web.bodies import InvalidField, decode
from polyport.web.calls import Call, Reply
from polyport.web.routes import delete, get, post

Policy: TypeAlias = Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]
_MOST = 1000


class RulesOfOtherPolicy(Invalid):
    """Only anti-affinity policy supports rules."""


class GroupBody(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Name
    policies: Annotated[list[Policy], Meta(min_length=1, max_length=1)]


class CreateGroup(Struct, forbid_unknown_fields=True, kw_only=True):
    server_group: GroupBody


class Rules(Struct, forbid_unknown_fields=True, kw_only=True):
    max_server_per_host: Number | UnsetType = UNSET


class GroupBodyWithPolicy(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Name
    policy: Policy
    rules: Rules | UnsetType = UNSET


class CreateGroupWithPolicy(Struct, forbid_unknown_fields=True, kw_only=True):
    server_group: GroupBodyWithPolicy


def list_groups(call: Call, tx: Tx) -> Reply:
    check_query(call, ("all_projects", "limit", "offset"))
    found = server_groups.list_groups(
        tx,
        call.context,
        all_projects=call.context.is_admin and "all_projects" in call.query,
        limit=min(call.query.integer("limit") or _MOST, _MOST),
        offset=call.query.integer("offset") or 0,
    )
    return Reply(body={"server_groups": [group_view(call, group) for group in found]})


def show(call: Call, tx: Tx) -> Reply:
    group = server_groups.get_group(tx, call.context, call.params["group_id"])
    return Reply(body={"server_group": group_view(call, group)})


def create(call: Call, tx: Tx) -> Reply:
    rules: dict[str, int] = {}
    if call.version in SERVER_GROUP_POLICY:
        body = call.decode(CreateGroupWithPolicy).server_group
        name, policy = body.name, body.policy
        if body.rules is not UNSET:
            if policy != "anti-affinity":
                raise RulesOfOtherPolicy
            if body.rules.max_server_per_host is not UNSET:
                most = number(body.rules.max_server_per_host, "max_server_per_host", least=1)
                rules = {"max_server_per_host": most}
    else:
        old = decode(call.body, CreateGroup).server_group
        name, policy = old.name, old.policies[0]
        if policy.startswith("soft-") and call.version not in SOFT_AFFINITY:
            reason = f"'{policy}' is not one of ['anti-affinity', 'affinity']"
            raise InvalidField(field="policies[0]", value=policy, reason=reason)
    group = server_groups.create_group(tx, call.context, name, policy, rules)
    return Reply(body={"server_group": group_view(call, group)})


def delete_group(call: Call, tx: Tx) -> Reply:
    server_groups.delete_group(tx, call.context, call.params["group_id"])
    return Reply(status=204)


def group_view(call: Call, group: ServerGroup) -> dict[str, Any]:
    view: dict[str, Any] = {"id": group.id, "name": group.name, "members": group.members}
    if call.version in SERVER_GROUP_POLICY:
        view |= {"policy": group.policy, "rules": group.rules}
    else:
        view |= {"policies": [group.policy], "metadata": {}}
    if call.version in SERVER_GROUP_OWNER:
        view |= {"project_id": group.project_id, "user_id": group.user_id}
    return view


ROUTES = (
    get("/os-server-groups", list_groups, reader),
    get("/os-server-groups/{group_id}", show, reader),
    post("/os-server-groups", create, member),
    delete("/os-server-groups/{group_id}", delete_group, member),
)
