"""Bad bodies at every route that takes one: a 4xx in the service's own words, and nothing written."""

import re
from typing import Any

import pytest
import sqlalchemy as sa

from polyport.db.tables import metadata
from polyport.web.routes import Route, Service
from tests.api.client import Client, TestCloud
from tests.api.stock import make_image, make_network

UNKNOWN = "00000000-0000-4000-8000-000000000000"
SHAPES = {
    "identity": lambda body: body["error"]["message"],
    "image": lambda body: body.get("message") or body["error"]["message"],
    "network": lambda body: body["NeutronError"]["message"],
    "compute": lambda body: next(iter(body.values()))["message"],
}
NOUNS = (
    "server network subnet port security_group security_group_rule flavor keypair image user project role domain "
    "auth interfaceAttachment metadata meta reboot os-start os-stop rebuild quota quota_set tag tags extra_specs "
    "networks ports"
).split()
WRONG = (
    b'{"name": [], "networks": 7, "network_id": {}, "id": -1, "cidr": 1e400, "fixed_ips": "x", "min_count": -1,'
    b' "max_count": 0, "ip_version": 99999999999999999999, "user": [], "roles": {}, "enabled": "perhaps"}'
)


def about_every_noun(value: bytes) -> list[bytes]:
    return [b'{"%s": %s}' % (noun.encode(), value) for noun in NOUNS]


BODIES: dict[str, list[bytes]] = {
    "nothing": [b""],
    "no JSON": [b"{nonsense", b'{"server": {"name": "x", "networks": [{"uu'],
    "no object": [b"[]", b"null", b'"x"', b"12345678901234567890123456789"],
    "deep": [b"[" * 50_000, b'{"a":' * 20_000],
    "odd text": [b'{"server": {"name": "\xff\xfe"}}', b'{"server": {"name": "\\ud800"}}', b'{"x\\u0000": "\\u0000"}'],
    "an unknown field": [b'{"zzz": 1}'],
    "a number": about_every_noun(b"5"),
    "null": about_every_noun(b"null"),
    "a list": about_every_noun(b"[[], 1, null, {}]"),
    "an unknown field inside": about_every_noun(b'{"zzz": {"y": []}}'),
    "wrong types": about_every_noun(WRONG),
}


def write_routes(cloud: TestCloud) -> list[tuple[Service, Route]]:
    return [
        (service, route)
        for service in cloud.cloud.app.services
        for route in service.routes
        if route.method in ("POST", "PUT", "PATCH") and not route.streamed
    ]


async def rows(cloud: TestCloud) -> dict[str, Any]:
    tables = [table for table in metadata.sorted_tables if table.name not in ("tokens", "hosts")]
    return await cloud.cloud.database.read(
        lambda tx: {table.name: sorted(map(str, tx.all(sa.select(table)))) for table in tables}
    )


@pytest.mark.parametrize("kind", BODIES)
async def test_bad_bodies_are_refused_and_nothing_is_written(cloud: TestCloud, admin: Client, kind: str) -> None:
    before = await rows(cloud)
    for body in BODIES[kind]:
        for service, route in write_routes(cloud):
            path = service.prefixes[0] + re.sub(r"{[^}]*}", UNKNOWN, route.path)
            headers = {**admin.headers, "content-type": "application/json"}
            answer = await admin.http.request(route.method, path, headers=headers, content=body)
            where = (route.method, path, body[:60], answer.status_code, answer.text[:300])
            assert 200 <= answer.status_code < 500, where
            if answer.status_code >= 400 and answer.content:
                assert SHAPES[service.name](answer.json()), where
        after = await rows(cloud)
        changed = {table: (before[table], after[table]) for table in before if before[table] != after[table]}
        assert not changed, body[:60]


async def test_a_body_of_ten_mebibytes_is_too_large(cloud: TestCloud, admin: Client) -> None:
    service, route = write_routes(cloud)[0]
    path = service.prefixes[0] + re.sub(r"{[^}]*}", UNKNOWN, route.path)
    answer = await admin.http.request(route.method, path, headers=admin.headers, content=b" " * (10 << 20))
    assert answer.status_code == 413, (route.method, path)


async def test_a_body_that_is_only_just_read(admin: Client) -> None:
    """Near the end of the stack a value can be decoded and not be written, or be written and never be shown again."""
    network, image = await make_network(admin), await make_image(admin)
    server = f'"name": "s", "imageRef": "{image}", "flavorRef": "42", "networks": "none"'
    drive = '{"source_type": %s}'
    for path, body in (
        ("/network/ports", f'{{"port": {{"network_id": "{network}", "binding:profile": {{"x": %s}}}}}}'),
        ("/compute/servers", f'{{"server": {{{server}}}, "os:scheduler_hints": {{"x": %s}}}}'),
        ("/compute/servers", f'{{"server": {{{server}, "block_device_mapping_v2": [{drive}]}}}}'),
        ("/identity/v3/users", '{"user": {"name": "u", "options": {"ignore_password_expiry": %s}}}'),
        ("/image/images", '{"name": %s}'),
    ):
        for depth in range(960, 1000):
            content = (body % ("[" * depth + "]" * depth)).encode()
            answer = await admin.call("POST", path, "2.90", content=content)
            assert answer.status_code == 400, (path, depth, answer.text)
    for path in ("/network/ports", "/compute/servers/detail", "/identity/v3/users", "/image/images"):
        assert (await admin.get(path)).status_code == 200, path
