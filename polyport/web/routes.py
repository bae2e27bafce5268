"""Routes: the whole API of a service is one list; a trie finds the entry of a path in as many steps as it has parts."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import unquote

from msgspec import Struct

from polyport.db.engine import Database, Tx
from polyport.errors import PolyportError
from polyport.policy import Rule
from polyport.web.calls import Call, Reply
from polyport.web.microversions import Version

Read = Callable[[Call, Tx], Reply]
Write = Callable[[Call, Tx], Reply]
Own = Callable[[Call, Database], Awaitable[Reply]]


class Route(Struct, frozen=True, kw_only=True):
    """One entry of a service's table.

    `read` and `write` are plain functions on a transaction, which the application opens (read-only for `read`) and
    commits when they return; `own` is for the few calls that wait for something else than the database (password
    hashes, files, hosts) and open transactions themselves.
    """

    method: str
    path: str
    policy: Rule
    read: Read | None = None
    write: Write | None = None
    own: Own | None = None
    streamed: bool = False
    """Whether the body is handed over in pieces instead of being read before the handler runs."""


def get(path: str, handler: Read, policy: Rule) -> Route:
    return Route(method="GET", path=path, policy=policy, read=handler)


def post(path: str, handler: Write, policy: Rule) -> Route:
    return Route(method="POST", path=path, policy=policy, write=handler)


def put(path: str, handler: Write, policy: Rule) -> Route:
    return Route(method="PUT", path=path, policy=policy, write=handler)


def patch(path: str, handler: Write, policy: Rule) -> Route:
    return Route(method="PATCH", path=path, policy=policy, write=handler)


def delete(path: str, handler: Write, policy: Rule) -> Route:
    return Route(method="DELETE", path=path, policy=policy, write=handler)


def own(method: str, path: str, handler: Own, policy: Rule, *, streamed: bool = False) -> Route:
    return Route(method=method, path=path, policy=policy, own=handler, streamed=streamed)


class Dialect(Protocol):
    """How a service speaks: its versions and the shape of its errors."""

    def version(self, headers: dict[str, str], path: str) -> Version:
        """The microversion of a request. Raises errors the service then renders itself."""

    def version_headers(self, version: Version) -> dict[str, str]:
        """What each answer says of it."""

    def error(self, error: PolyportError) -> tuple[int, Any]:
        """Status and JSON body of an error."""


class Service(Struct, frozen=True, kw_only=True):
    """An OpenStack service: where it is mounted, how it speaks, and its table."""

    name: str
    prefixes: tuple[str, ...]
    dialect: Dialect
    routes: Sequence[Route]


class Node:
    """One step of the trie: literal parts first, then the open one."""

    __slots__ = ("open", "parts", "routes")

    def __init__(self) -> None:
        self.parts: dict[str, Node] = {}
        self.open: Node | None = None
        self.routes: dict[str, tuple[Route, tuple[str, ...]]] = {}


def build(routes: Sequence[Route]) -> Node:
    """The trie of a table. A path twice with one method is a mistake and raises ValueError."""
    root = Node()
    for route in routes:
        node, names = root, []
        for part in _parts(route.path):
            if part.startswith("{"):
                names.append(part[1:-1])
                node.open = node.open or Node()
                node = node.open
            else:
                node = node.parts.setdefault(part, Node())
        if route.method in node.routes:
            raise ValueError(f"two routes for {route.method} {route.path}")
        node.routes[route.method] = (route, tuple(names))
    return root


def find(root: Node, path: str) -> tuple[Node, list[str]] | None:
    """The node of a path (still percent-encoded) and the decoded values of its open parts; None where there is none."""
    return _find(root, _parts(path), 0, [])


def _find(node: Node, parts: list[str], at: int, values: list[str]) -> tuple[Node, list[str]] | None:
    if at == len(parts):
        return (node, values) if node.routes else None
    if (literal := node.parts.get(parts[at])) is not None and (found := _find(literal, parts, at + 1, values)):
        return found
    if node.open is not None:
        return _find(node.open, parts, at + 1, [*values, unquote(parts[at])])
    return None


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
