"""The archive format the kernel unpacks as its first root file system ("newc").

Layout as in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A file, directory or symbolic link (`content` is then its target)."""

    mode: int
    content: bytes = b""


def directory() -> Node:
    return Node(stat.S_IFDIR | 0o755)


def link(target: str) -> Node:
    return Node(stat.S_IFLNK | 0o777, target.encode())


def file(content: bytes, *, executable: bool = False) -> Node:
    return Node(stat.S_IFREG | (0o755 if executable else 0o644), content)


def archive(tree: Mapping[str, Node]) -> bytes:
    """The archive of `tree` (path without leading slash -> node); directories above a node are added.

    Equal trees give equal bytes: everything belongs to root, dates from 1970 and is in the order of its path.
    """
    nodes = {parent: directory() for path in tree for parent in _parents(path)} | dict(tree)
    packed = bytearray()
    for number, path in enumerate(sorted(nodes), start=1):
        packed += _record(number, path, nodes[path])
    packed += _record(0, "TRAILER!!!", Node(0))
    return bytes(packed) + b"\0" * (-len(packed) % 512)


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _record(number: int, path: str, node: Node) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(node.mode) else 1
    fields = (number, node.mode, 0, 0, links, 0, len(node.content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return _padded(head) + _padded(node.content)


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)
