"""`/os-simple-tenant-usage`"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from polyport.api.compute.fields import check_query
from polyport.api.compute.microversions import USAGE_PAGING
from polyport.compute import usage
from polyport.compute.usage import ServerUsage
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.ids import ProjectId, ServerId
from polyport.policy import PolicyNotAuthorized, admin, reader
from polyport.web.calls import Call, InvalidParameter, Reply
from polyport.web.paging import links, page_of
from polyport.web.routes import get

_QUERY = ("start", "end", "detailed", "limit", "marker")
_FORMATS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d")
_MOST = 1000


class StartAfterEnd(Invalid):
    """Invalid start time. The start time cannot occur after the end time."""


def list_usage(call: Call, tx: Tx) -> Reply:
    start, stop, found, more = _used(call, tx, None)
    detailed = call.query.get("detailed") == "1"
    body: dict[str, Any] = {
        "tenant_usages": [
            _project_view(project_id, start, stop, used, detailed=detailed) for project_id, used in found.items()
        ]
    }
    return Reply(body=body | ({"tenant_usages_links": more} if more else {}))


def show(call: Call, tx: Tx) -> Reply:
    project_id = ProjectId(call.params["project_id"])
    if project_id != call.context.project_id and not call.context.is_admin:
        raise PolicyNotAuthorized(action="os_compute_api:os-simple-tenant-usage:show")
    start, stop, found, more = _used(call, tx, project_id)
    view = _project_view(project_id, start, stop, found.get(project_id, ()), detailed=True)
    return Reply(body={"tenant_usage": view} | ({"tenant_usage_links": more} if more else {}))


def _used(
    call: Call, tx: Tx, project_id: ProjectId | None
) -> tuple[
    datetime.datetime,
    datetime.datetime,
    Mapping[ProjectId, Sequence[ServerUsage]],
    list[dict[str, str]],
]:
    check_query(call, _QUERY)
    present = datetime.datetime.now(datetime.UTC)
    stop = _time(call, "end") or present
    start = _time(call, "start") or min(present, stop)
    if start > stop:
        raise StartAfterEnd
    paging = call.version in USAGE_PAGING
    page = page_of(call.query, (), (), _MOST)
    page = replace(page, limit=page.limit or _MOST)
    found = usage.used_between(
        tx,
        start,
        stop,
        project_id=project_id,
        limit=page.limit if paging else None,
        after=ServerId(page.marker) if paging and page.marker else None,
    )
    ids = sorted(used.id for servers in found.values() for used in servers)
    more = [link for link in links(call, "usages", page, ids) if link["rel"] == "next"] if paging else []
    return start, stop, found, more


def _time(call: Call, name: str) -> datetime.datetime | None:
    text = call.query.get(name)
    if text is None:
        return None
    for form in _FORMATS:
        try:
            return datetime.datetime.strptime(text, form).replace(tzinfo=datetime.UTC)
        except ValueError:
            continue
    raise InvalidParameter(name=name, value=text[:100], reason="It is not a date and time.")


def _time_view(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%f")


def _project_view(
    project_id: ProjectId,
    start: datetime.datetime,
    stop: datetime.datetime,
    used: Sequence[ServerUsage],
    *,
    detailed: bool,
) -> dict[str, Any]:
    view: dict[str, Any] = {
        "tenant_id": project_id,
        "start": _time_view(start),
        "stop": _time_view(stop),
        "total_hours": sum(each.hours for each in used),
        "total_vcpus_usage": sum(each.hours * each.vcpus for each in used),
        "total_memory_mb_usage": sum(each.hours * each.memory_mb for each in used),
        "total_local_gb_usage": sum(each.hours * each.local_gb for each in used),
    }
    if detailed:
        view["server_usages"] = [_server_view(each) for each in used]
    return view


def _server_view(used: ServerUsage) -> dict[str, Any]:
    return {
        "instance_id": used.id,
        "name": used.name,
        "tenant_id": used.project_id,
        "state": used.state,
        "flavor": used.flavor,
        "vcpus": used.vcpus,
        "memory_mb": used.memory_mb,
        "local_gb": used.local_gb,
        "started_at": used.started_at,
        "ended_at": used.ended_at,
        "hours": used.hours,
        "uptime": used.seconds,
    }


ROUTES = (
    get("/os-simple-tenant-usage", list_usage, admin),
    get("/os-simple-tenant-usage/{project_id}", show, reader),
)
