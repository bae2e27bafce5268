"""Lists of the network service: filters, order, pages, fields, tags."""

from typing import Any

import pytest

from tests.api.client import Client
from tests.api.stock import make_network


async def names(client: Client, query: str, noun: str = "ports") -> list[str]:
    answer = await client.get(f"/network/{noun}?{query}")
    assert answer.status_code == 200, answer.text
    return [entry["name"] for entry in answer.json()[noun]]


@pytest.fixture
async def ports(client: Client) -> list[dict[str, Any]]:
    """Five ports on one network: p0 to p4 at 10.0.0.2 and on."""
    network = await make_network(client)
    wanted = [{"network_id": network, "name": f"p{n}", "admin_state_up": n % 2 == 0} for n in range(5)]
    made: list[dict[str, Any]] = (await client.post("/network/ports", {"ports": wanted})).json()["ports"]
    return made


async def test_filters(client: Client, ports: list[dict[str, Any]]) -> None:
    ordered = "&sort_key=name&sort_dir=asc"
    subnet = ports[0]["fixed_ips"][0]["subnet_id"]
    assert await names(client, "name=p1") == ["p1"]
    assert await names(client, "name=p1&name=p3" + ordered) == ["p1", "p3"]
    assert await names(client, "name=p1&admin_state_up=True") == []
    assert await names(client, "admin_state_up=false" + ordered) == ["p1", "p3"]
    assert await names(client, f"id={ports[2]['id']}") == ["p2"]
    assert await names(client, f"mac_address={ports[2]['mac_address'].upper()}") == ["p2"]
    assert await names(client, f"network_id={ports[0]['network_id']}" + ordered) == ["p0", "p1", "p2", "p3", "p4"]
    assert await names(client, "project_id=nobody") == []
    assert await names(client, "device_id=" + ordered) == ["p0", "p1", "p2", "p3", "p4"]
    assert await names(client, "fixed_ips=ip_address=10.0.0.4") == ["p2"]
    assert await names(client, "fixed_ips=ip_address=10.0.0.4&fixed_ips=ip_address=10.0.0.5" + ordered) == ["p2", "p3"]
    assert await names(client, f"fixed_ips=subnet_id={subnet}&fixed_ips=ip_address=10.0.0.4") == ["p2"]
    assert await names(client, "fixed_ips=ip_address_substr=0.0.3") == ["p1"]
    assert await names(client, "fixed_ips=ip_address_substr=0.0.3&fixed_ips=ip_address=10.0.0.4") == []
    assert await names(client, "fixed_ips=ip_address=nonsense") == []
    assert len(await names(client, "changed_since=2020-01-01T00:00:00Z")) == 5
    assert await names(client, "changed_since=2999-01-01T00:00:00Z") == []
    assert await names(client, f"network_id={ports[0]['network_id']}&status=DOWN&name=p4") == ["p4"]


async def test_filters_on_what_is_the_same_for_all(client: Client) -> None:
    await make_network(client, "net1")
    assert await names(client, "status=ACTIVE&router:external=False", "networks") == ["net1"]
    assert await names(client, "router%3Aexternal=True", "networks") == []
    assert await names(client, "status=DOWN", "networks") == []
    assert await names(client, "mtu=1500&shared=0", "networks") == ["net1"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("colour=blue", "colour"),
        ("admin_state_up=perhaps", "admin_state_up"),
        ("revision_number=x", "revision_number"),
        ("sort_key=colour", "sort_key"),
        ("sort_key=name&sort_dir=up", "sort_dir"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("fixed_ips=x", "fixed_ips"),
        ("binding:host_id=x", "binding:host_id"),
        ("marker=nonsense&limit=1", "nonsense"),
        ("changed_since=yesterday", "changed_since"),
        ("changed_since=", "changed_since"),
    ],
)
async def test_queries_that_are_refused_name_the_parameter(client: Client, query: str, named: str) -> None:
    answer = await client.get(f"/network/ports?{query}")
    assert answer.status_code in (400, 404)
    assert named in answer.json()["NeutronError"]["message"]


@pytest.mark.parametrize("noun", ["networks", "subnets", "ports", "security-groups", "security-group-rules"])
async def test_no_query_is_too_odd(client: Client, noun: str) -> None:
    network = await make_network(client)
    await client.made("/network/ports", {"port": {"network_id": network}})
    columns = (await client.get(f"/network/{noun}")).json()[noun.replace("-", "_")][0]
    queries = []
    for name in (
        *columns,
        "tags-any",
        "not-tags",
        "changed_since",
        "sort_key",
        "sort_dir",
        "limit",
        "marker",
        "fields",
    ):
        queries.append(f"limit=1&sort_key={name}")
        for value in ("%00", "%ED%A0%80", "x" * 5000, "'\"--", "%F0%9F%A6%8A", "-1", "9" * 30, "true", ""):
            queries += [f"{name}={value}", f"{name}={value}&limit=1&marker={value}"]
    for query in queries:
        answer = await client.get(f"/network/{noun}?{query}")
        assert answer.status_code in (200, 400, 404), (query, answer.text)


async def test_fields(client: Client, ports: list[dict[str, Any]]) -> None:
    listed = (await client.get("/network/ports?fields=id&fields=name&name=p1")).json()["ports"]
    assert listed == [{"id": ports[1]["id"], "name": "p1"}]
    shown = (await client.get(f"/network/ports/{ports[1]['id']}?fields=name")).json()["port"]
    assert shown == {"name": "p1"}


async def test_order(client: Client, ports: list[dict[str, Any]]) -> None:
    assert await names(client, "sort_key=name&sort_dir=desc") == ["p4", "p3", "p2", "p1", "p0"]
    assert await names(client, "sort_key=admin_state_up&sort_dir=asc&sort_key=name&sort_dir=desc") == [
        "p3",
        "p1",
        "p4",
        "p2",
        "p0",
    ]


async def test_pages_forwards_and_backwards(client: Client, ports: list[dict[str, Any]]) -> None:
    path = "/network/ports?sort_key=name&sort_dir=asc&limit=2"
    seen = []
    for _ in range(3):
        page = (await client.get(path)).json()
        seen.append([port["name"] for port in page["ports"]])
        links = {link["rel"]: link["href"].removeprefix("http://cloud.test:8774") for link in page["ports_links"]}
        path = links.get("next", "")
    assert seen == [["p0", "p1"], ["p2", "p3"], ["p4"]]
    assert path == ""
    back = (await client.get(links["previous"])).json()
    assert [port["name"] for port in back["ports"]] == ["p2", "p3"]
    links = {link["rel"]: link["href"].removeprefix("http://cloud.test:8774") for link in back["ports_links"]}
    first = (await client.get(links["previous"])).json()
    assert [port["name"] for port in first["ports"]] == ["p0", "p1"]
    links = {link["rel"]: link["href"].removeprefix("http://cloud.test:8774") for link in first["ports_links"]}
    before = (await client.get(links["previous"])).json()
    assert before["ports"] == []
    assert [link["rel"] for link in before["ports_links"]] == ["next"]
    last = await names(client, "sort_key=name&sort_dir=asc&limit=2&page_reverse=True")
    assert last == ["p3", "p4"]
    assert "ports_links" not in (await client.get("/network/ports?limit=0")).json()


async def test_pages_where_values_are_equal_or_missing(client: Client) -> None:
    network = await client.made("/network/networks", {"network": {}})
    for n in range(5):
        body = {"network_id": network["id"], "ip_version": 4, "cidr": f"10.0.{n}.0/24", "name": f"s{n}"}
        await client.made("/network/subnets", {"subnet": body | ({"gateway_ip": None} if n % 2 else {})})
    path, seen = "/network/subnets?sort_key=gateway_ip&sort_dir=desc&limit=1", []
    while path:
        page = (await client.get(path)).json()
        seen += [subnet["name"] for subnet in page["subnets"]]
        links = {link["rel"]: link["href"].removeprefix("http://cloud.test:8774") for link in page["subnets_links"]}
        path = links.get("next", "")
    assert seen[:3] == ["s4", "s2", "s0"]
    assert sorted(seen[3:]) == ["s1", "s3"]


async def test_tags(client: Client, ports: list[dict[str, Any]]) -> None:
    async def tag(n: int, *tags: str) -> None:
        answer = await client.put(f"/network/ports/{ports[n]['id']}/tags", {"tags": list(tags)})
        assert answer.json() == {"tags": list(tags)}

    await tag(0, "red", "blue")
    await tag(1, "red")
    await tag(2, "Red")
    ordered = "&sort_key=name&sort_dir=asc"
    assert await names(client, "tags=red" + ordered) == ["p0", "p1"]
    assert await names(client, "tags=red,blue") == ["p0"]
    assert await names(client, "tags-any=Red,blue" + ordered) == ["p0", "p2"]
    assert await names(client, "not-tags=red,blue" + ordered) == ["p1", "p2", "p3", "p4"]
    assert await names(client, "not-tags-any=red,blue" + ordered) == ["p2", "p3", "p4"]


@pytest.mark.parametrize("noun", ["networks", "subnets", "ports", "security-groups"])
async def test_tags_one_by_one(client: Client, noun: str) -> None:
    network = await make_network(client)
    await client.made("/network/ports", {"port": {"network_id": network}})
    listed = (await client.get(f"/network/{noun}")).json()
    thing = f"/network/{noun}/{listed[noun.replace('-', '_')][0]['id']}"
    assert (await client.put(f"{thing}/tags/red")).status_code == 201
    assert (await client.put(f"{thing}/tags/red")).status_code == 201
    assert (await client.get(f"{thing}/tags/red")).status_code == 204
    assert (await client.get(f"{thing}/tags/blue")).status_code == 404
    assert (await client.post(f"{thing}/tags", {"tags": ["green", "red"]})).json() == {"tags": ["red", "green"]}
    assert (await client.get(f"{thing}/tags")).json() == {"tags": ["red", "green"]}
    assert (await client.delete(f"{thing}/tags/red")).status_code == 204
    missing = await client.delete(f"{thing}/tags/red")
    assert missing.json()["NeutronError"]["type"] == "TagNotFound"
    assert (await client.delete(f"{thing}/tags")).status_code == 204
    assert (await client.get(thing)).json()[noun.replace("-", "_")[:-1]]["tags"] == []
    for tags in (["a,b"], [""], ["x" * 256], [7], "red", [f"t{n}" for n in range(51)]):
        assert (await client.put(f"{thing}/tags", {"tags": tags})).status_code == 400


async def test_tags_of_others(client: Client, other: Client) -> None:
    path = f"/network/networks/{await make_network(client)}/tags"
    assert (await client.put(f"{path}/blue")).status_code == 201
    assert (await other.get(path)).status_code == 404
    assert (await other.put(f"{path}/red")).status_code == 404
    assert (await other.put(path, {"tags": ["red"]})).status_code == 404
    assert (await other.delete(path)).status_code == 404
    assert (await client.get(path)).json() == {"tags": ["blue"]}
