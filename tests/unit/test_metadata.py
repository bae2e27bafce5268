"""What guests are told by the metadata service, and what they can make the HTTP part say."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from polyport.agent.config_drive import drive_files
from polyport.agent.metadata import answer
from polyport.dataplane import Answer
from polyport.dataplane.bridge import metadata_http as http
from polyport.hypervisor.qemu.slots import nic_address
from tests.unit.test_config_drive import Case, read


@pytest.fixture
def case() -> Case:
    return read("one_network")


Ask = Callable[[str], Answer | None]


@pytest.fixture
def ask(case: Case) -> Ask:
    networks = {network.id: network for network in case.networks}
    return lambda path: answer(case.server, networks, path, nic_address=nic_address, seed=bytes)


def text(found: Answer | None) -> str:
    assert found is not None
    return found.content.decode()


def test_it_tells_what_the_config_drive_tells_but_for_the_password(case: Case, ask: Ask) -> None:
    case.server = replace(case.server, admin_password="secret", files=(("/etc/day0", "aGVsbG8="),))
    networks = {network.id: network for network in case.networks}
    drive = drive_files(case.server, networks, nic_address=nic_address, random_seed=bytes(512))
    for path, content in drive.items():
        if path.startswith("openstack/"):
            told = ask(f"/{path}")
            assert told is not None
            if path.endswith("meta_data.json"):
                known = json.loads(content)
                assert known.pop("admin_pass") == "secret"
                assert json.loads(told.content) == known
            else:
                assert told.content == content


def test_every_nic_is_a_device_with_its_place(case: Case, ask: Ask) -> None:
    devices = json.loads(text(ask("/openstack/latest/meta_data.json")))["devices"]
    assert [(each["mac"], each["slot"], each["address"]) for each in devices] == [
        (nic.mac_address, nic.slot, nic_address(nic.slot)) for nic in case.server.nics
    ]


def test_folders_list_what_is_in_them(ask: Ask) -> None:
    assert "2018-08-27/" in text(ask("/openstack")).split("\n")
    assert "meta_data.json" in text(ask("/openstack/2018-08-27/")).split("\n")
    assert "latest" in text(ask("/")).split("\n")
    assert "meta-data/" in text(ask("/latest")).split("\n")


def test_every_leaf_the_ec2_tree_names_is_there(case: Case, ask: Ask) -> None:
    """As clients find out what there is: from the lists, folder by folder."""
    case.server = replace(case.server, public_keys=(("my key", "ssh-ed25519 AAAA"), ("other", "ssh-rsa BBBB")))
    found: dict[str, str] = {}

    def walk(path: str) -> None:
        for line in text(ask(path)).split("\n"):
            if path.endswith("/public-keys/"):
                walk(f"{path}{line.partition('=')[0]}/")
            elif line.endswith("/"):
                walk(path + line)
            else:
                found[path + line] = text(ask(path + line))

    walk("/2009-04-04/meta-data/")
    root = "/2009-04-04/meta-data"
    first = case.server.nics[0]
    assert found[f"{root}/instance-id"] == case.server.id
    assert found[f"{root}/local-ipv4"] == first.fixed_ips[0].ip_address
    assert found[f"{root}/mac"] == first.mac_address
    assert found[f"{root}/public-keys/0/openssh-key"] == "ssh-ed25519 AAAA"
    assert found[f"{root}/public-keys/1/openssh-key"] == "ssh-rsa BBBB"
    for nic in case.server.nics:
        assert found[f"{root}/network/interfaces/macs/{nic.mac_address}/interface-id"] == nic.port_id


@pytest.mark.parametrize("path", ["/openstack/1999-01-01", "/latest/meta-data/instance-id/x", "/x", "/openstack/../x"])
def test_what_is_not_there_is_not_there(ask: Ask, path: str) -> None:
    assert ask(path) is None


def test_user_data_is_there_only_where_there_is_some(case: Case, ask: Ask) -> None:
    case.server = replace(case.server, user_data=None)
    assert ask("/latest/user-data") is ask("/openstack/latest/user_data") is None
    case.server = replace(case.server, user_data="aGVsbG8=")
    assert text(ask("/latest/user-data")) == text(ask("/openstack/latest/user_data")) == "hello"


def test_vendor_data_holds_the_gateways_and_can_be_turned_off(case: Case, ask: Ask) -> None:
    script = json.loads(text(ask("/openstack/latest/vendor_data.json")))["cloud-init"]
    gateways = [subnet.gateway_ip for network in case.networks for subnet in network.subnets if subnet.gateway_ip]
    assert script.startswith("#cloud-boothook\n#!/bin/sh\n")
    assert f'GATEWAYS="{" ".join(gateways)}"' in script
    networks = {network.id: network for network in case.networks}
    path = "/openstack/latest/vendor_data.json"
    off = answer(case.server, networks, path, nic_address=nic_address, seed=bytes, policy_routing=False)
    assert text(off) == "{}"


@given(st.text(max_size=60))
def test_any_path_is_answered_or_not(path: str) -> None:
    case = read("one_network")
    networks = {network.id: network for network in case.networks}
    for start in ("", "/openstack/", "/latest/meta-data/", "/latest/meta-data/public-keys/"):
        answer(case.server, networks, start + path, nic_address=nic_address, seed=bytes)


@given(st.binary(max_size=200))
def test_any_octets_are_a_question_or_none(data: bytes) -> None:
    for head in (data, b"GET " + data, b"GET /" + data + b" HTTP/1.1\r\n\r\n"):
        question = http.parse(head)
        assert question is None or question.path.startswith("/")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"GET /a%20b?x=1 HTTP/1.1\r\n", "/a b"),
        (b"GET http://169.254.169.254/x HTTP/1.0\r\n", "/x"),
        (b"GET / HTTP/1.1\n", "/"),
        (b"GET /\r HTTP/1.1\r\n", None),
        (b"GET x HTTP/1.1\r\n", None),
        (b"GET / HTTP/2\r\n", None),
        (b"get / HTTP/1.1\r\n", None),
    ],
)
def test_request_lines(line: bytes, path: str | None) -> None:
    question = http.parse(line + b"Host: x\r\n\r\n")
    assert (question.path if question else None) == path
