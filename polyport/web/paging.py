"""Paging and sorting of lists: `limit`, `marker`, `sort_key`, `sort_dir`, as key-set conditions in SQL.

A page begins after the marker's row in the order asked for, so rows that come or go between two requests neither repeat
nor hide others. The order is made total by the table's own tie-breaker.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from msgspec import Struct

from polyport.errors import Invalid
from polyport.web.calls import Call, Query


class InvalidSortKey(Invalid):
    """Invalid input for query parameter sort_key. Value: {key}. It is not a sort key."""


class InvalidSortDirection(Invalid):
    """Invalid input for query parameter sort_dir. Value: {value}. It is neither 'asc' nor 'desc'."""


class Page(Struct, frozen=True, kw_only=True):
    """What part of a list is wanted. `limit` is None for all of it; `reverse` walks backwards from the marker."""

    limit: int | None = None
    marker: str | None = None
    sorts: tuple[tuple[str, bool], ...] = ()
    """(key, whether it descends)"""
    reverse: bool = False


def page_of(query: Query, keys: Sequence[str], default: Sequence[tuple[str, bool]], most: int = 1000) -> Page:
    """The page a query asks for; `keys` are those it may sort by. Raises errors that name the parameter.

    A `sort_key` without its own `sort_dir` takes `asc`; a limit above `most` is cut to it.
    """
    limit = query.integer("limit")
    names, directions = query.all("sort_key"), query.all("sort_dir")
    for name in names:
        if name not in keys:
            raise InvalidSortKey(key=name[:100])
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise InvalidSortDirection(value=direction[:100])
    directions += ["asc"] * (len(names) - len(directions))
    sorts = tuple((name, direction == "desc") for name, direction in zip(names, directions, strict=False))
    return Page(
        limit=None if limit is None else min(limit, most),
        marker=query.get("marker"),
        sorts=sorts or tuple(default),
        reverse=bool(query.boolean("page_reverse", False)),
    )


def paged(
    statement: sa.Select[Any],
    page: Page,
    columns: Mapping[str, sa.ColumnElement[Any]],
    tie: sa.ColumnElement[Any],
    marker: Mapping[str, Any] | None,
) -> sa.Select[Any]:
    """`statement` cut to a page. `columns` maps sort keys to columns, `marker` sort keys (and the tie-breaker's name)
    to the values of the marker's row. NULL sorts below everything."""
    sorts: dict[str, bool] = {}
    for name, descends in page.sorts:
        # A key that comes again changes nothing, but would make the condition longer with the square of its number.
        sorts.setdefault(name, descends)
    keys = [(columns[name], descends, name) for name, descends in sorts.items()]
    keys.append((tie, keys[-1][1] if keys else False, tie.key or "id"))
    if page.reverse:
        keys = [(column, not descends, name) for column, descends, name in keys]
    if marker is not None:
        statement = statement.where(_after(keys, marker))
    for column, descends, _ in keys:
        statement = statement.order_by(column.desc() if descends else column.asc())
    return statement if page.limit is None else statement.limit(page.limit)


def _after(
    keys: Sequence[tuple[sa.ColumnElement[Any], bool, str]], marker: Mapping[str, Any]
) -> sa.ColumnElement[bool]:
    """(a, b, c) after (x, y, z): a beyond x, or a = x and b beyond y, or ..."""
    # As parameters: a truth written out would be no value to compare by size.
    values = {name: None if marker[name] is None else sa.literal(marker[name], column.type) for column, _, name in keys}
    choices = []
    for at, (column, descends, name) in enumerate(keys):
        same = [other.is_not_distinct_from(values[key]) for other, _, key in keys[:at]]
        value = values[name]
        beyond: sa.ColumnElement[bool]
        if value is None:
            beyond = sa.false() if descends else column.is_not(None)
        else:
            beyond = sa.or_(column < value, column.is_(None)) if descends else column > value
        choices.append(sa.and_(*same, beyond))
    return sa.or_(*choices)


def links(call: Call, noun: str, page: Page, ids: Sequence[str], path: str | None = None) -> list[dict[str, str]]:
    """The `<noun>_links` of a page: a `next` link where the page was full, `previous` where it began at a marker."""
    if page.limit is None or not ids:
        return []
    kept = [(name, value) for name, value in call.query.pairs if name not in ("marker", "page_reverse")]
    base = call.base_url + (path or call.path)
    found = []
    if len(ids) == page.limit and page.limit:
        found.append({"rel": "next", "href": f"{base}?{urlencode([*kept, ('marker', ids[-1])])}"})
    if page.marker and noun not in ("servers", "flavors"):
        back = urlencode([*kept, ("marker", ids[0]), ("page_reverse", "True")])
        found.append({"rel": "previous", "href": f"{base}?{back}"})
    return found
