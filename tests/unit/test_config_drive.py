"""What guests read from their config drive, word for word, and the disk it comes on.

`golden/config_drive/<name>.plan.json` holds a server and its networks, `<name>.files.json` the files made of them; a
file of a dated tree that equals that of the latest is only named. After a wanted change write them anew and read the
difference before it is committed:

    POLYPORT_WRITE_GOLDEN=1 pytest tests/unit/test_config_drive.py
"""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pycdlib
import pytest
from msgspec.structs import replace

from polyport.agent.config_drive import UserDataNotBase64, drive_files
from polyport.agent.drive_image import drive_image, write_drive
from polyport.agent.vifs import UnknownNetwork
from polyport.ids import NetworkId
from polyport.plan import NetworkPlan, ServerPlan

HERE = Path(__file__).parents[1] / "golden" / "config_drive"
CASES = sorted(HERE.glob("*.plan.json"))
AS_LATEST = "as latest"
SEED = b"seed"


class Case(msgspec.Struct, forbid_unknown_fields=True):
    server: ServerPlan
    networks: tuple[NetworkPlan, ...]
    addresses: dict[int, str]

    def files(self) -> dict[str, bytes]:
        networks = {network.id: network for network in self.networks}
        return drive_files(
            self.server, networks, nic_address=self.addresses.get, random_seed=SEED, policy_routing=False
        )


def read(name: str) -> Case:
    return msgspec.json.decode((HERE / f"{name}.plan.json").read_bytes(), type=Case)


def shown(files: dict[str, bytes]) -> dict[str, Any]:
    """Files as a person reads them."""
    view: dict[str, Any] = {}
    for path, content in files.items():
        tree, version, name = path.split("/")
        value = json.loads(content) if name.endswith(".json") else content.decode()
        newest = json.loads(files[f"{tree}/latest/{name}"]) if name.endswith(".json") else value
        if version == "latest":
            view[path] = value
        elif value == newest:
            view[path] = AS_LATEST
        else:
            missing = [key for key in newest if key not in value]
            assert value == {key: newest[key] for key in newest if key not in missing}
            view[path] = {"as latest, without": missing}
    return view


def test_there_are_cases() -> None:
    assert len(CASES) >= 3


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.split(".")[0])
def test_files(case: Path) -> None:
    name = case.name.split(".")[0]
    golden = HERE / f"{name}.files.json"
    files = shown(read(name).files())
    if os.environ.get("POLYPORT_WRITE_GOLDEN"):
        golden.write_text(json.dumps(files, indent=1, ensure_ascii=False) + "\n")
    assert files == json.loads(golden.read_text())


def latest(files: dict[str, bytes], name: str) -> Any:
    return json.loads(files[f"openstack/latest/{name}"])


def test_every_nic_is_there_in_slot_order_and_one_has_the_default_route() -> None:
    case = read("one_network")
    data = latest(case.files(), "network_data.json")
    assert [link["vif_id"] for link in data["links"]] == [nic.port_id for nic in case.server.nics]
    assert [network["link"] for network in data["networks"]] == [link["id"] for link in data["links"]]
    defaults = [
        entry["link"] for entry in data["networks"] for route in entry["routes"] if route["network"] == "0.0.0.0"
    ]
    assert defaults == [data["links"][0]["id"]]


def test_the_marked_nic_has_the_default_route_and_the_first_the_subnets_others() -> None:
    case = read("one_network")
    first, second, *rest = case.server.nics
    case.server = replace(case.server, nics=(first, replace(second, default_route=True), *rest))
    data = latest(case.files(), "network_data.json")
    links = [link["id"] for link in data["links"]]
    of = {
        route["network"]: entry["link"]
        for entry in data["networks"]
        for route in entry["routes"]
        if entry["type"] == "ipv4"
    }
    assert of == {"0.0.0.0": links[1], "192.168.7.0": links[0], "169.254.169.254": links[0]}


def test_metadata_has_a_route_on_the_link_of_one_nic_also_without_a_gateway() -> None:
    case = read("one_network")
    case.networks = tuple(
        replace(network, subnets=tuple(replace(subnet, gateway_ip=None, host_routes=()) for subnet in network.subnets))
        for network in case.networks
    )
    data = latest(case.files(), "network_data.json")
    routes = [(entry["link"], route) for entry in data["networks"] for route in entry["routes"]]
    way = {"network": "169.254.169.254", "netmask": "255.255.255.255", "gateway": "0.0.0.0"}
    assert routes == [(data["links"][0]["id"], way)]


def test_what_users_write_stays_text() -> None:
    nasty = '"}], "hostname": "evil\n\x00\u2028</script>$(reboot)\'\\'
    case = read("one_network")
    case.server = replace(case.server, name=nasty, metadata=((nasty, nasty),), public_keys=((nasty, nasty),))
    meta = latest(case.files(), "meta_data.json")
    assert (meta["name"], meta["meta"], meta["public_keys"]) == (nasty, {nasty: nasty}, {nasty: nasty})
    assert meta["hostname"] == case.server.hostname


def test_user_data_is_bytes() -> None:
    case = read("one_network")
    content = bytes(range(256))
    case.server = replace(case.server, user_data=base64.encodebytes(content).decode())
    assert case.files()["openstack/latest/user_data"] == content
    assert case.files()["ec2/latest/user-data"] == content


def test_files_for_the_guest_lie_beside_the_trees_and_each_tree_says_where_they_belong() -> None:
    case = read("one_network")
    contents = (bytes(range(256)), b"")
    paths = ("/etc/../../day0.cfg", "iosxe_config.txt")
    encoded = (base64.b64encode(content).decode() for content in contents)
    case.server = replace(case.server, files=tuple(zip(paths, encoded, strict=True)))
    files = case.files()
    for tree in ("latest", "2012-08-10"):
        told = json.loads(files[f"openstack/{tree}/meta_data.json"])["files"]
        assert [entry["path"] for entry in told] == list(paths)
        assert tuple(files[f"openstack{entry['content_path']}"] for entry in told) == contents
    assert not any("day0" in path for path in files)


def test_user_data_that_is_not_base64_is_refused() -> None:
    case = read("one_network")
    case.server = replace(case.server, user_data="#!/bin/sh")
    with pytest.raises(UserDataNotBase64):
        case.files()


def test_a_network_the_plan_does_not_describe_is_refused() -> None:
    case = read("one_network")
    case.server = replace(case.server, nics=(replace(case.server.nics[0], network_id=NetworkId("elsewhere")),))
    with pytest.raises(UnknownNetwork, match="elsewhere"):
        case.files()


def read_disk(content: bytes) -> dict[str, bytes]:
    """The files of a disk by their Rock Ridge names, checked against their Joliet names."""
    disk = pycdlib.PyCdlib()
    disk.open_fp(io.BytesIO(content))
    try:
        found = {}
        for folder, _, names in disk.walk(rr_path="/"):
            for name in names:
                path = f"{folder.rstrip('/')}/{name}"
                for kind in ("rr_path", "joliet_path"):
                    out = io.BytesIO()
                    disk.get_file_from_iso_fp(out, **{kind: path})
                    assert found.setdefault(path.lstrip("/"), out.getvalue()) == out.getvalue()
        return found
    finally:
        disk.close()


def test_the_disk_holds_the_files_under_both_kinds_of_names() -> None:
    files = read("one_network").files()
    assert read_disk(drive_image(files)) == files


def test_the_disk_has_the_label_guests_look_for() -> None:
    content = drive_image({"openstack/latest/meta_data.json": b"{}"})
    # ECMA-119, 8.4: the primary volume descriptor is in sector 16, the volume identifier at byte 41 of it.
    assert content[16 * 2048 + 40 : 16 * 2048 + 72].decode().rstrip() == "config-2"


def test_the_disk_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "config.iso"
    for number in range(2):
        write_drive(path, {"openstack/latest/meta_data.json": str(number).encode()})
    assert read_disk(path.read_bytes()) == {"openstack/latest/meta_data.json": b"1"}
    assert list(tmp_path.iterdir()) == [path]
