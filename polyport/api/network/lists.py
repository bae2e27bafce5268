"""Lists: filters, sorting, paging and choice of fields, the same for every noun of the network service."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from msgspec import Struct

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.errors import Invalid, PolyportError
from polyport.web.calls import Call, Query, Reply
from polyport.web.paging import Page, page_of, paged

View = dict[str, Any]
Condition = Callable[[Tx, Context, Sequence[str]], sa.ColumnElement[bool]]
"""A transaction and the values a filter was given -> the condition."""

_NOT_FILTERS = frozenset(("fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"))
_TAG_FILTERS = ("tags", "tags-any", "not-tags", "not-tags-any")
_TRUE = frozenset(("1", "t", "true", "on", "y", "yes"))
_FALSE = frozenset(("0", "f", "false", "off", "n", "no"))
_MOST_TAGS = 1000
_ORDER = (("created_at", False),)
_MOST = 2**31 - 1


class FilterInvalid(Invalid):
    """['{name}'] is invalid attribute for filtering"""


class FilterValueInvalid(Invalid):
    """Invalid input for filter {name}: '{value}' is not {kind}."""


class Noun(Struct, frozen=True, kw_only=True):
    """What a list needs to know of the things it lists."""

    plural: str
    columns: Mapping[str, sa.ColumnElement[Any]]
    """Attributes to filter and sort by; `id` and `created_at` among them."""
    select: Callable[[Context], sa.Select[Any]]
    """What a caller sees of them."""
    views: Callable[[Call, Tx, sa.Select[Any]], list[View]]
    """The things a statement selects, in its order."""
    not_found: Callable[[str], PolyportError]
    tags: sa.ColumnElement[Any] | None = None
    conditions: Mapping[str, Condition] = {}
    """Filters that are no columns."""
    admin_columns: Mapping[str, sa.ColumnElement[Any]] = {}
    """Columns for administrators only."""
    order: Callable[[Query], tuple[tuple[str, bool], ...]] = lambda query: _ORDER
    """The order where none is asked for."""
    order_columns: Mapping[str, sa.ColumnElement[Any]] = {}
    """Columns that `order` may name besides."""


def listed(call: Call, tx: Tx, noun: Noun) -> Reply:
    """The reply to a list call. Raises errors that name the parameter."""
    columns = {**noun.columns, **noun.admin_columns} if call.context.is_admin else noun.columns
    page = page_of(call.query, tuple(columns), noun.order(call.query), most=_MOST)
    if page.limit == 0:
        page = Page(sorts=page.sorts)
    statement = noun.select(call.context)
    marker = _marker(tx, statement, noun, {**columns, **noun.order_columns}, page)
    for condition in _conditions(call, tx, noun, columns):
        statement = statement.where(condition)
    sorting = {**columns, **noun.order_columns}
    views = noun.views(call, tx, paged(statement, page, sorting, noun.columns["id"], marker))
    if page.reverse:
        views.reverse()
    names = _fields(call)
    document: dict[str, Any] = {noun.plural: [_only(view, names) for view in views] if names else views}
    if page.limit is not None:
        document[f"{noun.plural.replace('-', '_')}_links"] = _links(call, page, views)
    return Reply(body=document)


def chosen(call: Call, view: View) -> View:
    """Only those fields of a view that `fields` names, where it names any."""
    names = _fields(call)
    return _only(view, names) if names else view


def boolean(name: str, value: str) -> bool:
    if value.strip().lower() in _TRUE:
        return True
    if value.strip().lower() in _FALSE:
        return False
    raise FilterValueInvalid(name=name, value=value[:100], kind="a boolean")


def constant(name: str, value: object) -> Condition:
    """A filter on an attribute that is the same for all."""
    if isinstance(value, bool):
        return lambda tx, context, values: sa.literal(any(boolean(name, text) is value for text in values))
    return lambda tx, context, values: sa.literal(value in values)


def _fields(call: Call) -> list[str]:
    return list(dict.fromkeys(name for value in call.query.all("fields") for name in value.split(",") if name))


def _only(view: View, names: Sequence[str]) -> View:
    return {name: view[name] for name in names if name in view}


def _conditions(
    call: Call, tx: Tx, noun: Noun, columns: Mapping[str, sa.ColumnElement[Any]]
) -> list[sa.ColumnElement[bool]]:
    conditions = []
    for name in call.query.names():
        if name in _NOT_FILTERS:
            continue
        values = call.query.all(name)
        if name in noun.conditions:
            conditions.append(noun.conditions[name](tx, call.context, values))
        elif name in columns:
            conditions.append(_column_condition(name, columns[name], values))
        elif name in _TAG_FILTERS and noun.tags is not None:
            conditions.append(_tag_condition(name, noun.tags, [tag for value in values for tag in value.split(",")]))
        elif name == "changed_since":
            conditions.extend(columns["updated_at"] >= _time(name, value) for value in values)
        else:
            raise FilterInvalid(name=name[:100])
    return conditions


def _time(name: str, value: str) -> str:
    """A time as tables keep it, up to the second. It is UTC, with its `Z` or without."""
    try:
        found = datetime.strptime(value.removesuffix("Z") + "+0000", "%Y-%m-%dT%H:%M:%S%z")
    except ValueError as error:
        kind = "a time as YYYY-MM-DDTHH:MM:SS[Z]"
        raise FilterValueInvalid(name=name, value=value[:100], kind=kind) from error
    return found.strftime("%Y-%m-%dT%H:%M:%S")


def _column_condition(name: str, column: sa.ColumnElement[Any], values: Sequence[str]) -> sa.ColumnElement[bool]:
    if isinstance(column.type, sa.Boolean):
        return column.in_({boolean(name, value) for value in values})
    if isinstance(column.type, sa.Integer):
        for value in values:
            if not (value.isascii() and value.isdigit() and len(value) < 19):
                raise FilterValueInvalid(name=name, value=value[:100], kind="an integer")
        return column.in_([int(value) for value in values])
    if name in ("created_at", "updated_at"):
        return sa.or_(*(column.startswith(value.rstrip("Z"), autoescape=True) for value in values))
    if any(value == "" for value in values):
        return sa.or_(column.in_(list(values)), column.is_(None))
    return column.in_(list(values))


def _tag_condition(name: str, column: sa.ColumnElement[Any], tags: Sequence[str]) -> sa.ColumnElement[bool]:
    """One subquery however many tags are asked for: a condition for each would be too deep for the database."""
    wanted = set(tags) - {""}
    if len(wanted) > _MOST_TAGS:
        raise FilterValueInvalid(name=name, value=",".join(tags)[:100], kind=f"a list of at most {_MOST_TAGS} tags")
    entries = sa.func.json_each(column).table_valued("value")
    found = sa.select(sa.func.count(entries.c.value.distinct())).where(entries.c.value.in_(wanted)).scalar_subquery()
    condition = found > 0 if name.endswith("-any") else found == len(wanted)
    return sa.not_(condition) if name.startswith("not-") else condition


def _marker(
    tx: Tx, statement: sa.Select[Any], noun: Noun, columns: Mapping[str, sa.ColumnElement[Any]], page: Page
) -> Mapping[str, Any] | None:
    """The sort values of the marker's row. Raises the noun's own not-found error."""
    if not page.marker:
        return None
    wanted = {name: columns[name] for name, _ in page.sorts} | {"id": noun.columns["id"]}
    values = [column.label(f"key_{at}") for at, column in enumerate(wanted.values())]
    row = tx.first(statement.with_only_columns(*values).where(noun.columns["id"] == page.marker))
    if row is None:
        raise noun.not_found(page.marker[:255])
    return dict(zip(wanted, row, strict=True))


def _links(call: Call, page: Page, views: Sequence[View]) -> list[dict[str, str]]:
    """Neutron's links: onwards and backwards, but not where a page that came out short was the last that way."""
    kept = [(name, value) for name, value in call.query.pairs if name not in ("marker", "page_reverse")]
    base = call.base_url + call.path
    short = page.limit is not None and len(views) < page.limit
    links = []
    if page.reverse or not short:
        last = [("marker", views[-1]["id"])] if views else []
        links.append({"rel": "next", "href": f"{base}?{urlencode([*kept, *last])}"})
    if not (page.reverse and short):
        first = [("marker", views[0]["id"])] if views else []
        links.append({"rel": "previous", "href": f"{base}?{urlencode([*kept, *first, ('page_reverse', 'True')])}"})
    return links
