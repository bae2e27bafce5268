"""python-openstackclient, unchanged: the way people will use polyport first."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo.scratch import ScratchCloud
from tests.clients.conftest import until

pytestmark = pytest.mark.clients

Cli = Callable[..., Any]


def boot(cli: Cli, name: str, *words: str) -> Any:
    """A server that is ACTIVE. With `--wait` the client looks every few seconds: once is enough for that."""
    made = cli("server", "create", "--image", "cirros", "--flavor", "m1.tiny", *words, name)
    becomes(cli, made["id"], "ACTIVE")
    return cli("server", "show", made["id"])


def becomes(cli: Cli, server_id: str, status: str) -> None:
    until(lambda: cli("server", "show", server_id)["status"] == status, f"the server is {status}")


def delete(cli: Cli, server_id: str) -> None:
    cli("server", "delete", server_id, text=True)
    until(lambda: server_id not in [row["ID"] for row in cli("server", "list")], "the server is gone")


@pytest.fixture
def vm(cli: Cli, image: Any, net1: Any) -> Any:
    made = boot(cli, "vm1", "--network", "net1", "--network", "net1")
    yield made
    delete(cli, made["id"])


def test_the_program_itself_says_the_same(cloud: ScratchCloud, cli: Cli) -> None:
    program = [str(Path(sys.executable).parent / "openstack"), "--os-cloud", "polyport"]
    ran = subprocess.run([*program, "flavor", "list", "-f", "json"], capture_output=True, check=True, timeout=120)
    assert json.loads(ran.stdout) == cli("flavor", "list")
    assert "m1.tiny" in [flavor["Name"] for flavor in json.loads(ran.stdout)]


def order(cli: Cli, server: str) -> list[str]:
    return [port["ID"] for port in cli("port", "list", "--server", server)]


def test_the_same_network_twice_by_name(cli: Cli, vm: Any) -> None:
    shown = cli("server", "show", "vm1")
    assert shown["status"] == "ACTIVE"
    assert len(shown["addresses"]["net1"]) == 2
    assert [row["Name"] for row in cli("server", "list")] == ["vm1"]


def test_nics_by_network_port_and_address_mixed(cli: Cli, image: Any, net1: Any) -> None:
    port = cli("port", "create", "--network", "net1", "port2")
    made = boot(
        cli, "vm2", "--nic", "net-id=net1,v4-fixed-ip=10.1.0.77", "--port", "port2", "--nic", f"net-id={net1.id}"
    )
    try:
        addresses = made["addresses"]["net1"]
        assert addresses[:2] == ["10.1.0.77", port["fixed_ips"][0]["ip_address"]]
        assert order(cli, made["id"])[1] == port["id"]
    finally:
        delete(cli, made["id"])
        cli("port", "delete", "port2", text=True)


def test_add_and_remove_ports_and_networks(cli: Cli, vm: Any, net1: Any) -> None:
    before = order(cli, vm["id"])
    cli("server", "add", "network", "vm1", "net1", text=True)
    port = cli("port", "create", "--network", "net1", "extra")
    cli("server", "add", "port", "vm1", "extra", text=True)
    cli("server", "add", "fixed", "ip", "--fixed-ip-address", "10.1.0.99", "vm1", "net1", text=True)
    after = order(cli, vm["id"])
    assert after[:2] == before
    assert after[3] == port["id"]
    assert cli("port", "show", "extra")["status"] == "ACTIVE"
    assert len(after) == 5
    cli("server", "remove", "port", "vm1", "extra", text=True)
    assert port["id"] not in order(cli, vm["id"])
    cli("server", "remove", "network", "vm1", "net1", text=True)
    assert order(cli, vm["id"]) == []
    cli("port", "delete", "extra", text=True)


def test_life_of_a_server(cli: Cli, vm: Any) -> None:
    cli("server", "stop", "vm1", text=True)
    becomes(cli, vm["id"], "SHUTOFF")
    cli("server", "start", "vm1", text=True)
    becomes(cli, vm["id"], "ACTIVE")
    cli("server", "reboot", "--hard", "--wait", "vm1", text=True)
    cli("server", "set", "--name", "vm1-renamed", "--property", "role=firewall", vm["id"], text=True)
    shown = cli("server", "show", vm["id"])
    assert shown["name"] == "vm1-renamed"
    assert shown["properties"] == {"role": "firewall"}
    events = cli("server", "event", "list", vm["id"])
    assert {"create", "stop", "start", "reboot"} <= {event["Action"] for event in events}
    cli("console", "log", "show", vm["id"], text=True)


def test_what_people_look_at(cli: Cli, image: Any, net1: Any) -> None:
    looks = (
        "image list", "flavor list", "network list", "subnet list", "port list", "keypair list", "project list",
        "user list", "role list", "catalog list", "endpoint list", "service list", "security group list",
        "hypervisor list", "compute service list", "availability zone list", "quota show", "limits show --absolute",
        "extension list --network", "versions show", "token issue", "server group list", "network show net1",
        "role assignment list --names", "hypervisor show localhost",
        "--os-compute-api-version 2.53 hypervisor show localhost",
    )  # fmt: skip
    assert [words for words in looks if cli(*words.split()) is None] == []


def test_keypair_and_user_data(cli: Cli, image: Any, net1: Any, tmp_path: Any) -> None:
    private = cli("keypair", "create", "key1", text=True)
    assert "PRIVATE KEY" in private
    script = tmp_path / "user-data"
    script.write_text("#!/bin/sh\necho hello\n")
    create = "server create --image cirros --flavor m1.tiny --network net1 --key-name key1 --use-config-drive"
    made = cli(*create.split(), "--user-data", str(script), "--property", "a=b", "--wait", "vm3")
    assert cli("server", "show", made["id"])["key_name"] == "key1"
    cli("server", "delete", "--wait", "vm3", text=True)
    cli("keypair", "delete", "key1", text=True)
