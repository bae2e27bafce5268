"""Which images a list shows: what the caller may see, cut down by its filters."""

from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.image import images, members
from polyport.image.images import Image, read_image

FIELDS: dict[str, sa.Column[Any]] = {
    "id": images.c.id,
    "name": images.c.name,
    "status": images.c.status,
    "owner": images.c.project_id,
    "visibility": images.c.visibility,
    "protected": images.c.protected,
    "os_hidden": images.c.hidden,
    "container_format": images.c.container_format,
    "disk_format": images.c.disk_format,
    "size": images.c.size,
    "virtual_size": images.c.virtual_size,
    "checksum": images.c.checksum,
    "os_hash_algo": images.c.os_hash_algo,
    "os_hash_value": images.c.os_hash_value,
    "min_disk": images.c.min_disk,
    "min_ram": images.c.min_ram,
    "created_at": images.c.created_at,
    "updated_at": images.c.updated_at,
}
"""By the names the API has for them."""

Operator = Literal["eq", "lt", "lte", "gt", "gte", "in", "outside"]


class Condition(Struct, frozen=True):
    """One thing a field must satisfy; `values` is one value; for `in` a list, for `outside` the two ends
    of what it must not be in."""

    field: str
    operator: Operator
    values: tuple[str | int | bool, ...]


class Filters(Struct, frozen=True, kw_only=True):
    """What of the visible images is wanted."""

    visibility: str | None = None
    """One of the four; `all` for community images too; None for the ordinary list."""
    member_status: str = "accepted"
    """Which offers count as shared with the caller: a member status, or `all`."""
    hidden: bool = False
    conditions: tuple[Condition, ...] = ()
    tags: tuple[str, ...] = ()
    """All of them."""
    properties: tuple[tuple[str, str], ...] = ()


def matching(context: Context, filters: Filters) -> sa.Select[Any]:
    """The statement for a list, without order and page."""
    statement = sa.select(images).where(
        _visible(context, filters), images.c.hidden.is_(filters.hidden), *map(_clause, filters.conditions)
    )
    for tag in filters.tags:
        entry = sa.func.json_each(images.c.tags).table_valued("value")
        statement = statement.where(sa.exists(sa.select(1).select_from(entry).where(entry.c.value == tag)))
    for name, value in filters.properties:
        entry = sa.func.json_each(images.c.properties).table_valued("key", "value")
        same = sa.and_(entry.c.key == name, entry.c.value == value)
        statement = statement.where(sa.exists(sa.select(1).select_from(entry).where(same)))
    return statement


def list_images(tx: Tx, statement: sa.Select[Any]) -> list[Image]:
    """The images a statement from `matching`, ordered and cut by the caller, selects."""
    return [read_image(row) for row in tx.all(statement)]


def _visible(context: Context, filters: Filters) -> sa.ColumnElement[bool]:
    own = images.c.project_id == context.project_id
    offered = sa.select(members.c.image_id).where(members.c.member_id == context.project_id)
    if filters.member_status != "all":
        offered = offered.where(members.c.status == filters.member_status)
    shared = sa.and_(images.c.visibility == "shared", images.c.id.in_(offered))
    public = images.c.visibility == "public"
    community = images.c.visibility == "community"
    if filters.visibility == "all":
        return sa.true() if context.is_admin else sa.or_(own, shared, public, community)
    if filters.visibility is None:
        return sa.or_(own, ~community) if context.is_admin else sa.or_(own, shared, public)
    wanted = images.c.visibility == filters.visibility
    if context.is_admin or filters.visibility in ("public", "community"):
        return wanted
    return sa.and_(wanted, sa.or_(own, shared))


def _clause(condition: Condition) -> sa.ColumnElement[bool]:
    column = FIELDS[condition.field]
    value = condition.values[0] if condition.values else None
    match condition.operator:
        case "in":
            return column.in_(condition.values)
        case "eq":
            return column == value
        case "outside":
            first, last = condition.values
            return sa.or_(column < first, column > last)
        case "lt":
            return column < value
        case "lte":
            return column <= value
        case "gt":
            return column > value
        case "gte":
            return column >= value
