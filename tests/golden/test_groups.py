"""The rules that security groups become, as text. A change here is a change of what guests may do: read it as one.

`POLYPORT_GOLDEN=write` writes the files anew.
"""

import os
import subprocess
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from polyport.dataplane.bridge import groups
from polyport.dataplane.bridge.groups import BY_MARK, NATIVE
from polyport.ids import SecurityGroupId
from polyport.plan import SecurityGroupPlan
from tests.golden.test_firewall import compare

FOLDER = Path(__file__).parent / "nft_groups"
TABLE = "polyport_groups_1"


class Case(Struct, forbid_unknown_fields=True):
    """Groups, as one combination."""

    groups: list[SecurityGroupPlan]


def text_of(case: Case) -> str:
    names = {each.id for each in case.groups}.union(*(groups.remotes_of(each) for each in case.groups))
    parts = [groups.group_frame(TABLE, each) for each in sorted(names)]
    parts += [groups.group_rules(TABLE, each) for each in case.groups]
    return "".join([*parts, groups.combination_chains(TABLE, [each.id for each in case.groups])])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_groups_become_rules(path: Path) -> None:
    compare(path.with_suffix(".nft"), text_of(msgspec.json.decode(path.read_bytes(), type=Case)))


@pytest.mark.parametrize("backend", [NATIVE, BY_MARK], ids=lambda backend: backend.name)
def test_the_tables_are_as_they_were(backend: groups.Backend) -> None:
    compare(FOLDER / f"table_{backend.name}.nft", groups.states_of(backend) + groups.table_of(backend, 1))


def test_a_combination_is_the_same_in_any_order() -> None:
    one, two = SecurityGroupId("one"), SecurityGroupId("two")
    assert groups.combination([one, two]) == groups.combination([two, one]) != groups.combination([one])


@pytest.mark.host
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_nft_takes_every_text_here() -> None:
    name = f"pp-golden-groups-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        base = (FOLDER / "table_inet.nft").read_text()
        for path in sorted(FOLDER.glob("*.json")):
            text = f"flush ruleset\n{base}{path.with_suffix('.nft').read_text()}"
            subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=text, text=True, check=True)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
