"""The field types of the identity service, and its leniency: clients may add attributes of their own."""

from typing import Annotated, Any, TypeVar

from msgspec import Meta

from polyport.errors import Forbidden, Invalid
from polyport.web import bodies
from polyport.web.bodies import InvalidField
from polyport.web.calls import Call, Query

T = TypeVar("T")

_NOT_BLANK = r"^(?=[\s\S]*\S)[^\x00]*\Z"
_NO_NUL = r"^[^\x00]*\Z"

ShortName = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NOT_BLANK)]
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=_NOT_BLANK)]
Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9-]+\Z")]
Text = Annotated[str, Meta(max_length=65535, pattern=_NO_NUL)]
Password = Annotated[str, Meta(min_length=1, max_length=4096)]
Tag = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^,/\x00]+\Z")]
Tags = Annotated[list[Tag], Meta(max_length=80)]

_NEVER_EXTRA = frozenset(("id", "links"))
_MOST_EXTRA = 128


class TooMuchExtra(Invalid):
    """Invalid input for field/attribute {field}. It has too many attributes of its own, or too long names of them."""


class UnsupportedOption(Invalid):
    """Invalid input for field/attribute options. The option '{name}' is not supported here with this value."""


class Unchangeable(Forbidden):
    """Update of `{name}` is not allowed."""


def body_of(call: Call, noun: str, shape: type[T]) -> tuple[T, dict[str, Any]]:
    """What is in the envelope `noun`: the fields of `shape`, strictly, and the attributes that are the client's own."""
    inner = bodies.decode_any(call.body).get(noun)
    if not isinstance(inner, dict):
        raise InvalidField(field=noun, value=str(inner)[:100], reason="It is not an object.")
    names: tuple[str, ...] = shape.__struct_fields__  # type: ignore[attr-defined]
    known = {name: value for name, value in inner.items() if name in names}
    extra = {name: value for name, value in inner.items() if name not in names and name not in _NEVER_EXTRA}
    if len(extra) > _MOST_EXTRA or any(len(name) > 255 for name in extra):
        raise TooMuchExtra(field=noun)
    return bodies.convert(known, shape, noun), extra


def check_options(options: dict[str, Any], harmless: frozenset[str]) -> None:
    """Options that ask for nothing may be set. Raises `UnsupportedOption` for one that would have to do something."""
    for name, value in options.items():
        if name not in harmless and value not in (False, None, []):
            raise UnsupportedOption(name=name[:100])


def list_view(call: Call, noun: str, views: list[dict[str, Any]]) -> dict[str, Any]:
    """A whole list, as the identity service wraps it."""
    return {noun: views, "links": {"next": None, "self": call.base_url + call.path, "previous": None}}


def filtered(query: Query, views: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The views whose text fields `names` are what the query says: `name=`, `name__contains=` and its kin."""
    for key, wanted in query.pairs:
        name, _, operator = key.partition("__")
        if name in names:
            views = [view for view in views if _fits(str(view.get(name) or ""), operator, wanted)]
    enabled = query.boolean("enabled")
    return views if enabled is None else [view for view in views if view.get("enabled") is enabled]


def _fits(text: str, operator: str, wanted: str) -> bool:
    if operator.startswith("i"):
        operator, text, wanted = operator[1:], text.lower(), wanted.lower()
    match operator:
        case "contains":
            return wanted in text
        case "startswith":
            return text.startswith(wanted)
        case "endswith":
            return text.endswith(wanted)
    return text == wanted
