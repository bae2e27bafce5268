"""The trie of routes."""

import pytest

from polyport import policy
from polyport.db.engine import Tx
from polyport.web.calls import Call, Reply
from polyport.web.routes import build, delete, find, get


def handler(call: Call, tx: Tx) -> Reply:
    return Reply()


TABLE = [
    get("/servers", handler, policy.reader),
    get("/servers/detail", handler, policy.reader),
    get("/servers/{server_id}", handler, policy.reader),
    delete("/servers/{server_id}", handler, policy.member),
    get("/servers/{server_id}/metadata/{key}", handler, policy.reader),
]


@pytest.mark.parametrize(
    ("path", "route", "values"),
    [
        ("/servers", "/servers", []),
        ("/servers/", "/servers", []),
        ("/servers/detail", "/servers/detail", []),
        ("/servers/abc", "/servers/{server_id}", ["abc"]),
        ("/servers/a%2Fb", "/servers/{server_id}", ["a/b"]),
        ("/servers/detail/metadata/x%20y", "/servers/{server_id}/metadata/{key}", ["detail", "x y"]),
    ],
)
def test_literal_parts_come_before_open_ones(path: str, route: str, values: list[str]) -> None:
    found = find(build(TABLE), path)
    assert found is not None
    node, parts = found
    assert parts == values
    assert node.routes["GET"][0].path == route


@pytest.mark.parametrize("path", ["/", "/server", "/servers/a/b", "/servers/a/metadata", "/servers/a/metadata/b/c"])
def test_what_is_not_in_the_table_is_not_found(path: str) -> None:
    assert find(build(TABLE), path) is None


def test_one_path_twice_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="two routes"):
        build([*TABLE, get("/servers/{other}", handler, policy.reader)])
