"""`/servers/{id}/os-instance-actions`: what was done to a server, the newest first."""

from typing import Any

from polyport.api.compute.fields import check_query
from polyport.api.compute.microversions import (
    ACTION_EVENT_DETAILS,
    ACTION_EVENT_HOST,
    ACTION_EVENTS_FOR_ALL,
    ACTIONS_OF_DELETED,
    ACTIONS_PAGING,
    CHANGES_BEFORE,
)
from polyport.api.compute.server_lists import time_of
from polyport.api.compute.server_views import host_id_view
from polyport.api.compute.servers import the_server
from polyport.compute import history
from polyport.compute.history import Action, Event
from polyport.compute.servers import Server
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.policy import reader
from polyport.web.calls import Call, Reply
from polyport.web.paging import Page, links
from polyport.web.routes import get

MOST = 1000


class MarkerNotFound(Invalid):
    """marker [{marker}] not found"""


def list_actions(call: Call, tx: Tx) -> Reply:
    server = the_server(call, tx, deleted=call.version in ACTIONS_OF_DELETED)
    if call.version not in ACTIONS_PAGING:
        found = history.list_actions(tx, server.id)
        return Reply(body={"instanceActions": [action_view(call, action) for action in found]})
    allowed = ("limit", "marker", "changes-since", "changes-before")
    check_query(call, allowed if call.version in CHANGES_BEFORE else allowed[:3])
    limit = min(call.query.integer("limit") or MOST, MOST)
    marker = call.query.get("marker")
    try:
        found = history.list_actions(
            tx,
            server.id,
            limit=limit,
            marker=marker,
            since=time_of(call, "changes-since"),
            before=time_of(call, "changes-before"),
        )
    except history.ActionNotFound as error:
        raise MarkerNotFound(marker=(marker or "")[:100]) from error
    body: dict[str, Any] = {"instanceActions": [action_view(call, action) for action in found]}
    ids = [action.request_id for action in found]
    following = [link for link in links(call, "servers", Page(limit=limit), ids) if link["rel"] == "next"]
    if following:
        body["links"] = following
    return Reply(body=body)


def show(call: Call, tx: Tx) -> Reply:
    server = the_server(call, tx, deleted=call.version in ACTIONS_OF_DELETED)
    action = history.read_action(tx, server.id, call.params["request_id"])
    view = action_view(call, action)
    if call.context.is_admin or call.version in ACTION_EVENTS_FOR_ALL:
        view["events"] = [event_view(call, server, event) for event in history.events_of(tx, action)]
    return Reply(body={"instanceAction": view})


def action_view(call: Call, action: Action) -> dict[str, Any]:
    view: dict[str, Any] = {
        "action": action.action,
        "instance_uuid": action.server_id,
        "request_id": action.request_id,
        "user_id": action.user_id,
        "project_id": action.project_id,
        "start_time": action.started_at,
        "message": action.message,
    }
    if call.version in ACTIONS_PAGING:
        view["updated_at"] = action.updated_at
    return view


def event_view(call: Call, server: Server, event: Event) -> dict[str, Any]:
    view: dict[str, Any] = {
        "event": event.event,
        "start_time": event.started_at,
        "finish_time": event.finished_at,
        "result": event.result,
    }
    if call.context.is_admin or call.version not in ACTION_EVENTS_FOR_ALL:
        view["traceback"] = None
    if call.version in ACTION_EVENT_HOST:
        view["hostId"] = host_id_view(server.project_id, event.host or "")
        if call.context.is_admin:
            view["host"] = event.host
    if call.version in ACTION_EVENT_DETAILS:
        view["details"] = event.details
    return view


ROUTES = (
    get("/servers/{server_id}/os-instance-actions", list_actions, reader),
    get("/servers/{server_id}/os-instance-actions/{request_id}", show, reader),
)
