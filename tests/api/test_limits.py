"""What a project may have and has."""

from tests.api.client import Client


async def absolute(client: Client, version: str | None = None, query: str = "") -> dict[str, int]:
    answer = await client.get(f"/compute/limits{query}", version)
    assert answer.status_code == 200, answer.text
    limits = answer.json()["limits"]
    assert limits["rate"] == []
    found: dict[str, int] = limits["absolute"]
    return found


async def test_limits_shrink_with_the_versions(client: Client) -> None:
    first = await absolute(client)
    assert first["maxTotalInstances"] == 10000
    assert first["totalInstancesUsed"] == 0
    assert all(type(value) is int for value in first.values())
    without_networks = await absolute(client, "2.36")
    assert first.keys() - without_networks.keys() == {
        "maxTotalFloatingIps",
        "maxSecurityGroups",
        "maxSecurityGroupRules",
        "totalFloatingIpsUsed",
        "totalSecurityGroupsUsed",
    }
    without_images = await absolute(client, "2.39")
    assert without_networks.keys() - without_images.keys() == {"maxImageMeta"}
    without_files = await absolute(client, "2.57")
    assert without_images.keys() - without_files.keys() == {"maxPersonality", "maxPersonalitySize"}


async def test_limits_of_another_project_are_for_administrators(client: Client, other: Client, admin: Client) -> None:
    await admin.put(f"/compute/os-quota-sets/{other.project_id}", {"quota_set": {"cores": 7}})
    query = f"?tenant_id={other.project_id}"
    assert (await absolute(admin, query=query))["maxTotalCores"] == 7
    assert (await client.get(f"/compute/limits{query}")).status_code == 403
    assert (await absolute(other, query=query))["maxTotalCores"] == 7
    assert (await absolute(client))["maxTotalCores"] == 40000


async def test_unknown_parameters_are_refused_from_2_75_on(client: Client) -> None:
    await absolute(client, "2.74", "?colour=red")
    assert (await client.get("/compute/limits?colour=red", "2.75")).status_code == 400
