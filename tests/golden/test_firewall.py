"""The rules that plans become, as text. A change here is a change of what guests may do: read it as one.

`POLYPORT_GOLDEN=write` writes the files anew.
"""

import os
import subprocess
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from polyport.config import DataplaneConfig
from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.firewall import base_of, change, difference, elements_of, label_of
from polyport.dataplane.bridge.network import mark_of, responder_mac
from polyport.ids import NetworkId

FOLDER = Path(__file__).parent / "nft"


class Case(Struct, forbid_unknown_fields=True):
    """The NICs of one server on one network, before and after; nothing before where not given."""

    after: list[VifPlan]
    before: list[VifPlan] = []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_plans_become_rules(path: Path) -> None:
    case = msgspec.json.decode(path.read_bytes(), type=Case)
    compare(path.with_suffix(".nft"), difference(elements_of(case.before), elements_of(case.after)))


def test_the_table_is_as_it_was() -> None:
    compare(FOLDER / "table.nft", base_of(DataplaneConfig()))


def compare(path: Path, text: str) -> None:
    if os.environ.get("POLYPORT_GOLDEN") == "write":
        path.write_text(text)
    assert path.read_text() == text


def test_a_table_is_known_by_its_label() -> None:
    usual, other = DataplaneConfig(), DataplaneConfig(broadcast_rate=7)
    assert label_of(usual) in base_of(usual)
    assert label_of(usual) == label_of(DataplaneConfig(namespace="elsewhere"))
    assert label_of(usual) != label_of(other)
    assert "limit rate over 7/second" in base_of(other)


def test_nothing_to_change_is_no_text() -> None:
    assert change((), ()) == ""


def test_networks_have_marks_and_macs_of_their_own() -> None:
    one, two = NetworkId("00000000-0000-4000-8000-000000000000"), NetworkId("ffffffff-ffff-4fff-bfff-ffffffffffff")
    assert (mark_of(one), mark_of(two)) == (0x10, 0xFFFFFFF0)
    assert (responder_mac(one), responder_mac(two)) == ("fe:00:00:00:00:00", "fe:ff:ff:ff:ff:ff")
    assert int(responder_mac(two)[:2], 16) & 3 == 2, "locally administered, and of one station"


@pytest.mark.host
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_nft_takes_every_text_here(tmp_path: Path) -> None:
    name = f"pp-golden-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for path in sorted(FOLDER.glob("*.json")):
            case = msgspec.json.decode(path.read_bytes(), type=Case)
            text = f"flush ruleset\n{base_of(DataplaneConfig())}"
            text += change(elements_of(case.before)) + path.with_suffix(".nft").read_text()
            subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=text, text=True, check=True)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
