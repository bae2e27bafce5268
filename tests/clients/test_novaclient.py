"""python-novaclient: many older tools stand on it, at microversions they choose themselves."""

from typing import Any

import pytest
from novaclient import client as novaclient
from novaclient import exceptions

from demo.scratch import ScratchCloud
from tests.clients.conftest import until

pytestmark = pytest.mark.clients


@pytest.fixture(params=["2.1", "2.37", "2.60", "2.79"])
def nova(request: pytest.FixtureRequest, cloud: ScratchCloud, sdk: Any) -> Any:
    return novaclient.Client(request.param, session=sdk.session, region_name="RegionOne")


def test_nics_on_one_network_at_many_microversions(nova: Any, image: Any, net1: Any) -> None:
    nics = [{"net-id": net1.id}, {"net-id": net1.id, "v4-fixed-ip": "10.1.0.201"}]
    server = nova.servers.create("nova1", image.id, "1", nics=nics)
    try:
        until(lambda: nova.servers.get(server.id).status == "ACTIVE", "the server is ACTIVE")
        listed = nova.servers.interface_list(server.id)
        assert [nic.fixed_ips[0]["ip_address"] for nic in listed][1] == "10.1.0.201"
        made = nova.servers.interface_attach(server.id, None, net1.id, None)
        assert [nic.port_id for nic in nova.servers.interface_list(server.id)][2] == made.port_id
        nova.servers.interface_detach(server.id, made.port_id)
        assert len(nova.servers.interface_list(server.id)) == 2
        assert len(nova.servers.ips(server.id)["net1"]) == 2
        with pytest.raises(exceptions.BadRequest):
            nova.servers.create("nova2", image.id, "1", nics=[{"net-id": "00000000-0000-4000-8000-000000000000"}])
    finally:
        nova.servers.delete(server.id)


def test_files_for_the_guest(cloud: ScratchCloud, sdk: Any, image: Any, net1: Any) -> None:
    nova = novaclient.Client("2.56", session=sdk.session, region_name="RegionOne")
    with pytest.raises(exceptions.Forbidden, match=r"exceeds maximum 10240: personality\[0\]\.contents"):
        nova.servers.create("nova3", image.id, "1", nics="none", files={"a": b"x" * 10241})
    server = nova.servers.create("nova3", image.id, "1", nics="none", files={"iosxe_config.txt": b"hostname r1\n"})
    until(lambda: nova.servers.get(server.id).status == "ACTIVE", "the server is ACTIVE")
    nova.servers.delete(server.id)
