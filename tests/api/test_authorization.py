"""Every route of every service, taken from the tables themselves: who is let in."""

import re

import pytest

from polyport import policy
from polyport.web.routes import Route, Service
from tests.api.client import Client, TestCloud

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def routes_of(cloud: TestCloud) -> list[tuple[Service, Route]]:
    return [(service, route) for service in cloud.cloud.app.services for route in service.routes]


def path_of(service: Service, route: Route) -> str:
    return service.prefixes[0] + re.sub(r"{[^}]*}", UNKNOWN, route.path)


async def call(caller: Client, service: Service, route: Route) -> int:
    answer = await caller.http.request(route.method, path_of(service, route), headers=caller.headers, json={})
    return answer.status_code


async def test_without_a_token_only_the_open_routes_answer(cloud: TestCloud) -> None:
    nobody = cloud.anonymous()
    assert routes_of(cloud)
    for service, route in routes_of(cloud):
        if route.policy is not policy.anyone:
            assert await call(nobody, service, route) == 401, (service.name, route.method, route.path)


async def test_a_wrong_token_is_no_token(cloud: TestCloud) -> None:
    nobody = Client(cloud.http, "gAAAAA-not-a-token", "", "")
    for service, route in routes_of(cloud):
        if route.policy is not policy.anyone:
            assert await call(nobody, service, route) == 401, (service.name, route.method, route.path)


async def test_readers_cannot_write_and_members_cannot_administrate(cloud: TestCloud, client: Client) -> None:
    reader = await cloud.client("demo", "reader")
    for service, route in routes_of(cloud):
        if route.policy is policy.member:
            assert await call(reader, service, route) == 403, (service.name, route.method, route.path)
        if route.policy is policy.admin:
            assert await call(client, service, route) == 403, (service.name, route.method, route.path)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_things_that_are_not_there_are_not_found(cloud: TestCloud, admin: Client, method: str) -> None:
    """A path that ends in an id: nothing but 404 for an id that is nobody's (or 400 where the empty body is looked at
    first), and a name instead of an id is not a mistake but not found either."""
    for service, route in routes_of(cloud):
        if route.method != method or not route.path.endswith("}") or route.policy is policy.anyone:
            continue
        status = await call(admin, service, route)
        assert 200 <= status < 500, (service.name, route.method, route.path, status)
        if method == "GET":
            named = re.sub(r"{[^}]*}", "a name", path_of(service, route).replace(UNKNOWN, "a%20name"))
            answer = await admin.http.get(named, headers=admin.headers)
            assert answer.status_code in (200, 404), (named, answer.status_code)
