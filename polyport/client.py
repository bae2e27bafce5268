"""A client of the network API: as much as `polyport capture` and `polyport counters` need, on what Python brings with
it."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from polyport.clouds import Access
from polyport.errors import Conflict, Invalid, NotFound, Unavailable
from polyport.ids import is_uuid

PATIENCE = 30.0
"""Seconds until an answer must have begun."""


class BadUrl(Invalid):
    """{url} is not the URL of an HTTP server."""


class BadAuthority(Invalid):
    """No certificates can be read from {path}: {reason}."""


class Unreachable(Unavailable):
    """{url} cannot be reached: {reason}"""


class Refused(Invalid):
    """The cloud says: {words} (HTTP {status})"""


class NoIdentityService(NotFound):
    """{url} is no identity service: its answer is no token."""


class NoNetworkService(NotFound):
    """The cloud's catalog has no network service{where}."""


class NoSuchPort(NotFound):
    """There is no port {name}."""


class SeveralPorts(Conflict):
    """Several ports are called {name}: {ids}."""


class NotCounted(NotFound):
    """Port {port_id} has no counters: no running server uses it."""


class BrokenOff(Unavailable):
    """The cloud broke off its answer."""


class Stream:
    """An answer that comes in pieces."""

    def __init__(self, sock: socket.socket, response: http.client.HTTPResponse) -> None:
        self._socket = sock
        self._response = response

    def read(self) -> bytes:
        """What has come, waiting for something; nothing at the end. Raises `BrokenOff`."""
        try:
            return self._response.read1(1 << 16)
        except (OSError, http.client.HTTPException) as error:
            raise BrokenOff from error

    def stop(self) -> None:
        """From another thread: let who reads come to an end."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class Client:
    """One caller of one cloud."""

    def __init__(self, access: Access) -> None:
        """Gets a token. Raises the errors of this module."""
        self._context = _context(access)
        identity = {"methods": ["password"], "password": {"user": _user(access)}}
        body = {"auth": {"identity": identity, "scope": {"project": access.project}}}
        url = access.auth_url if access.auth_url.endswith("/v3") else access.auth_url + "/v3"
        with self._asked("POST", f"{url}/auth/tokens", body=body) as (_, response):
            self._token = response.headers.get("x-subject-token", "")
            document = _decoded(response)
        try:
            self._network = _network(document["token"].get("catalog", []), access)
        except (AttributeError, KeyError, TypeError) as error:
            raise NoIdentityService(url=url) from error

    def port_id(self, name: str) -> str:
        """The id of a port by its id or its name. Raises `NoSuchPort`, `SeveralPorts`."""
        for field in ("id", "name") if is_uuid(name) else ("name",):
            query = urlencode([(field, name), ("fields", "id")])
            with self._asked("GET", f"{self._network}/ports?{query}") as (_, response):
                found = [str(port["id"]) for port in _decoded(response)["ports"]]
            if len(found) > 1:
                raise SeveralPorts(name=name, ids=", ".join(found))
            if found:
                return found[0]
        raise NoSuchPort(name=name)

    def counters(self, port_id: str) -> Mapping[str, Any]:
        """What went through a port, as `polyport:counters` has it. Raises `NotCounted`."""
        field = "polyport:counters"
        with self._asked("GET", f"{self._network}/ports/{quote(port_id, safe='')}?fields={field}") as (_, response):
            found = _decoded(response)["port"].get(field)
        if found is None:
            raise NotCounted(port_id=port_id)
        return dict(found)

    @contextmanager
    def capture(self, port_id: str, bounds: Mapping[str, int | str]) -> Iterator[Stream]:
        """A port's frames from now on."""
        url = f"{self._network}/ports/{quote(port_id, safe='')}/capture?{urlencode(bounds)}"
        with self._asked("GET", url) as (sock, response):
            # Between two frames there may be any time.
            sock.settimeout(None)
            yield Stream(sock, response)

    @contextmanager
    def _asked(
        self, method: str, url: str, body: Any = None
    ) -> Iterator[tuple[socket.socket, http.client.HTTPResponse]]:
        """The answer to a request, its head read, and the socket it comes by."""
        parts, host = _parts(url)
        connection = (
            http.client.HTTPSConnection(host, parts.port, timeout=PATIENCE, context=self._context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, parts.port, timeout=PATIENCE)
        )
        headers = {"accept": "*/*", "content-type": "application/json"}
        if body is None:
            headers = {"accept": "*/*", "x-auth-token": self._token}
        try:
            try:
                connection.connect()
                # The connection forgets it where the answer is its last.
                sock = connection.sock
                target = f"{parts.path}?{parts.query}" if parts.query else parts.path
                connection.request(method, target, None if body is None else json.dumps(body), headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(url=f"{parts.scheme}://{parts.netloc}", reason=error) from error
            if response.status >= 300:
                raise Refused(words=_message(response), status=response.status)
            with response:
                yield sock, response
        finally:
            connection.close()


def _parts(url: str) -> tuple[SplitResult, str]:
    """A URL's parts, and the host in it. Raises `BadUrl`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadUrl(url=url) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not parts.path.isascii():
        raise BadUrl(url=url)
    return parts, parts.hostname


def _context(access: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=access.authority)
    except OSError as error:
        raise BadAuthority(path=access.authority, reason=error.strerror or error) from error
    if not access.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _user(access: Access) -> dict[str, Any]:
    return {"name": access.username, "password": access.password, "domain": access.user_domain}


def _network(catalog: list[dict[str, Any]], access: Access) -> str:
    for service in catalog:
        for endpoint in service.get("endpoints", ()):
            fits = access.region in (None, endpoint.get("region_id"), endpoint.get("region"))
            if service.get("type") == "network" and endpoint.get("interface") == access.interface and fits:
                url = str(endpoint["url"]).rstrip("/")
                return url if url.endswith("/v2.0") else url + "/v2.0"
    raise NoNetworkService(where=f" in region {access.region}" if access.region else "")


def _decoded(response: http.client.HTTPResponse) -> Any:
    try:
        return json.load(response)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise BrokenOff from error


def _message(response: http.client.HTTPResponse) -> str:
    """What an error's answer says in words, whichever service it is of."""
    try:
        document = _decoded(response)
        fault = next(iter(document.values()))
        return str(fault["message"]) if isinstance(fault, dict) else str(fault)
    except (BrokenOff, AttributeError, KeyError, StopIteration):
        return response.reason
