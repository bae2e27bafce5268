"""As much HTTP as guests need to read their metadata: GET and HEAD, one request per connection. Pure."""

import re
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from polyport.dataplane import Answer

MOST_HEAD = 8192
"""Octets of request line and header fields; what is longer is refused."""

_REQUEST_LINE = re.compile(rb"([A-Z]+) (?:http://[^/ ]*)?(/[!-~]*) HTTP/1\.[01]")


class Question(NamedTuple):
    """What a guest asks. `path` is decoded, without its query."""

    method: str
    path: str


def whole(data: bytes) -> bool:
    """Whether a request's head has come to its end."""
    return b"\r\n\r\n" in data or b"\n\n" in data


def parse(head: bytes) -> Question | None:
    """The question in a request's head (RFC 9112); None where it is none."""
    line = head.partition(b"\n")[0].rstrip(b"\r")
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        return None
    path = found[2].partition(b"?")[0].decode("ascii")
    return Question(found[1].decode("ascii"), unquote(path, errors="replace"))


def reply(question: Question, answer: Answer | None) -> bytes:
    """The response to a question that could be answered, or not (None)."""
    if question.method not in ("GET", "HEAD"):
        return error(HTTPStatus.METHOD_NOT_ALLOWED, b"Allow: GET, HEAD\r\n")
    if answer is None:
        return error(HTTPStatus.NOT_FOUND)
    head = _head(HTTPStatus.OK, answer.content_type, len(answer.content))
    return head + (answer.content if question.method == "GET" else b"")


def error(status: HTTPStatus, fields: bytes = b"") -> bytes:
    content = f"{status} {status.phrase}\n".encode("ascii")
    return _head(status, "text/plain", len(content), fields) + content


def _head(status: HTTPStatus, content_type: str, length: int, fields: bytes = b"") -> bytes:
    line = f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: {content_type}\r\n"
    return f"{line}Content-Length: {length}\r\nConnection: close\r\n".encode("ascii") + fields + b"\r\n"
