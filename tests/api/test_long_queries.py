"""Queries longer than any client's: answered or refused, never a failure of the database behind them."""

import pytest

from tests.api.client import Client
from tests.api.stock import make_server


@pytest.mark.parametrize("parameter", ["tag=t{n}", "p{n}=x", "name=n{n}", "created_at=2020-01-01T00:00:00Z"])
async def test_images_by_very_many_filters(client: Client, parameter: str) -> None:
    query = "&".join(parameter.format(n=number) for number in range(399))
    assert (await client.get(f"/image/images?{query}")).status_code == 200


async def test_one_sort_key_very_often(client: Client) -> None:
    made = [(await client.made("/image/images", {"name": name}))["id"] for name in "ab"]
    often = ",".join(["name:asc"] * 5000)
    page = await client.get(f"/image/images?sort={often}&marker={made[0]}")
    assert [image["id"] for image in page.json()["images"]] == made[1:]


@pytest.mark.parametrize("name", ["tags", "tags-any", "not-tags", "not-tags-any"])
async def test_networks_by_very_many_tags(client: Client, name: str) -> None:
    network = await client.made("/network/networks", {"network": {"name": "n"}})
    await client.put(f"/network/networks/{network['id']}/tags", {"tags": ["t1", "t2"]})
    many = ",".join(f"t{number}" for number in range(900))
    expected = {"tags": [], "tags-any": ["n"], "not-tags": ["n"], "not-tags-any": []}[name]
    found = await client.get(f"/network/networks?{name}={many}")
    assert [network["name"] for network in found.json()["networks"]] == expected
    too_many = ",".join(f"t{number}" for number in range(10_000))
    assert (await client.get(f"/network/networks?{name}={too_many}")).status_code == 400


async def test_more_parameters_than_there_may_be(client: Client) -> None:
    for path in ("/image/images", "/network/ports", "/compute/servers", "/identity/v3/auth/projects"):
        answer = await client.get(path + "?" + "&".join(["created_at=x"] * 401))
        assert answer.status_code == 413, path


@pytest.mark.parametrize("name", ["tags", "tags-any", "not-tags", "not-tags-any"])
async def test_servers_by_very_many_tags(client: Client, name: str) -> None:
    server = await make_server(client)
    await client.put(f"/compute/servers/{server['id']}/tags", {"tags": ["t1", "t2", "t3"]}, "2.60")
    expected = {"tags": False, "tags-any": True, "not-tags": True, "not-tags-any": False}[name]
    for count in (10, 10_000):
        many = ",".join(f"t{number}" for number in range(count))
        found = await client.get(f"/compute/servers?{name}={many}", "2.60")
        assert found.status_code == 200, found.text
        assert bool(found.json()["servers"]) is expected
    twice = await client.get(f"/compute/servers?{name}=t2,t1,t2", "2.60")
    assert bool(twice.json()["servers"]) is (name in ("tags", "tags-any"))
