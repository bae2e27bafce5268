"""Domains: the name spaces of projects and users."""

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy.exc import IntegrityError

from polyport.db.engine import Tx
from polyport.db.tables.identity import assignments, domains, projects, tokens, users
from polyport.errors import Conflict, Forbidden, NotFound
from polyport.identity.generation import identity_changed
from polyport.ids import new_hex

DEFAULT = "default"


class DomainNotFound(NotFound):
    """Could not find domain: {id}."""


class DomainNameTaken(Conflict):
    """It is not permitted to have two domains with the same name: {name}."""


class DomainEnabled(Forbidden):
    """Cannot delete a domain that is enabled, please disable it first."""


class DefaultDomainKept(Forbidden):
    """The default domain cannot be disabled or deleted."""


class Domain(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    description: str
    enabled: bool
    tags: list[str]
    extra: dict[str, Any]


class DomainChange(Struct, frozen=True, kw_only=True):
    """What of a domain shall change; `extra` holds attributes of the client's own, None takes one away."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    extra: dict[str, Any] = {}


def create_domain(
    tx: Tx,
    name: str,
    *,
    id: str | None = None,
    description: str = "",
    enabled: bool = True,
    tags: list[str] | None = None,
    extra: dict[str, Any] | None = None,
) -> Domain:
    """Raises `DomainNameTaken`."""
    domain = Domain(
        id=id or new_hex(), name=name, description=description, enabled=enabled, tags=tags or [], extra=extra or {}
    )
    try:
        tx.execute(sa.insert(domains), msgspec.structs.asdict(domain))
    except IntegrityError as error:
        raise DomainNameTaken(name=name) from error
    return domain


def get_domain(tx: Tx, id: str) -> Domain:
    """Raises `DomainNotFound`."""
    row = tx.first(sa.select(domains).where(domains.c.id == id))
    if row is None:
        raise DomainNotFound(id=id)
    return _read(row)


def find_domain(tx: Tx, id: str | None, name: str | None) -> Domain:
    """A domain by id, else by name: by just this one, or by the one there is in other letters, as Keystone finds it in
    its usual database (many a `clouds.yaml` says `default`). Raises `DomainNotFound`."""
    if id is not None:
        return get_domain(tx, id)
    rows = tx.all(sa.select(domains).where(sa.func.lower(domains.c.name) == sa.func.lower(name)))
    row = next((row for row in rows if row.name == name), rows[0] if len(rows) == 1 else None)
    if row is None:
        raise DomainNotFound(id=name)
    return _read(row)


def list_domains(tx: Tx, *, ids: list[str] | None = None) -> list[Domain]:
    """All domains, or those with one of `ids`, by name."""
    statement = sa.select(domains).order_by(domains.c.name)
    if ids is not None:
        statement = statement.where(domains.c.id.in_(ids))
    return [_read(row) for row in tx.all(statement)]


def update_domain(tx: Tx, id: str, change: DomainChange) -> Domain:
    """The tokens of a disabled domain, of its users and for its projects are gone for good. Nobody could log in to a
    cloud whose default domain is disabled, and nobody enable it again.

    Raises `DomainNotFound`, `DomainNameTaken`, `DefaultDomainKept`.
    """
    domain = get_domain(tx, id)
    if id == DEFAULT and change.enabled is False:
        raise DefaultDomainKept
    names = ("name", "description", "enabled", "tags")
    values = {name: getattr(change, name) for name in names if getattr(change, name) is not UNSET}
    values["extra"] = merged(domain.extra, change.extra)
    try:
        tx.execute(sa.update(domains).where(domains.c.id == id).values(**values))
    except IntegrityError as error:
        raise DomainNameTaken(name=change.name) from error
    if change.enabled is False:
        of_users = tokens.c.user_id.in_(sa.select(users.c.id).where(users.c.domain_id == id))
        for_projects = tokens.c.project_id.in_(sa.select(projects.c.id).where(projects.c.domain_id == id))
        tx.execute(sa.delete(tokens).where(sa.or_(tokens.c.domain_id == id, of_users, for_projects)))
    identity_changed(tx)
    return get_domain(tx, id)


def delete_domain(tx: Tx, id: str) -> None:
    """Delete a disabled domain with its users and projects.

    Raises `DomainNotFound`, `DomainEnabled`, `DefaultDomainKept`.
    """
    domain = get_domain(tx, id)
    if id == DEFAULT:
        raise DefaultDomainKept
    if domain.enabled:
        raise DomainEnabled
    own = sa.select(projects.c.id).where(projects.c.domain_id == id)
    tx.execute(
        sa.delete(assignments).where(
            sa.or_(
                sa.and_(assignments.c.target == "project", assignments.c.target_id.in_(own)),
                sa.and_(assignments.c.target == "domain", assignments.c.target_id == id),
            )
        )
    )
    tx.execute(sa.delete(users).where(users.c.domain_id == id))
    tx.execute(sa.update(projects).where(projects.c.domain_id == id).values(parent_id=None))
    tx.execute(sa.delete(projects).where(projects.c.domain_id == id))
    tx.execute(sa.delete(domains).where(domains.c.id == id))
    identity_changed(tx)


def merged(had: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The client's own attributes after a change; None takes one away."""
    return {name: value for name, value in {**had, **change}.items() if value is not None}


def _read(row: sa.Row[Any]) -> Domain:
    return Domain(
        id=row.id, name=row.name, description=row.description, enabled=row.enabled, tags=row.tags, extra=row.extra
    )
