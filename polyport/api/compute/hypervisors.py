"""`/os-hypervisors`: the hosts, for administrators."""

from collections.abc import Sequence
from typing import Any

from polyport.api.compute.fields import check_query
from polyport.api.compute.microversions import (
    CPU_INFO_OBJECT,
    HOST_UUIDS,
    HYPERVISOR_PAGING,
    HYPERVISOR_PATTERNS,
    HYPERVISOR_USAGE,
    during,
)
from polyport.compute import hypervisors
from polyport.compute.hypervisors import Hypervisor
from polyport.db.engine import Tx
from polyport.errors import Invalid, Unsupported
from polyport.policy import admin
from polyport.web.calls import Call, Reply
from polyport.web.paging import links, page_of
from polyport.web.routes import get


class MarkerNotFound(Invalid):
    """Marker {marker} could not be found."""


class PagesOfMatches(Invalid):
    """Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported."""


class NoUptime(Unsupported):
    """The time since a host started is not known here."""


def list_brief(call: Call, tx: Tx) -> Reply:
    return _list(call, tx, detailed=False)


def list_details(call: Call, tx: Tx) -> Reply:
    return _list(call, tx, detailed=True)


def show(call: Call, tx: Tx) -> Reply:
    check_query(call, ("with_servers",))
    hypervisor = hypervisors.get_hypervisor(tx, call.params["id"])
    if call.version in HOST_UUIDS and hypervisor.id != call.params["id"]:
        raise hypervisors.HypervisorNotFound(id=call.params["id"])
    return Reply(body={"hypervisor": _with_servers(call, tx, [hypervisor], [_detail_view(call, hypervisor)])[0]})


def search(call: Call, tx: Tx) -> Reply:
    found = hypervisors.matching(tx, call.params["id"])
    return Reply(body={"hypervisors": [_brief_view(call, hypervisor) for hypervisor in found]})


def list_servers(call: Call, tx: Tx) -> Reply:
    found = hypervisors.matching(tx, call.params["id"])
    views = [_brief_view(call, hypervisor) for hypervisor in found]
    return Reply(body={"hypervisors": _add_servers(tx, found, views)})


def statistics(call: Call, tx: Tx) -> Reply:
    found = [hypervisor for hypervisor in hypervisors.list_hypervisors(tx) if hypervisor.enabled]
    usage = [_usage_view(hypervisor) for hypervisor in found]
    sums = {name: sum(each[name] for each in usage) for name in _USAGE}
    return Reply(body={"hypervisor_statistics": {"count": len(found), **sums}})


def uptime(call: Call, tx: Tx) -> Reply:
    """Old clients ask for it whenever they show a hypervisor, and go on without it only after this answer."""
    hypervisors.get_hypervisor(tx, call.params["id"])
    raise NoUptime


def _list(call: Call, tx: Tx, *, detailed: bool) -> Reply:
    check_query(call, ("limit", "marker", "hypervisor_hostname_pattern", "with_servers"))
    pattern = call.query.get("hypervisor_hostname_pattern") if call.version in HOST_UUIDS else None
    page = page_of(call.query, (), ())
    paging = call.version in HYPERVISOR_PAGING
    if pattern is not None:
        if page.limit is not None or page.marker is not None:
            raise PagesOfMatches
        found = hypervisors.matching(tx, pattern)
    else:
        found = hypervisors.list_hypervisors(tx)
    if paging and page.marker is not None:
        places = [at for at, hypervisor in enumerate(found) if _id(call, hypervisor) == page.marker]
        if not places:
            raise MarkerNotFound(marker=page.marker[:100])
        found = found[places[0] + 1 :]
    if paging and page.limit is not None:
        found = found[: page.limit]
    view = _detail_view if detailed else _brief_view
    views = _with_servers(call, tx, found, [view(call, hypervisor) for hypervisor in found])
    body: dict[str, Any] = {"hypervisors": views}
    if paging and (more := links(call, "hypervisors", page, [str(_id(call, each)) for each in found])):
        body["hypervisors_links"] = [link for link in more if link["rel"] == "next"]
    return Reply(body=body)


def _id(call: Call, hypervisor: Hypervisor) -> str | int:
    return hypervisor.id if call.version in HOST_UUIDS else hypervisor.number


def _brief_view(call: Call, hypervisor: Hypervisor) -> dict[str, Any]:
    return {
        "id": _id(call, hypervisor),
        "hypervisor_hostname": hypervisor.name,
        "state": "up" if hypervisor.up else "down",
        "status": "enabled" if hypervisor.enabled else "disabled",
    }


def _detail_view(call: Call, hypervisor: Hypervisor) -> dict[str, Any]:
    view = _brief_view(call, hypervisor) | {
        "hypervisor_type": hypervisor.kind,
        "hypervisor_version": hypervisor.version_number,
        "host_ip": None,
        "service": {
            "host": hypervisor.name,
            "id": hypervisor.service_id if call.version in HOST_UUIDS else hypervisor.number,
            "disabled_reason": hypervisor.disabled_reason,
        },
    }
    if call.version in HYPERVISOR_USAGE:
        return view | _usage_view(hypervisor) | {"cpu_info": {} if call.version in CPU_INFO_OBJECT else ""}
    return view | {"uptime": None}


_USAGE = (
    "vcpus",
    "vcpus_used",
    "memory_mb",
    "memory_mb_used",
    "free_ram_mb",
    "local_gb",
    "local_gb_used",
    "free_disk_gb",
    "disk_available_least",
    "current_workload",
    "running_vms",
)


def _usage_view(hypervisor: Hypervisor) -> dict[str, int]:
    free_memory = hypervisor.memory_mb - hypervisor.memory_mb_used
    free_disk = hypervisor.disk_gb - hypervisor.disk_gb_used
    values = (
        hypervisor.vcpus,
        hypervisor.vcpus_used,
        hypervisor.memory_mb,
        hypervisor.memory_mb_used,
        free_memory,
        hypervisor.disk_gb,
        hypervisor.disk_gb_used,
        free_disk,
        free_disk,
        0,
        hypervisor.servers,
    )
    return dict(zip(_USAGE, values, strict=True))


def _with_servers(call: Call, tx: Tx, found: Sequence[Hypervisor], views: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if call.version in HOST_UUIDS and call.query.boolean("with_servers", False):
        return _add_servers(tx, found, views)
    return views


def _add_servers(tx: Tx, found: Sequence[Hypervisor], views: list[dict[str, Any]]) -> list[dict[str, Any]]:
    on = hypervisors.servers_on(tx, [hypervisor.name for hypervisor in found])
    for hypervisor, view in zip(found, views, strict=True):
        if on[hypervisor.name]:
            view["servers"] = [{"uuid": server_id, "name": name} for server_id, name in on[hypervisor.name]]
    return views


ROUTES = (
    get("/os-hypervisors", list_brief, admin),
    get("/os-hypervisors/detail", list_details, admin),
    during(HYPERVISOR_USAGE, get("/os-hypervisors/statistics", statistics, admin)),
    get("/os-hypervisors/{id}", show, admin),
    during(HYPERVISOR_USAGE, get("/os-hypervisors/{id}/uptime", uptime, admin)),
    during(HYPERVISOR_PATTERNS, get("/os-hypervisors/{id}/search", search, admin)),
    during(HYPERVISOR_PATTERNS, get("/os-hypervisors/{id}/servers", list_servers, admin)),
)
