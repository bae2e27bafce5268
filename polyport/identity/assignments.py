"""Role assignments: a user has a role in a project, in a domain or on the whole system."""

from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects.sqlite import insert

from polyport.db.engine import Tx
from polyport.db.tables.identity import assignments, roles
from polyport.errors import NotFound
from polyport.identity.domains import get_domain
from polyport.identity.generation import identity_changed
from polyport.identity.projects import get_project
from polyport.identity.roles import IMPLIED, Role, get_role, list_roles
from polyport.identity.users import get_user

Target = Literal["project", "domain", "system"]
SYSTEM = "all"
"""The one id of the target `system`."""


class AssignmentNotFound(NotFound):
    """Could not find role assignment: role {role_id} of user {user_id} on {target_id}."""


class Assignment(Struct, frozen=True, kw_only=True):
    user_id: str
    target: Target
    target_id: str
    role_id: str
    implied_by: str | None = None
    """The id of the assigned role that brings this one along; None for one that was assigned itself."""


def assign(tx: Tx, user_id: str, target: Target, target_id: str, role_id: str) -> None:
    """Idempotent. Raises the NotFound of whichever is not there."""
    _check(tx, user_id, target, target_id)
    get_role(tx, role_id)
    statement = insert(assignments).on_conflict_do_nothing()
    row = {"user_id": user_id, "target": target, "target_id": target_id, "role_id": role_id}
    tx.execute(statement, row)
    identity_changed(tx)


def unassign(tx: Tx, user_id: str, target: Target, target_id: str, role_id: str) -> None:
    """Raises `AssignmentNotFound`."""
    statement = sa.delete(assignments).where(*_is(user_id, target, target_id), assignments.c.role_id == role_id)
    if tx.execute(statement).rowcount == 0:
        raise AssignmentNotFound(role_id=role_id, user_id=user_id, target_id=target_id)
    identity_changed(tx)


def check_assigned(tx: Tx, user_id: str, target: Target, target_id: str, role_id: str) -> None:
    """Raises `AssignmentNotFound` where the role is not assigned."""
    where = (*_is(user_id, target, target_id), assignments.c.role_id == role_id)
    if tx.value(sa.select(assignments.c.role_id).where(*where)) is None:
        raise AssignmentNotFound(role_id=role_id, user_id=user_id, target_id=target_id)


def assigned_roles(tx: Tx, user_id: str, target: Target, target_id: str) -> list[Role]:
    """The roles that were assigned themselves. Raises the NotFound of user or target."""
    _check(tx, user_id, target, target_id)
    ids = [row.role_id for row in tx.all(sa.select(assignments.c.role_id).where(*_is(user_id, target, target_id)))]
    return list_roles(tx, ids=ids)


def effective_roles(tx: Tx, user_id: str, target: Target, target_id: str) -> list[tuple[str, str]]:
    """(id, name) of each assigned role and of those they imply, by name."""
    rows = tx.all(_EFFECTIVE, {"user": user_id, "target": target, "target_id": target_id})
    assigned = {row.name for row in rows if row.assigned}
    have = assigned.union(*(IMPLIED.get(name, ()) for name in assigned))
    return sorted({(row.id, row.name) for row in rows if row.name in have}, key=lambda role: role[1])


def list_assignments(
    tx: Tx,
    *,
    user_id: str | None = None,
    role_id: str | None = None,
    target: Target | None = None,
    target_id: str | None = None,
    effective: bool = False,
) -> list[Assignment]:
    """All assignments that fit. With `effective` implied roles are assignments too."""
    statement = sa.select(assignments).order_by(
        assignments.c.user_id, assignments.c.target, assignments.c.target_id, assignments.c.role_id
    )
    if user_id is not None:
        statement = statement.where(assignments.c.user_id == user_id)
    if target is not None:
        statement = statement.where(assignments.c.target == target)
    if target_id is not None:
        statement = statement.where(assignments.c.target_id == target_id)
    if role_id is not None and not effective:
        statement = statement.where(assignments.c.role_id == role_id)
    found = [_read(row) for row in tx.all(statement)]
    if not effective:
        return found
    known = {role.id: role.name for role in list_roles(tx)}
    by_name = {name: role for role, name in known.items()}
    full: dict[tuple[str, str, str, str], Assignment] = {}
    for one in found:
        full[one.user_id, one.target, one.target_id, one.role_id] = one
        for name in IMPLIED.get(known[one.role_id], ()):
            implied = Assignment(
                user_id=one.user_id,
                target=one.target,
                target_id=one.target_id,
                role_id=by_name[name],
                implied_by=one.role_id,
            )
            full.setdefault((one.user_id, one.target, one.target_id, implied.role_id), implied)
    return [one for one in full.values() if role_id is None or one.role_id == role_id]


def targets_of(tx: Tx, user_id: str, target: Target) -> list[str]:
    """The ids of the projects or domains the user has a role in, or `[SYSTEM]`."""
    statement = sa.select(assignments.c.target_id).where(
        assignments.c.user_id == user_id, assignments.c.target == target
    )
    return [row.target_id for row in tx.all(statement.distinct())]


def _check(tx: Tx, user_id: str, target: Target, target_id: str) -> None:
    get_user(tx, user_id)
    if target == "project":
        get_project(tx, target_id)
    elif target == "domain":
        get_domain(tx, target_id)


def _is(user_id: str, target: Target, target_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        assignments.c.user_id == user_id,
        assignments.c.target == target,
        assignments.c.target_id == target_id,
    )


def _read(row: sa.Row[Any]) -> Assignment:
    return Assignment(user_id=row.user_id, target=row.target, target_id=row.target_id, role_id=row.role_id)


_EFFECTIVE = sa.select(
    roles.c.id,
    roles.c.name,
    sa.exists()
    .where(
        assignments.c.user_id == sa.bindparam("user"),
        assignments.c.target == sa.bindparam("target"),
        assignments.c.target_id == sa.bindparam("target_id"),
        assignments.c.role_id == roles.c.id,
    )
    .label("assigned"),
)
