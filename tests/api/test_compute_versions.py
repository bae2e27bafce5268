"""What a client learns of the compute service's versions, and how it says which one it wants."""

import pytest

from polyport.api.compute.microversions import HIGHEST
from tests.api.client import Client, TestCloud


async def test_version_documents_need_no_token(cloud: TestCloud) -> None:
    nobody = cloud.anonymous()
    for path in ("/compute", "/compute/"):
        answer = await nobody.http.get(path)
        assert answer.status_code == 200
        old, new = answer.json()["versions"]
        assert (old["id"], old["status"], old["version"]) == ("v2.0", "SUPPORTED", "")
        assert (new["id"], new["status"], new["version"]) == ("v2.1", "CURRENT", str(HIGHEST))
        assert new["links"] == [{"rel": "self", "href": "http://cloud.test:8774/compute/v2.1/"}]
        for version in (old, new):
            shown = (await nobody.http.get(version["links"][0]["href"])).json()["version"]
            assert shown["links"][0] == version["links"][0]
    for path in ("/compute/v2.1", "/compute/v2.1/"):
        version = (await nobody.http.get(path)).json()["version"]
        assert (version["min_version"], version["version"]) == ("2.1", str(HIGHEST))
        assert version["media-types"][0]["base"] == "application/json"


async def test_the_old_version_has_no_microversions(client: Client) -> None:
    answer = await client.get("/compute/v2/flavors/1", "2.61")
    assert answer.status_code == 200
    assert "extra_specs" not in answer.json()["flavor"]
    assert (await client.get("/compute/v2/flavors/1", "2.999")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "served"),
    [
        ({}, "2.1"),
        ({"openstack-api-version": "compute 2.42"}, "2.42"),
        ({"x-openstack-nova-api-version": "2.42"}, "2.42"),
        ({"openstack-api-version": "compute latest"}, str(HIGHEST)),
        ({"openstack-api-version": "volume 3.60, compute 2.53"}, "2.53"),
        ({"openstack-api-version": "volume 3.60"}, "2.1"),
        ({"openstack-api-version": "compute 2.60", "x-openstack-nova-api-version": "2.42"}, "2.60"),
    ],
)
async def test_both_headers_are_understood_and_answered(client: Client, headers: dict[str, str], served: str) -> None:
    answer = await client.get("/compute/flavors", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["openstack-api-version"] == f"compute {served}"
    assert answer.headers["x-openstack-nova-api-version"] == served
    assert "OpenStack-API-Version" in answer.headers["vary"]
    assert "X-OpenStack-Nova-API-Version" in answer.headers["vary"]


async def test_a_version_that_is_not_served_is_not_acceptable(client: Client) -> None:
    answer = await client.get("/compute/flavors", "2.999")
    assert answer.status_code == 406
    fault = answer.json()["computeFault"]
    assert fault == {
        "code": 406,
        "message": f"Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is {HIGHEST}.",
    }


@pytest.mark.parametrize("wanted", ["2", "two", "2.1.1", "2.-1", "2.01", "x" * 5000])
async def test_a_malformed_version_is_a_bad_request(client: Client, wanted: str) -> None:
    answer = await client.get("/compute/flavors", wanted)
    assert answer.status_code == 400
    assert "badRequest" in answer.json()


async def test_errors_have_the_service_own_shape(cloud: TestCloud, client: Client) -> None:
    missing = await client.get("/compute/flavors/none")
    assert missing.json() == {"itemNotFound": {"code": 404, "message": "Flavor none could not be found."}}
    assert "itemNotFound" in (await client.get("/compute/no-such-thing")).json()
    assert "badMethod" in (await client.put("/compute/flavors", {})).json()
    assert "forbidden" in (await client.post("/compute/flavors", {})).json()
    nobody = await cloud.anonymous().get("/compute/flavors")
    assert nobody.status_code == 401
    assert nobody.json()["error"]["title"] == "Unauthorized"


async def test_extensions_can_be_looked_through(client: Client) -> None:
    listed = (await client.get("/compute/extensions")).json()["extensions"]
    assert "os-keypairs" in {entry["alias"] for entry in listed}
    one = (await client.get("/compute/extensions/os-keypairs")).json()["extension"]
    assert one in listed
    assert (await client.get("/compute/extensions/os-volumes")).status_code == 404
