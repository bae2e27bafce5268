"""Users: made and changed by administrators, and by themselves only as far as their password goes."""

import asyncio
import json
import stat
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from polyport.cli import main
from tests.api.client import Client, TestCloud

USERS = "/identity/v3/users"


async def log_in(cloud: TestCloud, user_id: str, password: str) -> Client | None:
    user = {"id": user_id, "password": password}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    answer = await cloud.anonymous().post("/identity/v3/auth/tokens", body)
    return Client(cloud.http, answer.headers["x-subject-token"], "", user_id) if answer.is_success else None


async def test_a_users_life(cloud: TestCloud, admin: Client) -> None:
    wanted = {
        "name": "ann",
        "password": "first",
        "email": "ann@example.org",
        "teams": ["a", {"b": 1}],
        "description": "A",
    }
    answer = await admin.post(USERS, {"user": wanted})
    assert answer.status_code == 201
    user = answer.json()["user"]
    assert "first" not in answer.text
    expected = {
        "name": "ann",
        "email": "ann@example.org",
        "teams": ["a", {"b": 1}],
        "domain_id": "default",
        "enabled": True,
    }
    assert {name: user[name] for name in expected} == expected
    assert user["password_expires_at"] is None
    assert user["links"]["self"] == f"http://cloud.test:8774{USERS}/{user['id']}"
    assert (await admin.get(f"{USERS}/{user['id']}")).json()["user"] == user
    assert await log_in(cloud, user["id"], "first")

    change = {"user": {"name": "anna", "email": None, "phone": "1", "password": "second"}}
    changed = (await admin.patch(f"{USERS}/{user['id']}", change)).json()["user"]
    assert (changed["name"], changed["phone"], changed["teams"]) == ("anna", "1", ["a", {"b": 1}])
    assert "email" not in changed
    assert await log_in(cloud, user["id"], "first") is None
    assert await log_in(cloud, user["id"], "second")

    assert (await admin.delete(f"{USERS}/{user['id']}")).status_code == 204
    assert (await admin.get(f"{USERS}/{user['id']}")).status_code == 404
    assert (await admin.delete(f"{USERS}/{user['id']}")).status_code == 404
    assert await log_in(cloud, user["id"], "second") is None


async def test_a_user_changes_its_own_password(cloud: TestCloud, admin: Client) -> None:
    user = await admin.made(USERS, {"user": {"name": "ann", "password": "old"}})
    ann = await log_in(cloud, user["id"], "old")
    assert ann is not None
    path = f"{USERS}/{user['id']}/password"
    wrong = {"user": {"password": "new", "original_password": "guess"}}
    assert (await ann.post(path, wrong)).status_code == 401
    assert (await ann.post(f"{USERS}/{'0' * 32}/password", wrong)).status_code == 401
    assert (await ann.post(path, {"user": {"password": "new"}})).status_code == 400
    assert (await ann.post(path, {"user": {"password": "", "original_password": "old"}})).status_code == 400
    right = {"user": {"password": "new", "original_password": "old"}}
    assert (await ann.post(path, right)).status_code == 204
    assert (await ann.get(f"{USERS}/{user['id']}")).status_code == 401  # the old tokens are gone with the password
    assert await log_in(cloud, user["id"], "old") is None
    assert await log_in(cloud, user["id"], "new")


async def test_names_find_users_ids_show_them(admin: Client) -> None:
    user = await admin.made(USERS, {"user": {"name": "Ann Other"}})
    assert (await admin.get(f"{USERS}/Ann%20Other")).status_code == 404

    async def named(query: str) -> list[str]:
        return [user["name"] for user in (await admin.get(USERS + query)).json()["users"]]

    assert await named("?name=Ann+Other") == ["Ann Other"]
    assert await named("?name=nobody") == []
    assert await named("?name__contains=Oth") == ["Ann Other"]
    assert await named("?name__istartswith=ann") == ["Ann Other"]
    assert await named("?name__endswith=x") == []
    assert await named("?domain_id=default&enabled=true&name=Ann%20Other") == ["Ann Other"]
    assert await named("?enabled=false") == []
    assert await named("?domain_id=other") == []
    assert (await admin.get(USERS + "?enabled=perhaps")).status_code == 400
    assert (await admin.post(USERS, {"user": {"name": user["name"]}})).status_code == 409
    await admin.made(USERS, {"user": {"name": "bob"}})
    assert (await admin.patch(f"{USERS}/{user['id']}", {"user": {"name": "bob"}})).status_code == 409


async def test_a_user_sees_itself_and_its_projects(client: Client, other: Client, admin: Client) -> None:
    mine = f"{USERS}/{client.user_id}"
    assert (await client.get(mine)).json()["user"]["id"] == client.user_id
    projects = (await client.get(mine + "/projects")).json()["projects"]
    assert [project["id"] for project in projects] == [client.project_id]
    for path in (mine, mine + "/projects"):
        assert (await other.get(path)).status_code == 403
        assert (await admin.get(path)).status_code == 200
    for call in (
        client.get(USERS),
        client.post(USERS, {"user": {"name": "x"}}),
        client.patch(mine, {"user": {"enabled": True}}),
        client.delete(mine),
    ):
        assert (await call).status_code == 403


@pytest.mark.parametrize(
    ("user", "status", "word"),
    [
        (None, 400, "user"),
        ([], 400, "user"),
        ({}, 400, "name"),
        ({"name": ""}, 400, "name"),
        ({"name": "  "}, 400, "name"),
        ({"name": "a\x00"}, 400, "name"),
        ({"name": "x" * 256}, 400, "name"),
        ({"name": 7}, 400, "name"),
        ({"name": "x", "enabled": "yes"}, 400, "enabled"),
        ({"name": "x", "password": ""}, 400, "password"),
        ({"name": "x", "password": 7}, 400, "password"),
        ({"name": "x", "password": "p" * 4097}, 400, "password"),
        ({"name": "x", "domain_id": "no-such"}, 404, "domain"),
        ({"name": "x", "default_project_id": "no-such"}, 404, "project"),
        ({"name": "x", "options": {"lock_password": True}}, 400, "lock_password"),
        ({"name": "x", "options": []}, 400, "options"),
        ({"name": "x", "more": [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}, 400, "nested"),
        ({"name": "x", **{f"f{number}": 1 for number in range(129)}}, 400, "user"),
    ],
)
async def test_what_a_user_cannot_be(admin: Client, user: object, status: int, word: str) -> None:
    answer = await admin.post(USERS, {"user": user})
    assert (answer.status_code, word in answer.json()["error"]["message"]) == (status, True), answer.text


async def test_bodies_that_are_no_json(admin: Client) -> None:
    deep = b'{"user":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    odd = b'{"user": {"name": "x", "more": ' + b"9" * 5000 + b"}}"
    for content in (b"", b"{", b'"user"', b'{"user": {"name": "\\ud800"}}', b"\xff\xfe", deep, odd):
        answer = await admin.call("POST", USERS, content=content)
        assert answer.status_code == 400, (content[:20], answer.text)


async def test_options_without_effect_are_kept(admin: Client) -> None:
    options = {"ignore_password_expiry": True, "multi_factor_auth_enabled": False}
    user = await admin.made(USERS, {"user": {"name": "x", "options": options}})
    assert user["options"] == options
    change = {"user": {"options": {"ignore_password_expiry": None}}}
    changed = (await admin.patch(f"{USERS}/{user['id']}", change)).json()["user"]
    assert changed["options"] == {"multi_factor_auth_enabled": False}
    assert (await admin.patch(f"{USERS}/{user['id']}", {"user": {"domain_id": "x"}})).status_code == 403


@pytest.mark.parametrize("gone", ["renamed", "deleted"])
async def test_an_administrator_who_was_taken_away_does_not_come_back(tmp_path: Path, gone: str) -> None:
    async with TestCloud(tmp_path) as cloud:
        boss = await cloud.client("admin", "admin", user="boss")
        (first,) = (await boss.get(f"{USERS}?name=admin")).json()["users"]
        if gone == "renamed":
            renamed = {"user": {"name": "root"}}
            assert (await boss.patch(f"{USERS}/{first['id']}", renamed)).status_code == 200
        else:
            assert (await boss.delete(f"{USERS}/{first['id']}")).status_code == 204
    async with TestCloud(tmp_path) as cloud:
        assert cloud.cloud.password is None
        boss = await cloud.client("admin", "admin", user="boss")
        assert (await boss.get(f"{USERS}?name=admin")).json()["users"] == []


async def test_an_administrator_who_went_comes_back_by_the_command_line(tmp_path: Path) -> None:
    """Deleted, then disabled with the project, then with nothing but the password forgotten."""
    state = tmp_path / "state"
    state.mkdir()
    clouds = state / "clouds.yaml"

    async def token_for(cloud: TestCloud, password: str) -> httpx.Response:
        user = {"name": "admin", "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        return await cloud.anonymous().post("/identity/v3/auth/tokens", body)

    async def disable(admin: Client, user: str, project: str) -> None:
        for path, noun in ((f"{USERS}/{user}", "user"), (f"/identity/v3/projects/{project}", "project")):
            assert (await admin.patch(path, {noun: {"enabled": False}})).status_code == 200

    password = "secret"
    for way in ("delete", "disable", "forget"):
        async with TestCloud(state) as cloud:
            answer = await token_for(cloud, password)
            token = answer.json()["token"]
            user, project = token["user"]["id"], token["project"]["id"]
            other = await cloud.client("ops", "admin")
            if way == "delete":
                assert (await other.delete(f"{USERS}/{user}")).status_code == 204
            elif way == "disable":
                await disable(other, user, project)
            assert (await token_for(cloud, password)).status_code == (201 if way == "forget" else 401)
        ran = await asyncio.to_thread(CliRunner().invoke, main, ["admin", "--state", str(state)])
        assert (ran.exit_code, ran.output) == (0, f"credentials: {clouds}\n")
        assert stat.S_IMODE(clouds.stat().st_mode) == 0o600
        old, password = password, json.loads(clouds.read_text())["clouds"]["polyport"]["auth"]["password"]
        async with TestCloud(state) as cloud:
            assert (await token_for(cloud, old)).status_code == 401
            answer = await token_for(cloud, password)
            assert {"admin"} <= {role["name"] for role in answer.json()["token"]["roles"]}
            admin = Client(cloud.http, answer.headers["x-subject-token"], project, user)
            assert (await admin.get(USERS)).status_code == 200
            assert (await admin.get("/identity/v3/auth/system")).json()["system"] == [{"all": True}]
