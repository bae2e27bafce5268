"""Role assignments: `/v3/{projects|domains|system}/.../roles` and the list of them all."""

from typing import Any

from polyport.api.identity.fields import list_view
from polyport.api.identity.roles import role_view
from polyport.db.engine import Tx
from polyport.identity import assignments
from polyport.identity.assignments import SYSTEM, Assignment, Target
from polyport.identity.domains import list_domains
from polyport.identity.projects import list_projects
from polyport.identity.roles import list_roles
from polyport.identity.users import users_of
from polyport.web.calls import Call, Reply


class Assignments:
    """The calls for one kind of target; its id is the path's open part of that name."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def index(self, call: Call, tx: Tx) -> Reply:
        found = assignments.assigned_roles(tx, call.params["user_id"], self._target, self._id(call))
        return Reply(body=list_view(call, "roles", [role_view(call, role) for role in found]))

    def check(self, call: Call, tx: Tx) -> Reply:
        user_id, role_id = call.params["user_id"], call.params["role_id"]
        assignments.check_assigned(tx, user_id, self._target, self._id(call), role_id)
        return Reply(status=204)

    def add(self, call: Call, tx: Tx) -> Reply:
        user_id, role_id = call.params["user_id"], call.params["role_id"]
        assignments.assign(tx, user_id, self._target, self._id(call), role_id)
        return Reply(status=204)

    def remove(self, call: Call, tx: Tx) -> Reply:
        user_id, role_id = call.params["user_id"], call.params["role_id"]
        assignments.unassign(tx, user_id, self._target, self._id(call), role_id)
        return Reply(status=204)

    def _id(self, call: Call) -> str:
        return SYSTEM if self._target == "system" else call.params["target_id"]


def list_all(call: Call, tx: Tx) -> Reply:
    """There are no groups and nothing is inherited, so a list of such assignments is empty."""
    query = call.query
    target, target_id = _wanted_target(call)
    found: list[Assignment] = []
    if not query.get("group.id") and not query.get("scope.OS-INHERIT:inherited_to"):
        found = assignments.list_assignments(
            tx,
            user_id=query.get("user.id"),
            role_id=query.get("role.id"),
            target=target,
            target_id=target_id,
            effective=_flag(call, "effective"),
        )
    names = _names(tx, found) if _flag(call, "include_names") else None
    views = [_assignment_view(call, one, names) for one in found]
    return Reply(body=list_view(call, "role_assignments", views))


def _wanted_target(call: Call) -> tuple[Target | None, str | None]:
    if (project_id := call.query.get("scope.project.id")) is not None:
        return "project", project_id
    if (domain_id := call.query.get("scope.domain.id")) is not None:
        return "domain", domain_id
    if call.query.get("scope.system") is not None:
        return "system", SYSTEM
    return None, None


def _flag(call: Call, name: str) -> bool:
    """A parameter that means yes by being there, unless it says no."""
    return name in call.query and (call.query.get(name) or "1").lower() not in ("0", "false")


Names = dict[tuple[str, str], dict[str, Any]]


def _names(tx: Tx, found: list[Assignment]) -> Names:
    """(kind, id) -> what is said of it where names are wanted too."""
    domains = {domain.id: {"id": domain.id, "name": domain.name} for domain in list_domains(tx)}
    names: Names = {("domain", id_): view for id_, view in domains.items()}
    for role in list_roles(tx):
        names["role", role.id] = {"id": role.id, "name": role.name}
    for user in users_of(tx, sorted({one.user_id for one in found})).values():
        names["user", user.id] = {"id": user.id, "name": user.name, "domain": domains[user.domain_id]}
    ids = sorted({one.target_id for one in found if one.target == "project"})
    for project in list_projects(tx, ids=ids):
        domain = domains[project.domain_id]
        names["project", project.id] = {"id": project.id, "name": project.name, "domain": domain}
    return names


def _assignment_view(call: Call, one: Assignment, names: Names | None) -> dict[str, Any]:
    def ref(kind: str, id_: str) -> dict[str, Any]:
        return {"id": id_} if names is None else names.get((kind, id_), {"id": id_})

    if one.target == "system":
        scope: dict[str, Any] = {"system": {"all": True}}
        path = f"/v3/system/users/{one.user_id}/roles/"
    else:
        scope = {one.target: ref(one.target, one.target_id)}
        path = f"/v3/{one.target}s/{one.target_id}/users/{one.user_id}/roles/"
    links = {"assignment": call.base_url + path + (one.implied_by or one.role_id)}
    if one.implied_by is not None:
        links["prior_role"] = f"{call.base_url}/v3/prior_role/{one.implied_by}/implies/{one.role_id}"
    return {"role": ref("role", one.role_id), "user": ref("user", one.user_id), "scope": scope, "links": links}
