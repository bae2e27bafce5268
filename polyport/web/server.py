"""The HTTP server: uvicorn with httptools, and a guard for what it leaves open.

httptools is the strictest of the parsers, but neither it nor uvicorn bounds a request's head or what may follow its
body (trailers): a client that never ends them would fill the memory before any token is looked at. `GuardedProtocol`
counts their bytes, and gives a head a deadline.
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
    """Cuts a connection whose request head is too long or too slow, or whose body is followed by as much.

    `_unused` is the number of bytes that came since a head was whole or a piece of a body was there; `_in_head` is
    whether a head is to come or coming in.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unused = 0
        self._in_head = True
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        self._unused += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unused > MOST_HEAD_BYTES:
            if self._in_head:
                self.transport.write(_TOO_LARGE)
            self.transport.close()
        elif self.timeout_keep_alive_task is None and getattr(self.cycle, "response_complete", False):
            # Bytes that begin no request would keep an idle connection for good.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._deadline is None:
            self._wait_for_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers are no headers: nobody here asks for them, and who asks for headers must not get them.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unused = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unused = 0
        super().on_body(body)

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
        if self._in_head and not self.transport.is_closing():
            self.transport.close()


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
