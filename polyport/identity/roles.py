"""Roles, and which of them imply others: admin implies manager, manager member, member reader."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy.exc import IntegrityError

from polyport.db.engine import Tx
from polyport.db.tables.identity import roles
from polyport.errors import Conflict, Forbidden, NotFound
from polyport.identity.domains import merged
from polyport.identity.generation import identity_changed
from polyport.ids import new_hex

IMPLIED = {"admin": ("manager", "member", "reader"), "manager": ("member", "reader"), "member": ("reader",)}
"""By name: every role a role brings along."""
BUILT_IN = ("admin", "manager", "member", "reader", "service")


class RoleNotFound(NotFound):
    """Could not find role: {id}."""


class RoleNameTaken(Conflict):
    """Conflict occurred attempting to store role - Duplicate entry found with name {name}."""


class RoleImmutable(Forbidden):
    """The role {name} is one that policies are written for: it can neither be renamed nor deleted."""


class Role(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    description: str = ""
    extra: dict[str, Any] = {}


class RoleChange(Struct, frozen=True, kw_only=True):
    """What of a role shall change; `extra` holds attributes of the client's own, None takes one away."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    extra: dict[str, Any] = {}


def create_role(tx: Tx, name: str, *, description: str = "", extra: dict[str, Any] | None = None) -> Role:
    """Raises `RoleNameTaken`."""
    role = Role(id=new_hex(), name=name, description=description, extra=extra or {})
    try:
        tx.execute(sa.insert(roles), msgspec.structs.asdict(role))
    except IntegrityError as error:
        raise RoleNameTaken(name=name) from error
    return role


def get_role(tx: Tx, id: str) -> Role:
    """Raises `RoleNotFound`."""
    row = tx.first(sa.select(roles).where(roles.c.id == id))
    if row is None:
        raise RoleNotFound(id=id)
    return _read(row)


def find_role(tx: Tx, name: str) -> Role:
    """Raises `RoleNotFound`."""
    row = tx.first(sa.select(roles).where(roles.c.name == name))
    if row is None:
        raise RoleNotFound(id=name)
    return _read(row)


def list_roles(tx: Tx, *, ids: Sequence[str] | None = None, name: str | None = None) -> list[Role]:
    """All roles that fit, by name; with `ids` only those."""
    statement = sa.select(roles).order_by(roles.c.name)
    if ids is not None:
        statement = statement.where(roles.c.id.in_(ids))
    if name is not None:
        statement = statement.where(roles.c.name == name)
    return [_read(row) for row in tx.all(statement)]


def update_role(tx: Tx, id: str, change: RoleChange) -> Role:
    """Raises `RoleNotFound`, `RoleNameTaken`, `RoleImmutable`."""
    role = get_role(tx, id)
    if change.name is not UNSET and change.name != role.name and role.name in BUILT_IN:
        raise RoleImmutable(name=role.name)
    names = ("name", "description")
    values = {name: getattr(change, name) for name in names if getattr(change, name) is not UNSET}
    values["extra"] = merged(role.extra, change.extra)
    try:
        tx.execute(sa.update(roles).where(roles.c.id == id).values(**values))
    except IntegrityError as error:
        raise RoleNameTaken(name=change.name) from error
    identity_changed(tx)
    return get_role(tx, id)


def delete_role(tx: Tx, id: str) -> None:
    """Delete a role and every assignment of it. Raises `RoleNotFound`, `RoleImmutable`."""
    role = get_role(tx, id)
    if role.name in BUILT_IN:
        raise RoleImmutable(name=role.name)
    tx.execute(sa.delete(roles).where(roles.c.id == id))
    identity_changed(tx)


def _read(row: sa.Row[Any]) -> Role:
    return Role(id=row.id, name=row.name, description=row.description, extra=row.extra)
