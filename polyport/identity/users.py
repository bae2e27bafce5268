"""Users. Their passwords come here as hashes only (`passwords`)."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy.exc import IntegrityError

from polyport.db.engine import Tx
from polyport.db.tables.identity import tokens, users
from polyport.errors import Conflict, NotFound
from polyport.identity.domains import DEFAULT, get_domain, merged
from polyport.identity.generation import identity_changed
from polyport.identity.projects import get_project
from polyport.ids import UserId, new_hex


class UserNotFound(NotFound):
    """Could not find user: {id}."""


class UserNameTaken(Conflict):
    """It is not permitted to have two users with the same name in domain {domain_id}: {name}."""


class User(Struct, frozen=True, kw_only=True):
    id: UserId
    domain_id: str
    name: str
    default_project_id: str | None = None
    description: str | None = None
    enabled: bool = True
    options: dict[str, Any] = {}
    extra: dict[str, Any] = {}


class UserChange(Struct, frozen=True, kw_only=True):
    """What of a user shall change; `extra` holds attributes of the client's own, None takes one away."""

    name: str | UnsetType = UNSET
    default_project_id: str | UnsetType | None = UNSET
    description: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    options: dict[str, Any] | UnsetType = UNSET
    password_hash: str | UnsetType | None = UNSET
    extra: dict[str, Any] = {}


class Login(Struct, frozen=True, kw_only=True):
    """What is needed to check a password, read before it is checked."""

    user_id: UserId
    password_hash: str | None


def create_user(
    tx: Tx,
    name: str,
    *,
    domain_id: str = DEFAULT,
    password_hash: str | None = None,
    default_project_id: str | None = None,
    description: str = "",
    enabled: bool = True,
    options: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
) -> User:
    """Raises `DomainNotFound`, `ProjectNotFound`, `UserNameTaken`."""
    get_domain(tx, domain_id)
    if default_project_id is not None:
        get_project(tx, default_project_id)
    user = User(
        id=UserId(new_hex()),
        domain_id=domain_id,
        name=name,
        default_project_id=default_project_id,
        description=description,
        enabled=enabled,
        options=options or {},
        extra=extra or {},
    )
    try:
        tx.execute(sa.insert(users), {**msgspec.structs.asdict(user), "password_hash": password_hash})
    except IntegrityError as error:
        raise UserNameTaken(name=name, domain_id=domain_id) from error
    return user


def get_user(tx: Tx, id: str) -> User:
    """Raises `UserNotFound`."""
    row = tx.first(sa.select(users).where(users.c.id == id))
    if row is None:
        raise UserNotFound(id=id)
    return _read(row)


def find_user(tx: Tx, name: str, domain_id: str = DEFAULT) -> User | None:
    """The user of a name in a domain, if there is one."""
    row = tx.first(sa.select(users).where(users.c.domain_id == domain_id, users.c.name == name))
    return None if row is None else _read(row)


def get_login(tx: Tx, id: str) -> Login | None:
    """What a password of the user of this id is checked against."""
    row = tx.first(sa.select(users.c.id, users.c.password_hash).where(users.c.id == id))
    return None if row is None else Login(user_id=row.id, password_hash=row.password_hash)


def list_users(tx: Tx, *, domain_id: str | None = None, name: str | None = None) -> list[User]:
    """All users that fit, by name."""
    statement = sa.select(users).order_by(users.c.name, users.c.id)
    if domain_id is not None:
        statement = statement.where(users.c.domain_id == domain_id)
    if name is not None:
        statement = statement.where(users.c.name == name)
    return [_read(row) for row in tx.all(statement)]


def users_of(tx: Tx, ids: Sequence[str]) -> dict[str, User]:
    """The users with these ids, by id."""
    return {row.id: _read(row) for row in tx.all(sa.select(users).where(users.c.id.in_(ids)))}


def update_user(tx: Tx, id: str, change: UserChange) -> User:
    """A new password, or being disabled, ends every token of the user.

    Raises `UserNotFound`, `ProjectNotFound`, `UserNameTaken`.
    """
    user = get_user(tx, id)
    if isinstance(change.default_project_id, str):
        get_project(tx, change.default_project_id)
    names = ("name", "default_project_id", "description", "enabled", "password_hash")
    values = {name: getattr(change, name) for name in names if getattr(change, name) is not UNSET}
    if change.options is not UNSET:
        values["options"] = merged(user.options, change.options)
    values["extra"] = merged(user.extra, change.extra)
    try:
        tx.execute(sa.update(users).where(users.c.id == id).values(**values))
    except IntegrityError as error:
        raise UserNameTaken(name=change.name, domain_id=user.domain_id) from error
    if change.enabled is False or change.password_hash is not UNSET:
        tx.execute(sa.delete(tokens).where(tokens.c.user_id == id))
    identity_changed(tx)
    return get_user(tx, id)


def delete_user(tx: Tx, id: str) -> None:
    """Delete a user with its assignments and tokens. Raises `UserNotFound`."""
    if tx.execute(sa.delete(users).where(users.c.id == id)).rowcount == 0:
        raise UserNotFound(id=id)
    identity_changed(tx)


def _read(row: sa.Row[Any]) -> User:
    return User(
        id=row.id,
        domain_id=row.domain_id,
        name=row.name,
        default_project_id=row.default_project_id,
        description=row.description,
        enabled=row.enabled,
        options=row.options,
        extra=row.extra,
    )
