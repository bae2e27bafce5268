"""`/os-quota-sets` and `/os-quota-class-sets`: limits of projects, and of everybody."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from polyport import quotas
from polyport.api.compute.fields import Flag, Number, flag, number
from polyport.api.compute.microversions import (
    NO_FILE_QUOTAS,
    PERSONALITY,
    PROXIES,
    QUOTA_CLASS_NETWORKS,
    QUOTA_CLASS_SERVER_GROUPS,
)
from polyport.compute.projects import check_project
from polyport.compute.quotas import change_limits
from polyport.db.engine import Tx
from polyport.errors import Invalid, NotFound
from polyport.ids import ProjectId
from polyport.policy import PolicyNotAuthorized, admin, reader
from polyport.web.bodies import only
from polyport.web.calls import Call, Reply
from polyport.web.microversions import Version, Window
from polyport.web.routes import delete, get, put

OF_NETWORKS: Mapping[str, str] = {
    "floating_ips": "floatingip",
    "security_groups": "security_group",
    "security_group_rules": "security_group_rule",
    "fixed_ips": "fixed_ips",
}
"""The network service's limits, under the names they had when compute still had networks."""
_OF_FILES = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
_OF_GROUPS = ("server_groups", "server_group_members")

Limit: TypeAlias = Number | UnsetType
FileLimit: TypeAlias = Annotated[Number | UnsetType, only(PERSONALITY)]
NetworkLimit: TypeAlias = Annotated[Number | UnsetType, only(PROXIES)]
ClassNetworkLimit: TypeAlias = Annotated[Number | UnsetType, only(QUOTA_CLASS_NETWORKS)]


class NoUserQuotas(Invalid):
    """Quotas of single users are not supported, only those of projects."""


class NoSuchQuotaClass(NotFound):
    """Quota class {name} could not be found. There is only 'default'."""


class Limits(Struct, forbid_unknown_fields=True, kw_only=True):
    instances: Limit = UNSET
    cores: Limit = UNSET
    ram: Limit = UNSET
    metadata_items: Limit = UNSET
    key_pairs: Limit = UNSET
    server_groups: Limit = UNSET
    server_group_members: Limit = UNSET
    injected_files: FileLimit = UNSET
    injected_file_content_bytes: FileLimit = UNSET
    injected_file_path_bytes: FileLimit = UNSET
    floating_ips: NetworkLimit = UNSET
    fixed_ips: NetworkLimit = UNSET
    security_groups: NetworkLimit = UNSET
    security_group_rules: NetworkLimit = UNSET


NAMES = Limits.__struct_fields__


class QuotaSet(Limits, forbid_unknown_fields=True, kw_only=True):
    force: Flag = False


class QuotaClass(Limits, forbid_unknown_fields=True, kw_only=True):
    """Limits of networks stayed here for longer than in quota sets."""

    floating_ips: ClassNetworkLimit = UNSET
    fixed_ips: ClassNetworkLimit = UNSET
    security_groups: ClassNetworkLimit = UNSET
    security_group_rules: ClassNetworkLimit = UNSET


class UpdateQuotaSet(Struct, forbid_unknown_fields=True, kw_only=True):
    quota_set: QuotaSet


class UpdateQuotaClass(Struct, forbid_unknown_fields=True, kw_only=True):
    quota_class_set: QuotaClass


def show(call: Call, tx: Tx) -> Reply:
    project_id = _asked_project(call)
    view = limits_view(call.version, quotas.limits_of(tx, project_id))
    return Reply(body={"quota_set": {"id": project_id, **view}})


def show_defaults(call: Call, tx: Tx) -> Reply:
    view = limits_view(call.version, quotas.limits_of(tx, quotas.DEFAULTS))
    return Reply(body={"quota_set": {"id": _asked_project(call), **view}})


def show_detail(call: Call, tx: Tx) -> Reply:
    project_id = _asked_project(call)
    used = quotas.usage_of(tx, project_id)
    view: dict[str, Any] = {"id": project_id}
    for name, most in limits_view(call.version, quotas.limits_of(tx, project_id)).items():
        view[name] = {"limit": most, "in_use": used.get(OF_NETWORKS.get(name, name), 0), "reserved": 0}
    return Reply(body={"quota_set": view})


def update(call: Call, tx: Tx) -> Reply:
    wanted = call.decode(UpdateQuotaSet).quota_set
    if "user_id" in call.query:
        raise NoUserQuotas
    project_id = check_project(tx, call.params["project_id"])
    change_limits(tx, project_id, _resources(wanted), force=flag(wanted.force))
    return Reply(body={"quota_set": limits_view(call.version, quotas.limits_of(tx, project_id))})


def reset(call: Call, tx: Tx) -> Reply:
    if "user_id" in call.query:
        raise NoUserQuotas
    resources = tuple(OF_NETWORKS.get(name, name) for name in _names(call.version))
    quotas.reset_limits(tx, ProjectId(call.params["project_id"]), resources)
    return Reply(status=202)


def show_class(call: Call, tx: Tx) -> Reply:
    return Reply(body={"quota_class_set": {"id": _class_name(call), **_class_view(call, tx)}})


def update_class(call: Call, tx: Tx) -> Reply:
    _class_name(call)
    wanted = call.decode(UpdateQuotaClass).quota_class_set
    change_limits(tx, quotas.DEFAULTS, _resources(wanted), force=True)
    return Reply(body={"quota_class_set": _class_view(call, tx)})


def limits_view(version: Version, limits: Mapping[str, int], of_networks: Window = PROXIES) -> dict[str, int]:
    """Limits under the names a version has for them; what is not limited is -1."""
    return {name: limits.get(OF_NETWORKS.get(name, name), quotas.UNLIMITED) for name in _names(version, of_networks)}


def _names(version: Version, of_networks: Window = PROXIES) -> list[str]:
    """`of_networks`: the versions that have limits of networks."""
    return [
        name
        for name in NAMES
        if not (name in OF_NETWORKS and version not in of_networks)
        and not (name in _OF_FILES and version in NO_FILE_QUOTAS)
    ]


def _resources(wanted: Limits) -> dict[str, int]:
    given = {name: getattr(wanted, name) for name in NAMES}
    return {
        OF_NETWORKS.get(name, name): number(value, name, least=quotas.UNLIMITED)
        for name, value in given.items()
        if value is not UNSET
    }


def _asked_project(call: Call) -> ProjectId:
    project_id = ProjectId(call.params["project_id"])
    if project_id != call.context.project_id and not call.context.is_admin:
        raise PolicyNotAuthorized(action="os_compute_api:os-quota-sets:show")
    return project_id


def _class_name(call: Call) -> str:
    if call.params["name"] != "default":
        raise NoSuchQuotaClass(name=call.params["name"])
    return "default"


def _class_view(call: Call, tx: Tx) -> dict[str, int]:
    view = limits_view(call.version, quotas.limits_of(tx, quotas.DEFAULTS), QUOTA_CLASS_NETWORKS)
    if call.version in QUOTA_CLASS_SERVER_GROUPS:
        return view
    return {name: most for name, most in view.items() if name not in _OF_GROUPS}


ROUTES = (
    get("/os-quota-sets/{project_id}", show, reader),
    get("/os-quota-sets/{project_id}/defaults", show_defaults, reader),
    get("/os-quota-sets/{project_id}/detail", show_detail, reader),
    put("/os-quota-sets/{project_id}", update, admin),
    delete("/os-quota-sets/{project_id}", reset, admin),
    get("/os-quota-class-sets/{name}", show_class, admin),
    put("/os-quota-class-sets/{name}", update_class, admin),
)
