"""`/v3/projects` and their tags."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from polyport.api.identity.fields import (
    Id,
    ShortName,
    Tag,
    Tags,
    Text,
    Unchangeable,
    body_of,
    check_options,
    filtered,
    list_view,
)
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.identity import projects
from polyport.identity.domains import DEFAULT, DomainNotFound, get_domain
from polyport.identity.projects import Project, ProjectChange, TagNotFound
from polyport.policy import PolicyNotAuthorized
from polyport.web import bodies
from polyport.web.calls import Call, Query, Reply


class ActsAsDomain(Invalid):
    """Invalid input for field/attribute is_domain. Domains are made with POST /v3/domains."""


class OtherDomain(Invalid):
    """Invalid input for field/attribute parent_id. The parent is in another domain than {domain_id}."""


class CreateProject(Struct, frozen=True, kw_only=True):
    name: ShortName
    domain_id: Id | None = None
    parent_id: Id | None = None
    description: Text | None = None
    enabled: bool = True
    is_domain: bool = False
    tags: Tags = []
    options: dict[str, Any] = {}


class UpdateProject(Struct, frozen=True, kw_only=True):
    name: ShortName | UnsetType = UNSET
    domain_id: Id | UnsetType = UNSET
    parent_id: Id | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    is_domain: bool | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    options: dict[str, Any] = {}


class UpdateTags(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tags: Tags


def create(call: Call, tx: Tx) -> Reply:
    wanted, extra = body_of(call, "project", CreateProject)
    check_options(wanted.options, frozenset())
    if wanted.is_domain:
        raise ActsAsDomain
    domain_id, parent_id = _place_of(tx, call.context, wanted)
    project = projects.create_project(
        tx,
        wanted.name,
        domain_id=domain_id,
        parent_id=parent_id,
        description=wanted.description or "",
        enabled=wanted.enabled,
        tags=sorted(set(wanted.tags)),
        extra=extra,
    )
    return Reply(status=201, body={"project": project_view(call, project)})


def index(call: Call, tx: Tx) -> Reply:
    found = projects.list_projects(tx, domain_id=call.query.get("domain_id"), name=call.query.get("name"))
    if call.query.boolean("is_domain", False):
        found = []
    views = filtered(call.query, [project_view(call, project) for project in found], ("name", "parent_id"))
    return Reply(body=list_view(call, "projects", _tagged(call.query, views)))


def show(call: Call, tx: Tx) -> Reply:
    _check_reader(call)
    return Reply(body={"project": project_view(call, projects.get_project(tx, call.params["id"]))})


def update(call: Call, tx: Tx) -> Reply:
    wanted, extra = body_of(call, "project", UpdateProject)
    check_options(wanted.options, frozenset())
    had = projects.get_project(tx, call.params["id"])
    place = {"domain_id": had.domain_id, "parent_id": had.parent_id or had.domain_id, "is_domain": False}
    for name, value in place.items():
        if getattr(wanted, name) not in (UNSET, value):
            raise Unchangeable(name=name)
    change = ProjectChange(
        name=wanted.name,
        description=wanted.description or "" if wanted.description is not UNSET else UNSET,
        enabled=wanted.enabled,
        tags=sorted(set(wanted.tags)) if wanted.tags is not UNSET else UNSET,
        extra=extra,
    )
    return Reply(body={"project": project_view(call, projects.update_project(tx, had.id, change))})


def delete(call: Call, tx: Tx) -> Reply:
    projects.delete_project(tx, call.params["id"])
    return Reply(status=204)


def list_tags(call: Call, tx: Tx) -> Reply:
    _check_reader(call)
    return _tags_reply(call, projects.get_project(tx, call.params["id"]).tags)


def set_tags(call: Call, tx: Tx) -> Reply:
    wanted = call.decode(UpdateTags)
    return _tags_reply(call, projects.set_tags(tx, call.params["id"], wanted.tags))


def delete_tags(call: Call, tx: Tx) -> Reply:
    projects.set_tags(tx, call.params["id"], [])
    return Reply(status=204)


def check_tag(call: Call, tx: Tx) -> Reply:
    _check_reader(call)
    if call.params["tag"] not in projects.get_project(tx, call.params["id"]).tags:
        raise TagNotFound(tag=call.params["tag"])
    return Reply(status=204)


def add_tag(call: Call, tx: Tx) -> Reply:
    project = projects.get_project(tx, call.params["id"])
    tag = bodies.convert(call.params["tag"], Tag, "tag")
    bodies.convert([*project.tags, tag], Tags, "tags")
    projects.set_tags(tx, project.id, [*project.tags, tag])
    return Reply(status=201, headers={"location": call.base_url + call.path})


def remove_tag(call: Call, tx: Tx) -> Reply:
    project = projects.get_project(tx, call.params["id"])
    if call.params["tag"] not in project.tags:
        raise TagNotFound(tag=call.params["tag"])
    projects.set_tags(tx, project.id, [tag for tag in project.tags if tag != call.params["tag"]])
    return Reply(status=204)


def project_view(call: Call, project: Project) -> dict[str, Any]:
    return {
        **project.extra,
        "id": project.id,
        "name": project.name,
        "domain_id": project.domain_id,
        "parent_id": project.parent_id or project.domain_id,
        "is_domain": False,
        "description": project.description,
        "enabled": project.enabled,
        "tags": project.tags,
        "options": {},
        "links": {"self": f"{call.base_url}/v3/projects/{project.id}"},
    }


def home_domain(context: Context) -> str:
    """The domain of what a caller makes without naming one."""
    return (context.project_domain_id if context.project_id else context.user_domain_id) or DEFAULT


def _place_of(tx: Tx, context: Context, wanted: CreateProject) -> tuple[str, str | None]:
    """(domain, parent project); a parent may be named that is the domain itself."""
    if wanted.parent_id is None:
        return wanted.domain_id or home_domain(context), None
    try:
        domain_id, parent_id = get_domain(tx, wanted.parent_id).id, None
    except DomainNotFound:
        parent = projects.get_project(tx, wanted.parent_id)
        domain_id, parent_id = parent.domain_id, parent.id
    if wanted.domain_id not in (None, domain_id):
        raise OtherDomain(domain_id=wanted.domain_id)
    return domain_id, parent_id


def _check_reader(call: Call) -> None:
    if not call.context.is_admin and call.params["id"] != call.context.project_id:
        raise PolicyNotAuthorized(action="identity:get_project")


def _tags_reply(call: Call, tags: list[str]) -> Reply:
    return Reply(body={"tags": tags, "links": {"self": f"{call.base_url}/v3/projects/{call.params['id']}/tags"}})


def _tagged(query: Query, views: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The four tag filters; each takes tags with commas between them."""
    for name, fits in (
        ("tags", lambda wanted, have: wanted <= have),
        ("tags-any", lambda wanted, have: not wanted.isdisjoint(have)),
        ("not-tags", lambda wanted, have: not wanted <= have),
        ("not-tags-any", lambda wanted, have: wanted.isdisjoint(have)),
    ):
        text = query.get(name)
        if text is not None:
            wanted = set(text.split(","))
            views = [view for view in views if fits(wanted, set(view["tags"]))]
    return views
