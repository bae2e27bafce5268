"""What a handler gets (`Call`) and gives (`Reply`)."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from msgspec import Struct

from polyport.context import Context
from polyport.errors import Invalid
from polyport.ids import is_uuid
from polyport.web import bodies
from polyport.web.microversions import Version

T = TypeVar("T")

_TRUE = frozenset(("1", "t", "true", "on", "y", "yes"))
_FALSE = frozenset(("0", "f", "false", "off", "n", "no"))
_MOST_PARAMETERS = 400
"""Of a query. Each may become one or two conditions of a statement, and SQLite takes them 1000 deep."""


class InvalidParameter(Invalid):
    """Invalid input for query parameter {name}. Value: {value}. {reason}"""


class Query:
    """The query string: names may be repeated, order is kept."""

    def __init__(self, text: str) -> None:
        self.pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The last value of a name, as OpenStack takes it."""
        for key, value in reversed(self.pairs):
            if key == name:
                return value
        return default

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def names(self) -> list[str]:
        return list(dict.fromkeys(key for key, _ in self.pairs))

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.pairs)

    def boolean(self, name: str, default: bool | None = None) -> bool | None:
        """The words for true and false that OpenStack takes. Raises `InvalidParameter` for another."""
        value = self.get(name)
        if value is None:
            return default
        if value.strip().lower() in _TRUE:
            return True
        if value.strip().lower() in _FALSE:
            return False
        raise InvalidParameter(name=name, value=value[:100], reason="It is not a boolean.")

    def integer(self, name: str, *, least: int = 0, most: int = 2**31 - 1) -> int | None:
        value = self.get(name)
        if value is None:
            return None
        if not value.isascii() or not value.isdigit() or len(value) > 10 or not least <= int(value) <= most:
            reason = f"It is not an integer from {least} to {most}."
            raise InvalidParameter(name=name, value=value[:100], reason=reason)
        return int(value)


class Call(Struct, kw_only=True):
    """One request. `params` are the parts of the path that the route leaves open, decoded."""

    method: str
    path: str
    params: dict[str, str]
    query: Query
    headers: Mapping[str, str]
    """Names in lower case."""
    context: Context
    version: Version = Version(1, 0)
    base_url: str
    """The service's own root as the client reaches it, without a slash at its end: links begin with it."""
    root_url: str
    """The same of the whole cloud: `http://host:port`."""
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    """The body in pieces, for routes that asked for it so."""

    def decode(self, shape: type[T]) -> T:
        """The body as `shape`, at the request's microversion. Raises errors that name the field."""
        return bodies.decode(self.body, shape, self.version)

    def uuid(self, name: str) -> str | None:
        """A path parameter, in canonical form, if it is a UUID at all: None is certain not to be found."""
        value = self.params[name]
        return value.lower() if is_uuid(value) else None


class Reply(Struct, kw_only=True):
    """An answer. `body` is encoded as JSON unless it is bytes; a `stream` is sent as it comes.

    A stream is as long as the header content-length says, where there is one. It is given up when the client goes away,
    and its `aclose`, where it has one, is called in any case.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = {}
    content_type: str = "application/json"
    stream: AsyncIterator[bytes] | None = None
