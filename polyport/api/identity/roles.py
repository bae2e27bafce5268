"""`/v3/roles`, and the rules by which roles imply others."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from polyport.api.identity.fields import Name, Text, body_of, check_options, filtered, list_view
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.identity import roles
from polyport.identity.roles import IMPLIED, Role, RoleChange
from polyport.web.calls import Call, Reply


class DomainRole(Invalid):
    """Invalid input for field/attribute domain_id. Roles of a domain are not supported."""


class CreateRole(Struct, frozen=True, kw_only=True):
    name: Name
    domain_id: str | None = None
    description: Text | None = None
    options: dict[str, Any] = {}


class UpdateRole(Struct, frozen=True, kw_only=True):
    name: Name | UnsetType = UNSET
    domain_id: str | None = None
    description: Text | UnsetType | None = UNSET
    options: dict[str, Any] = {}


def create(call: Call, tx: Tx) -> Reply:
    wanted, extra = body_of(call, "role", CreateRole)
    _check(wanted)
    role = roles.create_role(tx, wanted.name, description=wanted.description or "", extra=extra)
    return Reply(status=201, body={"role": role_view(call, role)})


def index(call: Call, tx: Tx) -> Reply:
    """Roles that belong to a domain do not exist: a list of those is empty."""
    found = [] if call.query.get("domain_id") else roles.list_roles(tx)
    views = filtered(call.query, [role_view(call, role) for role in found], ("name",))
    return Reply(body=list_view(call, "roles", views))


def show(call: Call, tx: Tx) -> Reply:
    return Reply(body={"role": role_view(call, roles.get_role(tx, call.params["id"]))})


def update(call: Call, tx: Tx) -> Reply:
    wanted, extra = body_of(call, "role", UpdateRole)
    _check(wanted)
    change = RoleChange(
        name=wanted.name,
        description=wanted.description or "" if wanted.description is not UNSET else UNSET,
        extra=extra,
    )
    return Reply(body={"role": role_view(call, roles.update_role(tx, call.params["id"], change))})


def delete(call: Call, tx: Tx) -> Reply:
    roles.delete_role(tx, call.params["id"])
    return Reply(status=204)


def list_inferences(call: Call, tx: Tx) -> Reply:
    by_name = {role.name: role for role in roles.list_roles(tx)}
    views = [
        {
            "prior_role": _short(call, by_name[prior]),
            "implies": [_short(call, by_name[name]) for name in implied],
        }
        for prior, implied in IMPLIED.items()
    ]
    return Reply(body={"role_inferences": views, "links": {"self": call.base_url + call.path}})


def role_view(call: Call, role: Role) -> dict[str, Any]:
    return {
        **role.extra,
        "id": role.id,
        "name": role.name,
        "domain_id": None,
        "description": role.description,
        "options": {},
        "links": {"self": f"{call.base_url}/v3/roles/{role.id}"},
    }


def _short(call: Call, role: Role) -> dict[str, Any]:
    view = role_view(call, role)
    return {name: view[name] for name in ("id", "name", "description", "links")}


def _check(wanted: CreateRole | UpdateRole) -> None:
    if wanted.domain_id is not None:
        raise DomainRole
    check_options(wanted.options, frozenset())
