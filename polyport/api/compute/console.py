"""What a guest wrote to its console; and the consoles with a screen, which there are none of."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from msgspec import Meta, Struct

from polyport.api.compute.fields import Digits
from polyport.compute import states
from polyport.compute.servers import Server
from polyport.errors import Conflict, Invalid
from polyport.ids import ServerId
from polyport.web.calls import Reply

ConsoleLog = Callable[[ServerId, int], Awaitable[bytes]]
"""(server, most bytes) -> the end of what the guest wrote to its console."""

MOST_BYTES = 1 << 20

_REMOVED = {code: None for code in range(32) if chr(code) not in "\t\n\r"} | {0x7F: None}


class NotReady(Conflict):
    """Instance {server_id} is not ready"""


class NoSuchConsole(Invalid):
    """Unavailable console type {kind}."""


class OutputBody(Struct, forbid_unknown_fields=True, kw_only=True):
    length: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | Digits | None = None


async def output(server: Server, body: OutputBody, console_log: ConsoleLog) -> Reply:
    """The last `length` lines, all of them where that is None or -1. Raises `NotReady` while there is no guest yet."""
    if server.vm_state == states.BUILDING:
        raise NotReady(server_id=server.id)
    written = await console_log(server.id, MOST_BYTES)
    text = written.decode("utf-8", "replace").translate(_REMOVED)
    length = -1 if body.length is None else int(body.length)
    return Reply(body={"output": last_lines(text, length)})


def last_lines(text: str, length: int) -> str:
    """The last `length` lines of a text; all of it where that is negative."""
    if length < 0:
        return text
    if length == 0:
        return ""
    lines = text.splitlines(keepends=True)
    return "".join(lines[-length:])
