"""`/servers` and `/servers/detail`: filters, sorting, pages.

What a caller may filter by depends on who it is and on the microversion. A filter that exists but is not for the caller
is left aside, as OpenStack does; one that does not exist is refused from 2.75 on.
"""

import datetime
import functools
from collections.abc import Sequence
from typing import Any

import msgspec

from polyport.api.compute.fields import check_query
from polyport.api.compute.microversions import (
    CHANGES_BEFORE,
    IP6_FILTER,
    LOCKED_SEARCH,
    MEMBER_FILTERS,
    SERVER_TAGS,
    STATUS_FILTER_CHECKED,
)
from polyport.api.compute.server_views import brief_view, detail_views, shows_everything
from polyport.compute import searches, servers, states
from polyport.compute.searches import Search
from polyport.compute.servers import Server
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.policy import PolicyNotAuthorized, reader
from polyport.web.calls import Call, InvalidParameter, Reply
from polyport.web.microversions import Version
from polyport.web.paging import Page, links, page_of, paged
from polyport.web.routes import get

MOST = 1000
"""Servers in one page."""

_FOR_ALL = frozenset(("reservation_id", "name", "status", "image", "flavor", "ip", "changes-since", "all_tenants"))
_SINCE_2_83 = frozenset(
    (
        *("availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at"),
        *("power_state", "task_state", "vm_state", "progress", "user_id"),
    )
)
_TAGS = frozenset(("tags", "tags-any", "not-tags", "not-tags-any"))
_PAGING = frozenset(("limit", "marker", "sort_key", "sort_dir"))
_COLUMNS = {
    "reservation_id": "reservation_id",
    "image": "image_id",
    "image_ref": "image_id",
    "host": "host",
    "node": "host",
    "hostname": "hostname",
    "uuid": "id",
    "key_name": "key_name",
    "availability_zone": "availability_zone",
    "user_id": "user_id",
    "vm_state": "vm_state",
    "task_state": "task_state",
    "created_at": "created_at",
    "launched_at": "launched_at",
    "terminated_at": "deleted_at",
    "access_ip_v4": "access_ip_v4",
    "access_ip_v6": "access_ip_v6",
    "display_name": "name",
    "description": "description",
    "display_description": "description",
    "locked_by": "locked_by",
}
"""Filters that are one column being equal."""
_INTEGERS = {"launch_index": "launch_index", "power_state": "power_state"}
_FLAGS = {"config_drive": "config_drive", "locked": "locked"}
_WITHOUT_MEANING = frozenset(
    (
        *("auto_disk_config", "block_device_mapping", "cleaned", "ephemeral_gb", "hidden", "info_cache"),
        *("instance_type_id", "kernel_id", "launched_on", "metadata", "pci_devices", "progress", "ramdisk_id"),
        *("root_device_name", "security_groups", "services", "system_metadata", "vcpus", "vm_mode"),
    )
)
"""Names OpenStack knows too; nothing here differs in them, or they were never more than accepted."""
_OF_HOSTS = ("host", "launched_on", "node")
"""What servers are sorted by for administrators alone: the names of hosts are theirs to know."""
_NEWEST_FIRST = (("created_at", True),)
_KNOWN = (
    *sorted(_FOR_ALL | _SINCE_2_83 | _TAGS | _PAGING | _COLUMNS.keys() | _INTEGERS.keys() | _FLAGS.keys()),
    *sorted(_WITHOUT_MEANING),
    *("ip6", "changes-before", "deleted", "soft_deleted", "tenant_id", "project_id"),
)


class StatusInvalid(Invalid):
    """Invalid status value"""


class OnlyAdministrators(PolicyNotAuthorized):
    """Only administrators may list deleted instances"""


class OnlyAdministratorsSort(PolicyNotAuthorized):
    """Only administrators can sort servers by {key}"""


class MarkerNotFound(Invalid):
    """marker [{marker}] not found"""


def list_servers(call: Call, tx: Tx) -> Reply:
    found, page = _found(call, tx)
    return _reply(call, page, found, [brief_view(call, server) for server in found])


def list_details(call: Call, tx: Tx) -> Reply:
    found, page = _found(call, tx)
    return _reply(call, page, found, detail_views(call, tx, found))


def _reply(call: Call, page: Page, found: list[Server], views: Sequence[object]) -> Reply:
    body: dict[str, Any] = {"servers": views}
    if more := links(call, "servers", page, [server.id for server in found]):
        body["servers_links"] = more
    return Reply(body=body)


def _found(call: Call, tx: Tx) -> tuple[list[Server], Page]:
    check_query(call, _KNOWN)
    page = _page(call)
    search = search_of(call)
    marker = None
    if page.marker is not None:
        marker = searches.marker_row(tx, call.context, page.marker.lower())
        if marker is None:
            raise MarkerNotFound(marker=page.marker[:100])
    slim = not shows_everything(call)
    if page.sorts == _NEWEST_FIRST and search == Search(all_projects=search.all_projects):
        project_id = None if search.all_projects else call.context.project_id
        before = None if marker is None else marker["number"]
        found = servers.newest(
            tx, project_id=project_id, most=MOST if page.limit is None else page.limit, before=before, slim=slim
        )
        return found, page
    statement = servers.select_servers(slim=slim).where(searches.conditions(tx, call.context, search))
    statement = paged(statement, page, searches.COLUMNS, searches.NUMBER, marker)
    return servers.find_servers(tx, statement), page


def _page(call: Call) -> Page:
    keys = [key for key in searches.COLUMNS if key != "locked" or call.version in LOCKED_SEARCH]
    page = page_of(call.query, keys, _NEWEST_FIRST, MOST)
    for key, _ in page.sorts:
        if key in _OF_HOSTS and not call.context.is_admin:
            raise OnlyAdministratorsSort(key=key)
    if call.query.all("sort_key") and not call.query.all("sort_dir"):
        page = msgspec.structs.replace(page, sorts=tuple((name, True) for name, _ in page.sorts))
    return msgspec.structs.replace(page, limit=MOST if page.limit is None else page.limit, reverse=False)


def search_of(call: Call) -> Search:
    """What the query asks for, of what the caller may ask for. Raises errors that name the parameter."""
    allowed = _allowed(call.version, is_admin=call.context.is_admin)
    given = {name: call.query.get(name) or "" for name in call.query.names() if name in allowed}
    statuses, deleted = _statuses(call)
    changed = "changes-since" in given or "changes-before" in given
    if "deleted" in given:
        deleted = bool(call.query.boolean("deleted"))
    elif changed and deleted is False:
        deleted = None
    all_projects, project_id = _projects(call)
    return Search(
        all_projects=all_projects,
        project_id=project_id,
        deleted=deleted,
        equal=_equal(call, given),
        statuses=statuses,
        flavor_id=given.get("flavor"),
        name=given.get("name") or None,
        ip=given.get("ip") or None,
        ip6=given.get("ip6") or None,
        changed_since=time_of(call, "changes-since") if "changes-since" in given else None,
        changed_before=time_of(call, "changes-before") if "changes-before" in given else None,
        tags=_words(given, "tags"),
        tags_any=_words(given, "tags-any"),
        not_tags=_words(given, "not-tags"),
        not_tags_any=_words(given, "not-tags-any"),
    )


@functools.lru_cache(1024)
def _allowed(version: Version, *, is_admin: bool) -> frozenset[str]:
    allowed = _FOR_ALL
    if is_admin:
        allowed = frozenset(_KNOWN) - _TAGS - {"changes-before", "locked"}
    elif version in MEMBER_FILTERS:
        allowed |= _SINCE_2_83
    if version in IP6_FILTER:
        allowed |= {"ip6"}
    if version in SERVER_TAGS:
        allowed |= _TAGS
    if version in CHANGES_BEFORE:
        allowed |= {"changes-before"}
    if version in LOCKED_SEARCH:
        allowed |= {"locked"}
    return allowed


def _statuses(call: Call) -> tuple[list[str] | None, bool | None]:
    """The statuses to look for, and whether deleted servers are meant."""
    wanted = [status.upper() for status in call.query.all("status")]
    if not wanted:
        return None, False
    known = [status for status in wanted if status in states.KNOWN_STATUSES]
    if not known and call.version in STATUS_FILTER_CHECKED:
        raise StatusInvalid
    if "DELETED" in known:
        if not call.context.is_admin:
            raise OnlyAdministrators(action="")
        return known, True if known == ["DELETED"] else None
    return known, False


def _projects(call: Call) -> tuple[bool, str | None]:
    """Whether servers of all projects are meant, and of which one of them."""
    text = call.query.get("all_tenants")
    all_projects = text is not None and (text == "" or bool(call.query.boolean("all_tenants")))
    if all_projects and not call.context.is_admin:
        raise PolicyNotAuthorized(action="os_compute_api:servers:index:get_all_tenants")
    project_id = call.query.get("project_id") or call.query.get("tenant_id") or None
    return all_projects, project_id


def _equal(call: Call, given: dict[str, str]) -> dict[str, str | int | bool | None]:
    equal: dict[str, str | int | bool | None] = {}
    for name, value in given.items():
        if name in _COLUMNS:
            equal[_COLUMNS[name]] = None if name == "task_state" and value.lower() in ("", "none") else value
        elif name in _INTEGERS:
            equal[_INTEGERS[name]] = call.query.integer(name)
        elif name in _FLAGS:
            equal[_FLAGS[name]] = bool(call.query.boolean(name))
    return equal


def _words(given: dict[str, str], name: str) -> tuple[str, ...]:
    return tuple(word for word in given.get(name, "").split(",") if word)


def time_of(call: Call, name: str) -> str | None:
    """A time in the query, as times are stored. Raises `InvalidParameter` for what is no ISO 8601."""
    text = call.query.get(name)
    if text is None:
        return None
    try:
        # A plus sign in a query that was not encoded arrives as a space.
        found = datetime.datetime.fromisoformat(text.strip().replace(" 0", "+0"))
    except ValueError as error:
        raise InvalidParameter(name=name, value=text[:100], reason="It is not a 'date-time'.") from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.UTC)
    try:
        return found.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    except OverflowError as error:
        raise InvalidParameter(name=name, value=text[:100], reason="It is not a 'date-time'.") from error


ROUTES = (get("/servers", list_servers, reader), get("/servers/detail", list_details, reader))
