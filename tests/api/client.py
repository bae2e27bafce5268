"""A client for tests: speaks HTTP to the application in process, and knows the paths of the four services."""

import asyncio
import atexit
import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from polyport import cloud as composition
from polyport.config import Config, DataplaneConfig, HypervisorConfig
from polyport.db.engine import Tx
from polyport.identity import assignments, projects, roles, tokens, users


class Client:
    """One caller: a token and the four services. `get("/compute/servers")` and so on; answers are httpx responses."""

    def __init__(self, http: httpx.AsyncClient, token: str | None, project_id: str, user_id: str) -> None:
        self.http = http
        self.project_id = project_id
        self.user_id = user_id
        self.headers = {"x-auth-token": token} if token else {}

    async def call(self, method: str, path: str, version: str | None = None, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        if version:
            headers["openstack-api-version"] = f"compute {version}"
        if path.startswith("/compute/") and not path.startswith("/compute/v2"):
            path = path.replace("/compute/", "/compute/v2.1/", 1)
        if path.startswith("/network/") and not path.startswith("/network/v2"):
            path = path.replace("/network/", "/network/v2.0/", 1)
        if path.startswith("/image/") and not path.startswith("/image/v2"):
            path = path.replace("/image/", "/image/v2/", 1)
        return await self.http.request(method, path, headers=headers, **more)

    async def get(self, path: str, version: str | None = None, **more: Any) -> httpx.Response:
        return await self.call("GET", path, version, **more)

    async def post(self, path: str, body: Any = None, version: str | None = None, **more: Any) -> httpx.Response:
        return await self.call("POST", path, version, json=body, **more)

    async def put(self, path: str, body: Any = None, version: str | None = None, **more: Any) -> httpx.Response:
        return await self.call("PUT", path, version, json=body, **more)

    async def patch(self, path: str, body: Any = None, version: str | None = None, **more: Any) -> httpx.Response:
        return await self.call("PATCH", path, version, json=body, **more)

    async def delete(self, path: str, version: str | None = None, **more: Any) -> httpx.Response:
        return await self.call("DELETE", path, version, **more)

    async def made(self, path: str, body: Any, version: str | None = None) -> Any:
        """POST that must succeed; the one thing inside the envelope."""
        answer = await self.post(path, body, version)
        assert answer.is_success, (answer.status_code, answer.text)
        document = answer.json()
        return next(iter(document.values())) if len(document) == 1 else document

    async def until(self, path: str, holds: Callable[[httpx.Response], bool], seconds: float = 30.0) -> httpx.Response:
        """GET a path until the answer satisfies `holds`; fails with the last answer."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            answer = await self.get(path)
            if holds(answer):
                return answer
            assert asyncio.get_running_loop().time() < deadline, (answer.status_code, answer.text)
            await asyncio.sleep(0.005)


class TestCloud:
    """A cloud on fakes in a scratch directory."""

    __test__ = False

    def __init__(self, state: Path, **changes: Any) -> None:
        self.config = Config(
            state=state,
            admin_password="secret",
            timer=0.5,
            hypervisor=HypervisorConfig(driver="fake"),
            dataplane=DataplaneConfig(driver="fake"),
            **changes,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        template = await _template()
        if self.config.state.is_dir() and not any(self.config.state.iterdir()):
            shutil.copy(template, self.config.state / "polyport.db")
        self.cloud = await self._stack.enter_async_context(composition.running(self.config))
        transport = httpx.ASGITransport(app=self.cloud.app, raise_app_exceptions=True)  # type: ignore[arg-type]
        self.http = await self._stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://cloud.test:8774")
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def client(self, project: str, role: str, user: str | None = None) -> Client:
        """A caller with one role in a project; both are made when they are not there."""
        name = user or f"{project}-{role}"

        def make(tx: Tx) -> tuple[str, str, str]:
            there = projects.find_project(tx, project) or projects.create_project(tx, project)
            caller = users.find_user(tx, name) or users.create_user(tx, name)
            assignments.assign(tx, caller.id, "project", there.id, roles.find_role(tx, role).id)
            token, _ = tokens.issue(tx, caller.id, tokens.Scope(project_id=there.id))
            return token, there.id, caller.id

        return Client(self.http, *await self.cloud.database.write(make))

    def anonymous(self) -> Client:
        return Client(self.http, None, "", "")


_made: list[Path] = []


async def _template() -> Path:
    """A database as every cloud begins with it, made once in a run: tests copy it instead of making it again."""
    if not _made:
        scratch = Path(tempfile.mkdtemp(prefix="polyport-tests-"))
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        fake = HypervisorConfig(driver="fake"), DataplaneConfig(driver="fake")
        config = Config(state=scratch, admin_password="secret", hypervisor=fake[0], dataplane=fake[1])
        async with composition.running(config):
            pass
        with contextlib.closing(sqlite3.connect(scratch / "polyport.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _made.append(scratch / "polyport.db")
    return _made[0]
