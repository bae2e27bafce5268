"""The way to a token, what it is worth, and what ends that."""

import asyncio
import threading

import httpx

from polyport.identity.passwords import hash_password
from polyport.identity.users import UserChange, update_user
from tests.api.client import Client, TestCloud


def by_password(name: str = "admin", password: str = "secret", **scope: object) -> dict[str, object]:
    user = {"name": name, "domain": {"id": "default"}, "password": password}
    auth: dict[str, object] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope:
        auth["scope"] = scope
    return {"auth": auth}


def by_token(token: str, **scope: object) -> dict[str, object]:
    auth: dict[str, object] = {"identity": {"methods": ["token"], "token": {"id": token}}}
    if scope:
        auth["scope"] = scope
    return {"auth": auth}


ADMIN_PROJECT = {"name": "admin", "domain": {"name": "Default"}}


async def log_in(cloud: TestCloud, **scope: object) -> httpx.Response:
    return await cloud.anonymous().post("/identity/v3/auth/tokens", by_password(**scope))  # type: ignore[arg-type]


async def test_a_password_is_worth_a_token_that_opens_the_cloud(cloud: TestCloud) -> None:
    answer = await log_in(cloud, project=ADMIN_PROJECT)
    assert answer.status_code == 201
    token = answer.json()["token"]
    assert token["methods"] == ["password"]
    assert token["project"]["name"] == "admin"
    assert token["project"]["domain"] == {"id": "default", "name": "Default"}
    assert token["user"]["name"] == "admin"
    assert {role["name"] for role in token["roles"]} == {"admin", "manager", "member", "reader"}
    assert len(token["audit_ids"]) == 1
    assert token["issued_at"] < token["expires_at"]
    assert token["expires_at"].endswith("Z")
    caller = Client(cloud.http, answer.headers["x-subject-token"], token["project"]["id"], token["user"]["id"])
    assert (await caller.get("/identity/v3/users")).status_code == 200


async def test_a_domain_is_found_by_its_name_in_other_letters(cloud: TestCloud, admin: Client) -> None:
    in_small = {"name": "admin", "domain": {"name": "default"}}
    assert (await log_in(cloud, project=in_small)).json()["token"]["project"]["domain"]["name"] == "Default"
    # Where two differ in nothing else, only what is written as it is says which.
    second = await admin.made("/identity/v3/domains", {"domain": {"name": "dEFAULT"}})
    assert (await log_in(cloud, project=in_small)).status_code == 401
    assert (await log_in(cloud, project=ADMIN_PROJECT)).status_code == 201
    assert (await log_in(cloud, domain={"name": second["name"]})).status_code == 401  # no role on it
    assert (await log_in(cloud, project={"name": "admin", "domain": {"name": "defaul_"}})).status_code == 401


async def test_the_same_answer_at_the_root_of_the_host(cloud: TestCloud) -> None:
    answer = await cloud.anonymous().post("/v3/auth/tokens", by_password(project=ADMIN_PROJECT))
    assert answer.status_code == 201
    assert "x-subject-token" in answer.headers
    assert (await cloud.anonymous().get("/v3")).json()["version"]["id"].startswith("v3")


async def test_the_catalog_says_where_the_services_are(cloud: TestCloud) -> None:
    token = (await log_in(cloud, project=ADMIN_PROJECT)).json()["token"]
    urls = {
        service["type"]: {endpoint["interface"]: endpoint["url"] for endpoint in service["endpoints"]}
        for service in token["catalog"]
    }
    root = "http://cloud.test:8774"
    assert {kind: faces["public"] for kind, faces in urls.items()} == {
        "identity": f"{root}/identity",
        "compute": f"{root}/compute/v2.1",
        "image": f"{root}/image",
        "network": f"{root}/network",
    }
    assert all(set(faces) == {"public", "internal", "admin"} for faces in urls.values())
    body = by_password(project=ADMIN_PROJECT)
    bare = await cloud.anonymous().post("/identity/v3/auth/tokens?nocatalog", body)
    assert "catalog" not in bare.json()["token"]


async def test_who_cannot_prove_who_it_is_gets_one_answer(cloud: TestCloud) -> None:
    await cloud.client("demo", "member", user="without-password")
    answers = [
        await cloud.anonymous().post("/identity/v3/auth/tokens", body)
        for body in (
            by_password(password="wrong"),
            by_password(name="nobody"),
            by_password(name="without-password", password=""),
            by_token("no-such-token"),
            by_password(project={"name": "no-such-project", "domain": {"id": "default"}}),
            by_password(project={"id": "0" * 32}),
            by_password(domain={"id": "default"}),
        )
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].json()["error"]["title"] == "Unauthorized"


async def test_what_is_no_login_is_a_400_that_says_why(cloud: TestCloud) -> None:
    nameless = by_password()
    nameless["auth"]["identity"]["password"]["user"] = {"password": "x"}  # type: ignore[index]
    homeless = by_password()
    del homeless["auth"]["identity"]["password"]["user"]["domain"]  # type: ignore[index]
    for body, word in (
        ({}, "auth"),
        ({"auth": {}}, "identity"),
        ({"auth": {"identity": {"methods": []}}}, "methods"),
        ({"auth": {"identity": {"methods": ["password"]}}}, "password"),
        ({"auth": {"identity": {"methods": ["token"]}}}, "token"),
        ({"auth": {"identity": {"methods": "password"}}}, "methods"),
        (nameless, "user"),
        (homeless, "domain"),
        (by_password(project={"name": "admin"}), "domain"),
        (by_password(project={"id": 7}), "project.id"),
        (by_password(project={"id": "x"}, domain={"id": "y"}), "scope"),
        (by_password(system={"all": False}), "system"),
    ):
        answer = await cloud.anonymous().post("/identity/v3/auth/tokens", body)
        assert (answer.status_code, word in answer.json()["error"]["message"]) == (400, True), answer.text
    unsupported = {"auth": {"identity": {"methods": ["totp"], "totp": {}}}}
    assert (await cloud.anonymous().post("/identity/v3/auth/tokens", unsupported)).status_code == 401


async def test_a_token_is_rescoped_but_never_lives_longer(cloud: TestCloud) -> None:
    first = await log_in(cloud)
    assert "project" not in first.json()["token"]
    token = first.headers["x-subject-token"]
    again = await cloud.anonymous().post("/identity/v3/auth/tokens", by_token(token, project=ADMIN_PROJECT))
    assert again.status_code == 201
    facts, before = again.json()["token"], first.json()["token"]
    assert facts["expires_at"] == before["expires_at"]
    assert facts["methods"] == ["password", "token"]
    assert facts["audit_ids"][1:] == before["audit_ids"]
    third = await cloud.anonymous().post(
        "/identity/v3/auth/tokens", by_token(again.headers["x-subject-token"], system={"all": True})
    )
    assert third.json()["token"]["system"] == {"all": True}
    assert third.json()["token"]["audit_ids"][1:] == before["audit_ids"]


async def test_scopes_that_may_be_had_are_listed(cloud: TestCloud, client: Client) -> None:
    projects = (await client.get("/identity/v3/auth/projects")).json()["projects"]
    assert [project["name"] for project in projects] == ["demo"]
    assert (await client.get("/identity/v3/auth/domains")).json()["domains"] == []
    assert (await client.get("/identity/v3/auth/system")).json()["system"] == []
    answer = await log_in(cloud, project=ADMIN_PROJECT)
    admin = Client(cloud.http, answer.headers["x-subject-token"], "", "")
    assert (await admin.get("/identity/v3/auth/system")).json()["system"] == [{"all": True}]


async def test_a_default_project_is_the_scope_of_who_names_none(cloud: TestCloud, admin: Client) -> None:
    project = await admin.made("/identity/v3/projects", {"project": {"name": "home"}})
    wanted = {"name": "ann", "password": "pw", "default_project_id": project["id"]}
    user = await admin.made("/identity/v3/users", {"user": wanted})
    anonymous = cloud.anonymous()
    unscoped = await anonymous.post("/identity/v3/auth/tokens", by_password("ann", "pw"))
    assert "project" not in unscoped.json()["token"]  # no role there yet
    role = (await admin.get("/identity/v3/roles?name=reader")).json()["roles"][0]
    path = f"/identity/v3/projects/{project['id']}/users/{user['id']}/roles/{role['id']}"
    assert (await admin.put(path)).status_code == 204
    scoped = await anonymous.post("/identity/v3/auth/tokens", by_password("ann", "pw"))
    assert scoped.json()["token"]["project"]["id"] == project["id"]
    asked = by_password("ann", "pw")
    asked["auth"]["scope"] = "unscoped"  # type: ignore[index]
    assert "project" not in (await anonymous.post("/identity/v3/auth/tokens", asked)).json()["token"]


async def test_a_default_project_that_cannot_be_had_keeps_nobody_out(cloud: TestCloud, admin: Client) -> None:
    domain = await admin.made("/identity/v3/domains", {"domain": {"name": "d"}})
    project = await admin.made("/identity/v3/projects", {"project": {"name": "home", "domain_id": domain["id"]}})
    wanted = {"name": "ann", "password": "pw", "default_project_id": project["id"]}
    user = await admin.made("/identity/v3/users", {"user": wanted})
    role = (await admin.get("/identity/v3/roles?name=reader")).json()["roles"][0]
    assert (await admin.put(f"/identity/v3/projects/{project['id']}/users/{user['id']}/roles/{role['id']}")).is_success
    for path, noun in ((f"projects/{project['id']}", "project"), (f"domains/{domain['id']}", "domain")):
        for enabled in (False, True):
            assert (await admin.patch(f"/identity/v3/{path}", {noun: {"enabled": enabled}})).is_success
            answer = await cloud.anonymous().post("/identity/v3/auth/tokens", by_password("ann", "pw"))
            assert answer.status_code == 201, (noun, enabled)
            assert ("project" in answer.json()["token"]) is enabled


async def test_a_token_can_be_looked_at_and_ended_by_its_owner_alone(
    cloud: TestCloud, client: Client, other: Client, admin: Client
) -> None:
    subject = {"x-subject-token": client.headers["x-auth-token"]}
    path = "/identity/v3/auth/tokens"
    seen = await client.get(path, headers=subject)
    assert seen.json()["token"]["project"]["id"] == client.project_id
    assert (await client.call("HEAD", path, headers=subject)).status_code == 200
    assert (await client.get(path)).status_code == 400
    assert (await other.get(path, headers=subject)).status_code == 403
    assert (await other.delete(path, headers=subject)).status_code == 403
    assert (await admin.get(path, headers=subject)).status_code == 200
    assert (await client.delete(path, headers=subject)).status_code == 204
    assert (await client.get("/identity/v3/auth/projects")).status_code == 401
    assert (await admin.get(path, headers=subject)).status_code == 404
    assert (await admin.delete(path, headers=subject)).status_code == 404


async def test_what_takes_the_ground_from_a_token_ends_it_at_once(cloud: TestCloud, admin: Client) -> None:
    async def works(caller: Client) -> bool:
        return (await caller.get("/image/images")).status_code == 200

    project = {"project": {"enabled": False}}
    caller = await cloud.client("p1", "member")
    assert await works(caller)
    assert (await admin.patch(f"/identity/v3/projects/{caller.project_id}", project)).status_code == 200
    assert not await works(caller)

    caller = await cloud.client("p2", "member")
    assert await works(caller)
    user = {"user": {"enabled": False}}
    assert (await admin.patch(f"/identity/v3/users/{caller.user_id}", user)).status_code == 200
    assert not await works(caller)

    caller = await cloud.client("p3", "member")
    assert await works(caller)
    assert (await admin.delete(f"/identity/v3/users/{caller.user_id}")).status_code == 204
    assert not await works(caller)

    caller = await cloud.client("p4", "member")
    assert await works(caller)
    role = (await admin.get("/identity/v3/roles?name=member")).json()["roles"][0]["id"]
    path = f"/identity/v3/projects/{caller.project_id}/users/{caller.user_id}/roles/{role}"
    assert (await admin.delete(path)).status_code == 204
    assert not await works(caller)

    caller = await cloud.client("p5", "member")
    assert await works(caller)
    change = {"user": {"password": "new"}}
    assert (await admin.patch(f"/identity/v3/users/{caller.user_id}", change)).status_code == 200
    assert not await works(caller)

    caller = await cloud.client("p6", "member")
    assert await works(caller)
    assert (await admin.delete(f"/identity/v3/projects/{caller.project_id}")).status_code == 204
    assert not await works(caller)


async def test_a_token_that_ended_does_not_come_back(cloud: TestCloud, admin: Client) -> None:
    domain = await admin.made("/identity/v3/domains", {"domain": {"name": "d"}})
    role = (await admin.get("/identity/v3/roles?name=member")).json()["roles"][0]["id"]
    project = await admin.made("/identity/v3/projects", {"project": {"name": "p", "domain_id": domain["id"]}})
    theirs = {"name": "u", "domain_id": domain["id"], "password": "pw"}
    user = await admin.made("/identity/v3/users", {"user": theirs})
    guest = await admin.made("/identity/v3/users", {"user": {"name": "guest", "password": "pw"}})
    for path in (
        f"projects/{project['id']}/users/{user['id']}",
        f"domains/{domain['id']}/users/{user['id']}",
        f"projects/{project['id']}/users/{guest['id']}",
    ):
        assert (await admin.put(f"/identity/v3/{path}/roles/{role}")).status_code == 204

    async def token_of(user_id: str, **scope: object) -> Client:
        password = {"user": {"id": user_id, "password": "pw"}}
        auth = {"identity": {"methods": ["password"], "password": password}, "scope": scope}
        answer = await cloud.anonymous().post("/identity/v3/auth/tokens", {"auth": auth})
        assert answer.status_code == 201, answer.text
        return Client(cloud.http, answer.headers["x-subject-token"], project["id"], user_id)

    in_project, in_domain = {"project": {"id": project["id"]}}, {"domain": {"id": domain["id"]}}
    callers = [
        await token_of(user["id"], **in_project),
        await token_of(user["id"], **in_domain),
        await token_of(guest["id"], **in_project),
        await token_of(user["id"], unscoped={}),
    ]
    mine = "/identity/v3/auth/projects"
    for path, noun in ((f"domains/{domain['id']}", "domain"), (f"projects/{project['id']}", "project")):
        assert [(await caller.get(mine)).status_code for caller in callers] == [200] * len(callers)
        for enabled in (False, True):
            answer = await admin.patch(f"/identity/v3/{path}", {noun: {"enabled": enabled}})
            assert answer.status_code == 200
            assert [(await caller.get(mine)).status_code for caller in callers] == [401] * len(callers)
        callers = [await token_of(user["id"], **in_project), await token_of(guest["id"], **in_project)]


async def test_no_token_or_a_wrong_one(cloud: TestCloud) -> None:
    for headers in ({}, {"x-auth-token": "wrong"}):
        answer = await cloud.anonymous().get("/identity/v3/auth/projects", headers=headers)
        assert answer.status_code == 401
        assert "identity" in answer.headers["www-authenticate"]


async def test_versions_are_found_from_the_root_on(cloud: TestCloud) -> None:
    anonymous = cloud.anonymous()
    for path in ("/", "/identity", "/identity/"):
        answer = await anonymous.get(path)
        assert answer.status_code == 300
        (version,) = answer.json()["versions"]["values"]
        assert set(version) == {"id", "links", "media-types", "status", "updated"}
        assert version["links"][0]["href"] == "http://cloud.test:8774/identity/v3/"
    for path in ("/identity/v3", "/identity/v3/", "/v3/"):
        answer = await anonymous.get(path)
        assert answer.status_code == 200
        assert answer.json()["version"]["status"] == "stable"


async def test_a_new_password_ends_a_token_that_is_just_being_made(cloud: TestCloud, admin: Client) -> None:
    """The token it is made from is valid when it is looked at, and gone when the new one's turn to be written comes."""
    database = cloud.cloud.database
    user = await admin.made("/identity/v3/users", {"user": {"name": "ann", "password": "old"}})
    token = (await cloud.anonymous().post("/identity/v3/auth/tokens", by_password("ann", "old"))).headers
    go_on = threading.Event()
    change = UserChange(password_hash=hash_password("new"))
    first = [
        asyncio.create_task(database.write(lambda tx: go_on.wait(10))),
        asyncio.create_task(database.write(lambda tx: update_user(tx, user["id"], change))),
    ]
    await asyncio.sleep(0)  # both are asked for
    making = asyncio.create_task(cloud.anonymous().post("/identity/v3/auth/tokens", by_token(token["x-subject-token"])))
    async with asyncio.timeout(10):
        while database._jobs.qsize() < 2:
            await asyncio.sleep(0.001)
        go_on.set()
        await asyncio.gather(*first)
        assert (await making).status_code == 401
