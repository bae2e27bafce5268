"""The HTTP server: uvicorn with httptools, and a guard for what it leaves open.

httptools is the strictest of the parsers, but neither it nor uvicorn bounds a request's head: a client that never ends
it would fill the memory before any token is looked at. `GuardedProtocol` counts the bytes of a head, and gives it a
deadline.
"""

import asyncio
import contextlib
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0

_TOO_LARGE_BODY = b'{"error": {"code": 431, "message": "The head of the request is too long."}}'
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: " + str(len(_TOO_LARGE_BODY)).encode() + b"\r\n\r\n" + _TOO_LARGE_BODY
)


class GuardedProtocol(HttpToolsProtocol):
    """Cuts a connection whose request head is too long or too slow.

    `_head` is the number of bytes of the head that is coming in; None while there is none (a body, or nothing, comes).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: int | None = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
            # What came in one piece with the body's beginning is longer than its head: only a head that is still
            # open after this piece counts.
            before = self._head
            super().data_received(data)
            if _open(self._head) and before > MOST_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head is None:
            self._head = 0
        if self._deadline is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._head = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops. Answers are finished, except for one that nobody knows the end of."""
        super().shutdown()
        # There is no cycle before the first request.
        if getattr(self.cycle, "chunked_encoding", None):
            self.transport.close()

    def _wait_for_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        if self._head is not None and not self.transport.is_closing():
            self.transport.close()


def _open(head: int | None) -> bool:
    """Whether a head is still coming in; the parser may have closed it meanwhile."""
    return head is not None


def server_for(app: Any, host: str, port: int) -> uvicorn.Server:
    """A server ready to `serve()`. Its owner ends it by setting `should_exit`; signals are the owner's too."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=GuardedProtocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=3,
        backlog=1024,
    )
    return _OwnSignals(config)


class _OwnSignals(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Signals belong to whoever runs the process."""

    def capture_signals(self) -> Any:
        return contextlib.nullcontext()
