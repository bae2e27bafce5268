"""The client of `polyport capture` before wrong addresses: an error in words, whatever is there."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from polyport.client import BadUrl, BrokenOff, Client, NoIdentityService
from polyport.clouds import Access


class Other(BaseHTTPRequestHandler):
    """A server that answers, but not as an identity service does."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = {"/list/v3/auth/tokens": b"[]", "/page/v3/auth/tokens": b"<html>"}.get(self.path, b'{"token": []}')
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quietly."""


@pytest.fixture
def other() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def access(url: str) -> Access:
    return Access(auth_url=url, username="ann", password="pw", user_domain={"id": "default"}, project={"id": "x"})


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://host", "http://", "http://host:abc", "http://host:70000", "http://[::1", "http://h/\xe9"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(BadUrl):
        Client(access(url))


def test_somebody_elses_server(other: str) -> None:
    for path, kind in (("/list", NoIdentityService), ("/other", NoIdentityService), ("/page", BrokenOff)):
        with pytest.raises(kind):
            Client(access(other + path))
