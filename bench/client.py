"""A client that costs little: one kept-alive connection, bodies as they come."""

import http.client
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from demo.scratch import ScratchCloud


class Caller:
    """One connection to a cloud, with an administrator's token."""

    def __init__(self, cloud: ScratchCloud, token: str | None = None) -> None:
        self.cloud = cloud
        self._connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=120)
        self.token = token or self._log_in()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer. Raises RuntimeError where it is no success."""
        status, content, _ = self.timed(method, path, body)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {content[:500]!r}")
        return json.loads(content) if content else None

    def timed(self, method: str, path: str, body: Any = None) -> tuple[int, bytes, float]:
        """(status, body, milliseconds from the first byte sent to the last byte read)"""
        headers = {"content-type": "application/json", "openstack-api-version": "compute 2.79"}
        if getattr(self, "token", None):
            headers["x-auth-token"] = self.token
        content = None if body is None else json.dumps(body).encode()
        begin = time.perf_counter()
        self._connection.request(method, path, content, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        spent = (time.perf_counter() - begin) * 1000
        self.last = answer
        return answer.status, data, spent

    def close(self) -> None:
        self._connection.close()

    def _log_in(self) -> str:
        auth = json.loads(self.cloud.clouds.read_text())["clouds"]["polyport"]["auth"]
        user = {"name": auth["username"], "domain": {"id": "default"}, "password": auth["password"]}
        scope = {"project": {"name": auth["project_name"], "domain": {"id": "default"}}}
        identity = {"methods": ["password"], "password": {"user": user}}
        self.call("POST", "/identity/v3/auth/tokens", {"auth": {"identity": identity, "scope": scope}})
        token: str = self.last.headers["x-subject-token"]
        return token


def milliseconds(work: Callable[[], Any], times: int) -> list[float]:
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        spent.append((time.perf_counter() - begin) * 1000)
    return spent


def p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def until(holds: Callable[[], bool], seconds: float = 60.0, pause: float = 0.0005) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError("it did not happen in time")
        time.sleep(pause)
