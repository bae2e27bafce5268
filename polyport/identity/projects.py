"""Projects: who things belong to."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy.exc import IntegrityError

from polyport.db.engine import Tx
from polyport.db.tables.identity import assignments, projects, tokens
from polyport.errors import Conflict, Forbidden, Invalid, NotFound
from polyport.identity.domains import DEFAULT, get_domain, merged
from polyport.identity.generation import identity_changed
from polyport.ids import ProjectId, new_hex

_MOST_LEVELS = 5


class ProjectNotFound(NotFound):
    """Could not find project: {id}."""


class ProjectNameTaken(Conflict):
    """It is not permitted to have two projects with the same name in the same domain: {name}."""


class ProjectHasChildren(Forbidden):
    """Cannot delete the project {id} since it is not a leaf in the hierarchy."""


class ParentNotFound(Invalid):
    """The parent project {id} is not in the domain of the project."""


class TooManyLevels(Forbidden):
    """Max hierarchy depth of {most} levels reached for the branch of project {id}."""


class TagNotFound(NotFound):
    """Could not find project tag: {tag}."""


class Project(Struct, frozen=True, kw_only=True):
    id: ProjectId
    domain_id: str
    parent_id: str | None = None
    """None for a project right below its domain."""
    name: str
    description: str = ""
    enabled: bool = True
    tags: list[str] = []
    extra: dict[str, Any] = {}


class ProjectChange(Struct, frozen=True, kw_only=True):
    """What of a project shall change; `extra` holds attributes of the client's own, None takes one away."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    extra: dict[str, Any] = {}


def create_project(
    tx: Tx,
    name: str,
    *,
    domain_id: str = DEFAULT,
    parent_id: str | None = None,
    description: str = "",
    enabled: bool = True,
    tags: list[str] | None = None,
    extra: dict[str, Any] | None = None,
) -> Project:
    """Raises `DomainNotFound`, `ParentNotFound`, `TooManyLevels`, `ProjectNameTaken`."""
    get_domain(tx, domain_id)
    if parent_id is not None:
        _check_parent(tx, parent_id, domain_id)
    project = Project(
        id=ProjectId(new_hex()),
        domain_id=domain_id,
        parent_id=parent_id,
        name=name,
        description=description,
        enabled=enabled,
        tags=tags or [],
        extra=extra or {},
    )
    try:
        tx.execute(sa.insert(projects), msgspec.structs.asdict(project))
    except IntegrityError as error:
        raise ProjectNameTaken(name=name) from error
    return project


def get_project(tx: Tx, id: str) -> Project:
    """Raises `ProjectNotFound`."""
    row = tx.first(sa.select(projects).where(projects.c.id == id))
    if row is None:
        raise ProjectNotFound(id=id)
    return _read(row)


def find_project(tx: Tx, name: str, domain_id: str = DEFAULT) -> Project | None:
    """The project of a name in a domain, if there is one."""
    row = tx.first(sa.select(projects).where(projects.c.domain_id == domain_id, projects.c.name == name))
    return None if row is None else _read(row)


def list_projects(
    tx: Tx, *, ids: Sequence[str] | None = None, domain_id: str | None = None, name: str | None = None
) -> list[Project]:
    """All projects that fit, by name; with `ids` only those."""
    statement = sa.select(projects).order_by(projects.c.name, projects.c.id)
    if ids is not None:
        statement = statement.where(projects.c.id.in_(ids))
    if domain_id is not None:
        statement = statement.where(projects.c.domain_id == domain_id)
    if name is not None:
        statement = statement.where(projects.c.name == name)
    return [_read(row) for row in tx.all(statement)]


def update_project(tx: Tx, id: str, change: ProjectChange) -> Project:
    """A disabled project's tokens are gone for good. Raises `ProjectNotFound`, `ProjectNameTaken`."""
    project = get_project(tx, id)
    names = ("name", "description", "enabled", "tags")
    values = {name: getattr(change, name) for name in names if getattr(change, name) is not UNSET}
    values["extra"] = merged(project.extra, change.extra)
    try:
        tx.execute(sa.update(projects).where(projects.c.id == id).values(**values))
    except IntegrityError as error:
        raise ProjectNameTaken(name=change.name) from error
    if change.enabled is False:
        tx.execute(sa.delete(tokens).where(tokens.c.project_id == id))
    identity_changed(tx)
    return get_project(tx, id)


def delete_project(tx: Tx, id: str) -> None:
    """What it has in other services stays. Raises `ProjectNotFound`, `ProjectHasChildren`."""
    get_project(tx, id)
    if tx.value(sa.select(projects.c.id).where(projects.c.parent_id == id).limit(1)):
        raise ProjectHasChildren(id=id)
    tx.execute(sa.delete(assignments).where(assignments.c.target == "project", assignments.c.target_id == id))
    tx.execute(sa.delete(projects).where(projects.c.id == id))
    identity_changed(tx)


def set_tags(tx: Tx, id: str, tags: Sequence[str]) -> list[str]:
    """Give a project exactly these tags. Raises `ProjectNotFound`."""
    get_project(tx, id)
    wanted = sorted(set(tags))
    tx.execute(sa.update(projects).where(projects.c.id == id).values(tags=wanted))
    return wanted


def _check_parent(tx: Tx, parent_id: str, domain_id: str) -> None:
    above: str | None = parent_id
    for _ in range(_MOST_LEVELS - 1):
        row = tx.first(sa.select(projects.c.parent_id).where(projects.c.id == above, projects.c.domain_id == domain_id))
        if row is None:
            raise ParentNotFound(id=parent_id)
        above = row.parent_id
        if above is None:
            return
    raise TooManyLevels(most=_MOST_LEVELS, id=parent_id)


def _read(row: sa.Row[Any]) -> Project:
    return Project(
        id=row.id,
        domain_id=row.domain_id,
        parent_id=row.parent_id,
        name=row.name,
        description=row.description,
        enabled=row.enabled,
        tags=row.tags,
        extra=row.extra,
    )
