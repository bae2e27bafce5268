"""The query string of an image list: filters, order and page."""

import csv
import datetime
import re
from typing import cast

from polyport.image.images import Image
from polyport.image.listing import FIELDS, Condition, Filters, Operator
from polyport.web.calls import InvalidParameter, Query
from polyport.web.paging import InvalidSortDirection, InvalidSortKey, Page

MOST = 1000

_TEXTS = ("id", "name", "status", "container_format", "disk_format")
"""They take `in:` with a list."""
_EXACT = ("owner", "checksum", "os_hash_algo", "os_hash_value")
_NUMBERS = ("size", "virtual_size", "min_disk", "min_ram")
_TIMES = ("created_at", "updated_at")
_NOT_FILTERS = frozenset(
    ("limit", "marker", "sort_key", "sort_dir", "sort", "visibility", "member_status", "os_hidden", "tag")
)
_VISIBILITIES = ("public", "private", "shared", "community", "all")
_MEMBER_STATUSES = ("pending", "accepted", "rejected", "all")


def filters_of(query: Query) -> Filters:
    """What a query asks for; a parameter that is no attribute is a property. Raises `InvalidParameter`."""
    conditions: list[Condition] = []
    properties: list[tuple[str, str]] = []
    for name, value in query.pairs:
        if name in _NOT_FILTERS:
            continue
        if name in _TEXTS:
            conditions.append(_text(name, value))
        elif name in _EXACT:
            conditions.append(Condition(name, "eq", (value,)))
        elif name in _NUMBERS:
            conditions.append(Condition(name, "eq", (_number(name, value),)))
        elif name in ("size_min", "size_max"):
            operator: Operator = "gte" if name == "size_min" else "lte"
            conditions.append(Condition("size", operator, (_number(name, value),)))
        elif name in _TIMES:
            conditions.extend(_times(name, value))
        elif name == "protected":
            conditions.append(Condition(name, "eq", (bool(query.boolean(name)),)))
        else:
            properties.append((name, value))
    return Filters(
        visibility=_one_of(query, "visibility", _VISIBILITIES),
        member_status=_one_of(query, "member_status", _MEMBER_STATUSES) or "accepted",
        hidden=bool(query.boolean("os_hidden", False)),
        conditions=tuple(conditions),
        tags=tuple(query.all("tag")),
        properties=tuple(properties),
    )


def page_of(query: Query) -> Page:
    """Order and page; the newest first where nothing is said. Raises errors that name the parameter."""
    limit = query.integer("limit")
    sort = query.get("sort")
    if sort is not None and ("sort_key" in query or "sort_dir" in query):
        raise InvalidParameter(name="sort", value=sort[:100], reason="It excludes sort_key and sort_dir.")
    if sort is not None:
        sorts = [_sort_of(*part.strip().partition(":")[::2]) for part in sort.split(",")]
    else:
        keys, directions = query.all("sort_key") or ["created_at"], query.all("sort_dir")
        if len(directions) > len(keys) or (len(directions) > 1 and len(directions) != len(keys)):
            reason = "There must be one for all or one for each sort_key."
            raise InvalidParameter(name="sort_dir", value=",".join(directions)[:100], reason=reason)
        if len(directions) < len(keys):
            directions = (directions or ["desc"]) * len(keys)
        sorts = [_sort_of(key, direction) for key, direction in zip(keys, directions, strict=True)]
    return Page(limit=MOST if limit is None else min(limit, MOST), marker=query.get("marker"), sorts=tuple(sorts))


def marker_of(image: Image) -> dict[str, object]:
    """The values of an image by the names lists are sorted by."""
    renamed = {"owner": "project_id", "os_hidden": "hidden"}
    return {name: getattr(image, renamed.get(name, name)) for name in FIELDS}


def _sort_of(key: str, direction: str) -> tuple[str, bool]:
    if key not in FIELDS:
        raise InvalidSortKey(key=key[:100])
    if direction not in ("asc", "desc", ""):
        raise InvalidSortDirection(value=direction[:100])
    return key, direction != "asc"


def _text(name: str, value: str) -> Condition:
    if not value.startswith("in:"):
        return Condition(name, "eq", (value,))
    try:
        values = next(csv.reader([value.removeprefix("in:")], skipinitialspace=True), [])
    except csv.Error as error:
        raise InvalidParameter(name=name, value=value[:100], reason="It is not a list of values.") from error
    if len(values) > 500:
        raise InvalidParameter(name=name, value=value[:100], reason="The list is too long.")
    return Condition(name, "in", tuple(values))


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", value, re.ASCII) or int(value) >= 2**63:
        raise InvalidParameter(name=name, value=value[:100], reason="It is not a number of bytes or units.")
    return int(value)


def _times(name: str, text: str) -> list[Condition]:
    """Times are shown to the second and compared so."""
    operator, _, value = text.partition(":")
    if operator not in ("eq", "neq", "lt", "lte", "gt", "gte"):
        operator, value = "eq", text
    begin = _second(name, value)
    first, last = begin + ".000000", begin + ".999999"
    match operator:
        case "eq":
            return [Condition(name, "gte", (first,)), Condition(name, "lte", (last,))]
        case "neq":
            return [Condition(name, "outside", (first, last))]
    return [Condition(name, cast(Operator, operator), (last if operator in ("gt", "lte") else first,))]


def _second(name: str, value: str) -> str:
    try:
        time = datetime.datetime.fromisoformat(value)
        if time.tzinfo is not None:
            time = time.astimezone(datetime.UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidParameter(name=name, value=value[:100], reason="It is not a time (ISO 8601).") from error
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def _one_of(query: Query, name: str, known: tuple[str, ...]) -> str | None:
    value = query.get(name)
    if value is not None and value not in known:
        raise InvalidParameter(name=name, value=value[:100], reason=f"It is none of {', '.join(known)}.")
    return value
