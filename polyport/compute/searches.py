"""Looking for servers: what a caller filters by becomes one statement. Regular expressions are matched here, not in
the database, over names and addresses alone."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from polyport.compute import patterns, states
from polyport.compute.nics import text_of
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.compute import nics, servers
from polyport.db.tables.network import addresses

COLUMNS: dict[str, sa.ColumnElement[Any]] = {
    "uuid": servers.c.id,
    "access_ip_v4": servers.c.access_ip_v4,
    "access_ip_v6": servers.c.access_ip_v6,
    "auto_disk_config": servers.c.disk_config,
    "availability_zone": servers.c.availability_zone,
    "config_drive": servers.c.config_drive,
    "created_at": servers.c.number,  # the order is the same, and an index has it
    "display_description": servers.c.description,
    "display_name": servers.c.name,
    "host": servers.c.host,
    "hostname": servers.c.hostname,
    "image_ref": servers.c.image_id,
    "instance_type_id": servers.c.flavor_number,
    "key_name": servers.c.key_name,
    "launch_index": servers.c.launch_index,
    "launched_at": servers.c.launched_at,
    "launched_on": servers.c.host,
    "locked": servers.c.locked,
    "locked_by": servers.c.locked_by,
    "node": servers.c.host,
    "power_state": servers.c.power_state,
    "progress": sa.literal(0),
    "project_id": servers.c.project_id,
    "task_state": servers.c.task_state,
    "terminated_at": servers.c.deleted_at,
    "updated_at": servers.c.updated_at,
    "user_id": servers.c.user_id,
    "vm_state": servers.c.vm_state,
}
"""What lists can be sorted by, in the words of the API."""

NUMBER = servers.c.number


class Search(Struct, frozen=True, kw_only=True):
    """What servers are looked for; what is None is not asked."""

    all_projects: bool = False
    project_id: str | None = None
    deleted: bool | None = False
    """None: those that are there and those that are no more."""
    equal: dict[str, str | int | bool | None] = {}
    """Column of the table -> value."""
    statuses: Sequence[str] | None = None
    flavor_id: str | None = None
    name: str | None = None
    """A regular expression, as are `ip` and `ip6`."""
    ip: str | None = None
    ip6: str | None = None
    changed_since: str | None = None
    changed_before: str | None = None
    tags: Sequence[str] = ()
    tags_any: Sequence[str] = ()
    not_tags: Sequence[str] = ()
    not_tags_any: Sequence[str] = ()


def conditions(tx: Tx, context: Context, search: Search) -> sa.ColumnElement[bool]:
    """What is looked for, within what the caller may see, as a condition on the table. Raises `PatternInvalid`."""
    found = sa.select(servers.c.id).where(*_conditions(context, search))
    if search.name is not None and not patterns.is_plain(search.name):
        matches = patterns.matcher(search.name)
        rows: Sequence[Any] = tx.all(found.add_columns(servers.c.name))
        found = found.where(servers.c.id.in_([row[0] for row in rows if matches(row[1])]))
    for expression, version in ((search.ip, 4), (search.ip6, 6)):
        if expression is not None:
            found = found.where(servers.c.id.in_(_having_address(tx, found, expression, version)))
    return sa.true() if found.whereclause is None else found.whereclause


def marker_row(tx: Tx, context: Context, server_id: str) -> dict[str, Any] | None:
    """What the server a page begins after has in each column it may be sorted by; None where it is not there."""
    statement = sa.select(*(column.label(name) for name, column in COLUMNS.items()), servers.c.number)
    if not context.is_admin:
        statement = statement.where(servers.c.project_id == context.project_id)
    row = tx.first(statement.where(servers.c.id == server_id))
    return None if row is None else dict(row._mapping)


def _conditions(context: Context, search: Search) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if not search.all_projects:
        found.append(servers.c.project_id == context.project_id)
    elif search.project_id is not None:
        found.append(servers.c.project_id == search.project_id)
    if search.deleted is not None:
        found.append(servers.c.deleted_at.is_not(None) if search.deleted else servers.c.deleted_at.is_(None))
    for name, value in search.equal.items():
        column = servers.c[name]
        found.append(column.is_(None) if value is None else column == value)
    if search.statuses is not None:
        found.append(sa.or_(sa.false(), *(_of_status(status) for status in search.statuses)))
    if search.flavor_id is not None:
        found.append(servers.c.flavor["id"].as_string() == search.flavor_id)
    if search.name is not None and patterns.is_plain(search.name):
        found.append(servers.c.name.icontains(search.name, autoescape=True))
    if search.changed_since is not None:
        found.append(servers.c.updated_at >= search.changed_since)
    if search.changed_before is not None:
        found.append(servers.c.updated_at <= search.changed_before)
    found += _tag_conditions(search)
    return found


def _of_status(status: str) -> sa.ColumnElement[bool]:
    choices = []
    for vm_state, tasks, other_tasks in states.states_of(status):
        choice = servers.c.vm_state == vm_state
        if tasks is not None:
            choice = choice & servers.c.task_state.in_(sorted(task for task in tasks if task))
        elif other_tasks:
            free = servers.c.task_state.is_(None)
            choice = choice & (free | servers.c.task_state.not_in(sorted(task for task in other_tasks if task)))
        choices.append(choice)
    return sa.or_(sa.false(), *choices)


def _tag_conditions(search: Search) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if search.tags:
        found.append(_tags_among(search.tags) == len(set(search.tags)))
    if search.tags_any:
        found.append(_tags_among(search.tags_any) > 0)
    if search.not_tags:
        found.append(_tags_among(search.not_tags) < len(set(search.not_tags)))
    if search.not_tags_any:
        found.append(_tags_among(search.not_tags_any) == 0)
    return found


def _tags_among(wanted: Sequence[str]) -> sa.ScalarSelect[int]:
    """How many of these tags a server has: one subquery and one parameter, however many they are. A condition for each
    would be too deep for the database."""
    own = sa.func.json_each(servers.c.tags).table_valued("value", name="own")
    asked = sa.func.json_each(msgspec.json.encode(wanted).decode()).table_valued("value", name="asked")
    return sa.select(sa.func.count()).where(own.c.value.in_(sa.select(asked.c.value))).scalar_subquery()


def _having_address(tx: Tx, found: sa.Select[Any], expression: str, version: int) -> list[str]:
    """Which of these servers have an address that begins as the expression says."""
    begins = patterns.matcher(expression, from_start=True)
    rows: Sequence[Any] = tx.all(
        sa.select(nics.c.server_id, addresses.c.address)
        .join(addresses, addresses.c.port_id == nics.c.port_id)
        .where(nics.c.server_id.in_(found))
    )
    matching = {}
    for server_id, stored in rows:
        text = text_of(stored)
        if (6 if ":" in text else 4) == version and begins(text):
            matching[server_id] = True
    return list(matching)
