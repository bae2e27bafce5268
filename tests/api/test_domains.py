"""Domains: name spaces of users and projects."""

from tests.api.client import Client, TestCloud

DOMAINS = "/identity/v3/domains"


async def test_a_domains_life(cloud: TestCloud, admin: Client) -> None:
    answer = await admin.post(DOMAINS, {"domain": {"name": "labs", "description": "d", "owner": "x"}})
    assert answer.status_code == 201
    domain = answer.json()["domain"]
    assert (domain["name"], domain["enabled"], domain["owner"]) == ("labs", True, "x")
    path = f"{DOMAINS}/{domain['id']}"
    user = {"name": "admin", "domain_id": domain["id"], "password": "pw"}  # names are free again in each domain
    user_id = (await admin.made("/identity/v3/users", {"user": user}))["id"]
    project = await admin.made("/identity/v3/projects", {"project": {"name": "admin", "domain_id": domain["id"]}})
    child = {"name": "child", "parent_id": project["id"]}
    await admin.made("/identity/v3/projects", {"project": child})
    role = (await admin.get("/identity/v3/roles?name=reader")).json()["roles"][0]["id"]
    assert (await admin.put(f"{path}/users/{user_id}/roles/{role}")).status_code == 204

    login = {"name": "admin", "domain": {"name": "labs"}, "password": "pw"}
    identity = {"methods": ["password"], "password": {"user": login}}
    body = {"auth": {"identity": identity, "scope": {"domain": {"name": "labs"}}}}
    token = await cloud.anonymous().post("/identity/v3/auth/tokens", body)
    assert token.json()["token"]["domain"] == {"id": domain["id"], "name": "labs"}
    assert [role["name"] for role in token.json()["token"]["roles"]] == ["reader"]
    caller = Client(cloud.http, token.headers["x-subject-token"], "", user_id)
    assert (await caller.get(path)).json()["domain"]["id"] == domain["id"]
    assert (await caller.get(f"{DOMAINS}/default")).status_code == 403
    found = (await caller.get("/identity/v3/auth/domains")).json()["domains"]
    assert [one["name"] for one in found] == ["labs"]

    assert (await admin.delete(path)).status_code == 403  # it must be disabled first
    assert (await admin.patch(path, {"domain": {"enabled": False}})).json()["domain"]["enabled"] is False
    assert (await caller.get(path)).status_code == 401
    assert (await cloud.anonymous().post("/identity/v3/auth/tokens", body)).status_code == 401
    assert (await admin.delete(path)).status_code == 204
    for gone in (path, f"/identity/v3/users/{user_id}", f"/identity/v3/projects/{project['id']}"):
        assert (await admin.get(gone)).status_code == 404


async def test_lists_and_names(admin: Client, client: Client) -> None:
    await admin.made(DOMAINS, {"domain": {"name": "labs"}})
    found = (await admin.get(DOMAINS + "?name=Default")).json()["domains"]
    assert [(one["id"], one["name"]) for one in found] == [("default", "Default")]
    assert [one["name"] for one in (await admin.get(DOMAINS)).json()["domains"]] == ["Default", "labs"]
    assert (await admin.get(DOMAINS + "/labs")).status_code == 404
    assert (await admin.post(DOMAINS, {"domain": {"name": "labs"}})).status_code == 409
    assert (await admin.patch(DOMAINS + "/default", {"domain": {"name": "labs"}})).status_code == 409
    assert (await admin.post(DOMAINS, {"domain": {"name": ""}})).status_code == 400
    assert (await admin.post(DOMAINS, {"domain": {"name": "x", "options": {"immutable": True}}})).status_code == 400
    assert (await client.get(DOMAINS + "/default")).status_code == 200
    assert (await client.get(DOMAINS)).status_code == 403
    assert (await client.post(DOMAINS, {"domain": {"name": "x"}})).status_code == 403


async def test_the_default_domain_stays(admin: Client, cloud: TestCloud) -> None:
    path = DOMAINS + "/default"
    for answer in (await admin.patch(path, {"domain": {"enabled": False}}), await admin.delete(path)):
        assert answer.status_code == 403
        assert answer.json()["error"]["message"] == "The default domain cannot be disabled or deleted."
    assert (await admin.get(path)).json()["domain"]["enabled"] is True
    changed = await admin.patch(path, {"domain": {"enabled": True, "description": "mine"}})
    assert (changed.status_code, changed.json()["domain"]["description"]) == (200, "mine")
    login = {"name": "admin", "domain": {"id": "default"}, "password": "secret"}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": login}}}}
    assert (await cloud.anonymous().post("/identity/v3/auth/tokens", body)).status_code == 201


async def test_tags(admin: Client) -> None:
    made = await admin.made(DOMAINS, {"domain": {"name": "labs", "tags": ["blue", "edge"]}})
    assert made["tags"] == ["blue", "edge"]
    path = f"{DOMAINS}/{made['id']}"
    assert (await admin.patch(path, {"domain": {"description": "d"}})).json()["domain"]["tags"] == ["blue", "edge"]
    assert (await admin.patch(path, {"domain": {"tags": ["red"]}})).json()["domain"]["tags"] == ["red"]
    assert (await admin.get(path)).json()["domain"]["tags"] == ["red"]
    found = (await admin.get(DOMAINS)).json()["domains"]
    assert {domain["name"]: domain["tags"] for domain in found} == {"Default": [], "labs": ["red"]}
    for tags in ("red", ["a,b"], ["a/b"], [5], [""], ["x"] * 81):
        assert (await admin.patch(path, {"domain": {"tags": tags}})).status_code == 400
    assert (await admin.patch(path, {"domain": {"tags": []}})).json()["domain"]["tags"] == []
