"""`/v2.0/quotas`. Source: Neutron's API reference, "Quotas". A project reads its own; an administrator sets them."""

import re
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from polyport.api.network.fields import one_of
from polyport.api.network.lists import View, chosen
from polyport.db.engine import Tx
from polyport.errors import NotFound
from polyport.ids import ProjectId
from polyport.network import quotas
from polyport.policy import PolicyNotAuthorized
from polyport.quotas import DEFAULTS
from polyport.web.calls import Call, Reply

Limit = Annotated[int, Meta(ge=-1, le=2**31 - 1)] | UnsetType


_PROJECT = re.compile(r"[0-9A-Za-z_-]{1,64}")


class ProjectNotFound(NotFound):
    """Project {project_id} could not be found."""


class UpdateQuota(Struct, forbid_unknown_fields=True, kw_only=True):
    network: Limit = UNSET
    subnet: Limit = UNSET
    port: Limit = UNSET
    router: Limit = UNSET
    floatingip: Limit = UNSET
    security_group: Limit = UNSET
    security_group_rule: Limit = UNSET
    check_limit: bool = True
    """Whether a limit below what is used is refused."""
    force: bool = False
    """The newer word for the opposite."""


def index(call: Call, tx: Tx) -> Reply:
    """Those of projects that have limits of their own."""
    found = [
        {**quotas.limits_of(tx, project_id), "project_id": project_id, "tenant_id": project_id}
        for project_id in quotas.projects_with_limits(tx)
    ]
    return Reply(body={"quotas": found})


def show(call: Call, tx: Tx) -> Reply:
    return Reply(body={"quota": chosen(call, _view(tx, _project(call)))})


def show_own(call: Call, tx: Tx) -> Reply:
    """What project a token is for."""
    return Reply(body={"tenant": {"tenant_id": call.context.project_id, "project_id": call.context.project_id}})


def show_default(call: Call, tx: Tx) -> Reply:
    _project(call)
    return Reply(body={"quota": _view(tx, DEFAULTS)})


def show_details(call: Call, tx: Tx) -> Reply:
    usage = quotas.usage_of(tx, _project(call))
    return Reply(
        body={"quota": {name: {"limit": of.limit, "used": of.used, "reserved": 0} for name, of in usage.items()}}
    )


def update(call: Call, tx: Tx) -> Reply:
    body = one_of(call, "quota", UpdateQuota)
    wanted = {name: value for name in quotas.RESOURCES if (value := getattr(body, name)) is not UNSET}
    project_id = _any_project(call)
    if wanted:
        quotas.set_limits(tx, project_id, wanted, check=body.check_limit and not body.force)
    return Reply(body={"quota": _view(tx, project_id)})


def delete(call: Call, tx: Tx) -> Reply:
    quotas.reset_limits(tx, _any_project(call))
    return Reply(status=204)


def _any_project(call: Call) -> ProjectId:
    """As in Neutron a project need not be known to have limits, but its id must look like one."""
    if not _PROJECT.fullmatch(call.params["id"]):
        raise ProjectNotFound(project_id=call.params["id"][:64])
    return ProjectId(call.params["id"])


def _project(call: Call) -> ProjectId:
    """The project a call is about, which is the caller's own unless that is an administrator."""
    project_id = _any_project(call)
    if project_id != call.context.project_id and not call.context.is_admin:
        raise PolicyNotAuthorized(action="get_quota")
    return project_id


def _view(tx: Tx, project_id: ProjectId) -> View:
    return dict(quotas.limits_of(tx, project_id))
