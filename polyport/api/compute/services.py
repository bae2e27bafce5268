"""`/os-services`: one service, nova-compute, on each host; it can be told to take no more servers."""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from polyport.api.compute.fields import Flag, check_query, flag
from polyport.api.compute.microversions import FORCED_DOWN, HOST_UUIDS
from polyport.compute import hypervisors
from polyport.compute.hypervisors import Hypervisor
from polyport.db.engine import Tx
from polyport.errors import Invalid, NotFound
from polyport.policy import admin
from polyport.web.bodies import decode
from polyport.web.calls import Call, Reply
from polyport.web.routes import get, put

_BINARY = "nova-compute"

Reason: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*\Z")]


class UnknownAction(NotFound):
    """Unknown action"""


class ReasonWithoutDisabling(Invalid):
    """Specifying disabled_reason requires that status is disabled."""


class NothingToChange(Invalid):
    """No updates were requested. Fields 'status' or 'forced_down' should be specified."""


class Service(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body before 2.53, where the path says what shall be done."""

    host: str
    binary: str
    disabled_reason: Reason | UnsetType = UNSET
    forced_down: Flag | UnsetType = UNSET


class ServiceChange(Struct, forbid_unknown_fields=True, kw_only=True):
    status: Literal["enabled", "disabled"] | UnsetType = UNSET
    disabled_reason: Reason | UnsetType = UNSET
    forced_down: Flag | UnsetType = UNSET


def list_services(call: Call, tx: Tx) -> Reply:
    check_query(call, ("host", "binary"))
    host, binary = call.query.get("host"), call.query.get("binary")
    found = [
        hypervisor
        for hypervisor in hypervisors.list_hypervisors(tx)
        if host in (None, hypervisor.name) and binary in (None, _BINARY)
    ]
    return Reply(body={"services": [service_view(call, hypervisor) for hypervisor in found]})


def update(call: Call, tx: Tx) -> Reply:
    if call.version not in HOST_UUIDS:
        return _act(call, tx)
    body = decode(call.body, ServiceChange)
    if body.status is UNSET and body.forced_down is UNSET:
        raise NothingToChange
    if body.disabled_reason is not UNSET and body.status != "disabled":
        raise ReasonWithoutDisabling
    values: dict[str, Any] = {}
    if body.status is not UNSET:
        reason = None if body.disabled_reason is UNSET else body.disabled_reason
        values |= {"enabled": body.status == "enabled", "disabled_reason": reason}
    if body.forced_down is not UNSET:
        values["forced_down"] = flag(body.forced_down)
    name = hypervisors.get_service(tx, id=call.params["id"]).name
    return Reply(body={"service": service_view(call, hypervisors.change_service(tx, name, values))})


def _act(call: Call, tx: Tx) -> Reply:
    """`PUT /os-services/enable` and so on."""
    action = call.params["id"]
    if action not in ("enable", "disable", "disable-log-reason", "force-down"):
        raise UnknownAction
    if action == "force-down" and call.version not in FORCED_DOWN:
        raise UnknownAction
    body = decode(call.body, Service)
    if body.binary != _BINARY:
        raise hypervisors.ServiceNotFound(id=body.binary)
    if (action == "disable-log-reason") == (body.disabled_reason is UNSET):
        raise Invalid(
            "Missing disabled reason field" if body.disabled_reason is UNSET else "Unexpected disabled_reason"
        )
    if (action == "force-down") == (body.forced_down is UNSET):
        raise Invalid("Missing forced_down field" if body.forced_down is UNSET else "Unexpected forced_down")
    view: dict[str, Any] = {"host": body.host, "binary": body.binary}
    if body.forced_down is not UNSET:
        values: dict[str, Any] = {"forced_down": flag(body.forced_down)}
        view |= values
    else:
        reason = None if body.disabled_reason is UNSET else body.disabled_reason
        values = {"enabled": action == "enable", "disabled_reason": reason}
        view["status"] = "enabled" if values["enabled"] else "disabled"
        if reason is not None:
            view["disabled_reason"] = reason
    hypervisors.change_service(tx, hypervisors.get_service(tx, host=body.host).name, values)
    return Reply(body={"service": view})


def service_view(call: Call, hypervisor: Hypervisor) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": hypervisor.service_id if call.version in HOST_UUIDS else hypervisor.number,
        "binary": _BINARY,
        "host": hypervisor.name,
        "zone": "nova",
        "status": "enabled" if hypervisor.enabled else "disabled",
        "state": "up" if hypervisor.up else "down",
        "updated_at": hypervisor.seen_at,
        "disabled_reason": hypervisor.disabled_reason,
    }
    if call.version in FORCED_DOWN:
        view["forced_down"] = hypervisor.forced_down
    return view


ROUTES = (
    get("/os-services", list_services, admin),
    put("/os-services/{id}", update, admin),
)
