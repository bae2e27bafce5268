"""The catalog, as pages of its own."""

from tests.api.client import Client

V3 = "/identity/v3"


async def test_the_catalog_of_a_token(client: Client) -> None:
    catalog = (await client.get(f"{V3}/auth/catalog")).json()["catalog"]
    assert [service["type"] for service in catalog] == ["identity", "compute", "image", "network"]
    assert all(endpoint["region"] == "RegionOne" for service in catalog for endpoint in service["endpoints"])


async def test_regions_services_endpoints(client: Client, admin: Client) -> None:
    assert [region["id"] for region in (await client.get(f"{V3}/regions")).json()["regions"]] == ["RegionOne"]
    assert (await client.get(f"{V3}/regions/RegionOne")).json()["region"]["id"] == "RegionOne"
    assert (await client.get(f"{V3}/regions/Nowhere")).status_code == 404
    (compute,) = (await admin.get(f"{V3}/services?type=compute")).json()["services"]
    assert (compute["name"], compute["enabled"]) == ("nova", True)
    assert (await admin.get(f"{V3}/services/{compute['id']}")).json()["service"] == compute
    assert (await admin.get(f"{V3}/services/nova")).status_code == 404
    query = f"?service_id={compute['id']}&interface=public"
    (endpoint,) = (await admin.get(f"{V3}/endpoints{query}")).json()["endpoints"]
    assert endpoint["url"] == "http://cloud.test:8774/compute/v2.1"
    assert (await admin.get(f"{V3}/endpoints/{endpoint['id']}")).json()["endpoint"] == endpoint
    assert len((await admin.get(f"{V3}/endpoints")).json()["endpoints"]) == 12
    assert (await admin.get(f"{V3}/endpoints/x")).status_code == 404
    for path in ("services", "endpoints"):
        assert (await client.get(f"{V3}/{path}")).status_code == 403
        assert (await admin.post(f"{V3}/{path}", {})).status_code == 405
