"""openstacksdk's two layers, as Ansible and people's scripts use them."""

from typing import Any

import openstack.exceptions
import pytest

pytestmark = pytest.mark.clients


def test_the_cloud_layer_boots_one_network_twice(sdk: Any, image: Any, net1: Any) -> None:
    server = sdk.create_server("sdk1", image="cirros", flavor="m1.tiny", network=["net1", "net1"], wait=True)
    try:
        assert server.status == "ACTIVE"
        addresses = [entry["addr"] for entry in server.addresses["net1"]]
        ports = list(sdk.network.ports(device_id=server.id))
        assert addresses == [port.fixed_ips[0]["ip_address"] for port in ports]
        assert len(ports) == 2
        counters = sdk.network.get_port(ports[0].id)["polyport:counters"]
        assert set(counters) == {"ingress", "egress"}
        assert counters["egress"]["dropped"]["spoofed_mac"] == 0
    finally:
        assert sdk.delete_server(server.id, wait=True)


def test_without_networks_the_cloud_layer_asks_for_auto(sdk: Any, image: Any, net1: Any) -> None:
    server = sdk.create_server("sdk2", image="cirros", flavor="m1.tiny", wait=True)
    assert list(server.addresses) == ["net1"]
    assert sdk.delete_server(server.id, wait=True)


def test_attach_is_listed_at_once_and_detached_at_once(sdk: Any, image: Any, net1: Any) -> None:
    server = sdk.compute.create_server(
        name="sdk3", image_id=image.id, flavor_id="1", networks=[{"uuid": net1.id}, {"uuid": net1.id, "tag": "wan"}]
    )
    server = sdk.compute.wait_for_server(server, interval=0.05)
    made = sdk.compute.create_server_interface(server, net_id=net1.id, tag="lan")
    listed = list(sdk.compute.server_interfaces(server))
    assert [nic.port_id for nic in listed][-1] == made.port_id
    assert len(listed) == 3
    sdk.compute.delete_server_interface(made, server=server)
    assert len(list(sdk.compute.server_interfaces(server))) == 2
    sdk.compute.delete_server(server)
    sdk.compute.wait_for_delete(server, interval=0.05)


def test_a_failing_entry_is_named_and_nothing_is_left(sdk: Any, image: Any, net1: Any) -> None:
    ports = len(list(sdk.network.ports(network_id=net1.id)))
    unknown = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(openstack.exceptions.BadRequestException, match=unknown):
        sdk.compute.create_server(
            name="sdk4", image_id=image.id, flavor_id="1", networks=[{"uuid": net1.id}, {"uuid": unknown}]
        )
    assert len(list(sdk.network.ports(network_id=net1.id))) == ports
    assert sdk.compute.find_server("sdk4") is None


def test_upload_and_download_give_the_same_bytes(sdk: Any, image: Any) -> None:
    content = sdk.image.download_image(image).content
    assert len(content) == 1 << 20
    assert sdk.image.get_image(image.id).size == 1 << 20
