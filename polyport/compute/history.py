"""What was done to servers: one action for each request, one event for what a host had to do about it.

Actions stay when their server is deleted: they can be read from microversion 2.21 on.
"""

import sys
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.compute import server_actions, server_events
from polyport.db.tables.metadata import now
from polyport.errors import NotFound
from polyport.ids import HostName, ServerId, new_id

ALL = sys.maxsize
"""The revision of a plan that has everything."""

MOST_WORDS = 1000
"""Characters of an error that are kept."""


class ActionNotFound(NotFound):
    """Action for request_id {request_id} on instance {server_id} not found"""


class Action(Struct, frozen=True):
    """One request: who asked for what, when. `message` is `Error` where it failed."""

    id: int
    server_id: str
    action: str
    request_id: str
    user_id: str
    project_id: str
    started_at: str
    updated_at: str
    finished_at: str | None
    message: str | None


class Event(Struct, frozen=True):
    """What a host did for an action; `details` say in a user's words why it failed."""

    id: int
    action_id: int
    event: str
    started_at: str
    finished_at: str | None
    result: str | None
    host: str | None
    details: str | None


def record_action(
    tx: Tx,
    context: Context,
    server_ids: Sequence[ServerId],
    action: str,
    *,
    event: str | None = None,
    host: str | None = None,
    waits: bool = True,
) -> None:
    """Write down a request for each of these servers; `waits`: its event is finished by a host's report about the plan
    of this transaction, or about a later one."""
    at = now()
    revision = tx.revision() if waits else 0
    for server_id in server_ids:
        action_id = _insert_action(
            tx,
            {
                "server_id": server_id,
                "action": action,
                "request_id": context.request_id,
                "user_id": context.user_id,
                "project_id": context.project_id,
                "started_at": at,
                "updated_at": at,
                "finished_at": None if waits else at,
                "message": None,
                "revision": revision,
            },
        )
        if event is not None:
            tx.execute(
                _INSERT_EVENT,
                {
                    "action_id": action_id,
                    "event": event,
                    "started_at": at,
                    "finished_at": None if waits else at,
                    "result": None if waits else "Success",
                    "host": host,
                    "details": None,
                },
            )


def finish(tx: Tx, server_ids: Sequence[ServerId], error: str | None, revision: int) -> None:
    """Finish what is open of servers up to this revision of their plans: a host has done it, or says why it could
    not."""
    at = now()
    values = {
        "servers": server_ids,
        "through": revision,
        "at": at,
        "outcome": "Success" if error is None else "Error",
        "words": None if error is None else error[:MOST_WORDS],
    }
    tx.execute(_FINISH_EVENTS, values)
    tx.execute(_FINISH_ACTIONS, {**values, "outcome": None if error is None else "Error"})


def record_event(
    tx: Tx, server_id: ServerId, host: HostName, action: str, details: str, message: str | None = None
) -> None:
    """Write down what happened without anybody asking for it: a guest that ended, a NIC that was cut off.

    Details are shown from microversion 2.84 on; a `message` always.
    """
    at = now()
    action_id = _insert_action(
        tx,
        {
            "server_id": server_id,
            "action": action,
            "request_id": f"req-{new_id()}",
            "user_id": "",
            "project_id": "",
            "started_at": at,
            "updated_at": at,
            "finished_at": at,
            "message": message,
            "revision": 0,
        },
    )
    tx.execute(
        _INSERT_EVENT,
        {
            "action_id": action_id,
            "event": f"host_{action}",
            "started_at": at,
            "finished_at": at,
            "result": "Success",
            "host": host,
            "details": details[:MOST_WORDS],
        },
    )


def list_actions(
    tx: Tx,
    server_id: ServerId,
    *,
    limit: int | None = None,
    marker: str | None = None,
    since: str | None = None,
    before: str | None = None,
) -> list[Action]:
    """The actions of a server, the newest first; `marker` is a request id. Raises `ActionNotFound` for the marker."""
    statement = sa.select(*_SHOWN).where(server_actions.c.server_id == server_id).order_by(server_actions.c.id.desc())
    if marker is not None:
        statement = statement.where(server_actions.c.id < read_action(tx, server_id, marker).id)
    if since is not None:
        statement = statement.where(server_actions.c.updated_at >= since)
    if before is not None:
        statement = statement.where(server_actions.c.updated_at <= before)
    if limit is not None:
        statement = statement.limit(limit)
    rows: Sequence[Any] = tx.all(statement)
    return [Action(*row) for row in rows]


def read_action(tx: Tx, server_id: ServerId, request_id: str) -> Action:
    """One action. Raises `ActionNotFound`."""
    row: Any = tx.first(
        sa.select(*_SHOWN)
        .where(server_actions.c.server_id == server_id, server_actions.c.request_id == request_id)
        .order_by(server_actions.c.id)
    )
    if row is None:
        raise ActionNotFound(request_id=request_id[:100], server_id=server_id)
    return Action(*row)


def events_of(tx: Tx, action: Action) -> list[Event]:
    """The events of an action, the newest first."""
    statement = (
        sa.select(server_events).where(server_events.c.action_id == action.id).order_by(server_events.c.id.desc())
    )
    rows: Sequence[Any] = tx.all(statement)
    return [Event(*row) for row in rows]


def _insert_action(tx: Tx, row: dict[str, object]) -> int:
    number = tx.execute(_INSERT_ACTION, row).lastrowid
    assert number is not None
    return number


_SHOWN = [server_actions.c[name] for name in Action.__struct_fields__]
_INSERT_ACTION = sa.insert(server_actions)
_INSERT_EVENT = sa.insert(server_events)
_open = (
    server_actions.c.server_id.in_(sa.bindparam("servers", expanding=True)),
    server_actions.c.revision <= sa.bindparam("through"),
    server_actions.c.finished_at.is_(None),
)
_OPEN = sa.select(server_actions.c.id).where(*_open)
_FINISH_EVENTS = (
    sa.update(server_events)
    .where(server_events.c.action_id.in_(_OPEN), server_events.c.finished_at.is_(None))
    .values(finished_at=sa.bindparam("at"), result=sa.bindparam("outcome"), details=sa.bindparam("words"))
)
_FINISH_ACTIONS = (
    sa.update(server_actions)
    .where(*_open)
    .values(finished_at=sa.bindparam("at"), updated_at=sa.bindparam("at"), message=sa.bindparam("outcome"))
)
