"""What `polyport check` finds out about the kernel."""

import subprocess
import threading

import pytest

from polyport import check
from polyport.dataplane.bridge.kernel import PARTS, Part, needs

pytestmark = pytest.mark.host


def test_a_kernel_that_the_tests_run_on_has_it_all() -> None:
    found = needs()
    assert {need.name for need in found} >= {part.name for part in PARTS}
    assert [need.complaint for need in found] == [None] * len(found)


def test_what_a_kernel_lacks_is_said_with_what_to_do() -> None:
    lacking = Part("flying", "CONFIG_WINGS", ("fly high",))
    found = {need.name: need.complaint for need in needs([lacking, *PARTS])}
    said = found.pop("flying")
    assert said is not None
    assert said.startswith("CONFIG_WINGS; The rules were refused: ")
    assert "\n" not in said
    assert set(found.values()) == {None}, "the others are asked all the same"


def test_asking_leaves_nothing_behind() -> None:
    rules, threads = subprocess.check_output(["nft", "list", "ruleset"]), set(threading.enumerate())
    needs()
    assert subprocess.check_output(["nft", "list", "ruleset"]) == rules
    assert set(threading.enumerate()) <= threads


def test_the_report_names_each_need() -> None:
    said: list[str] = []
    check.report(said.append)
    for part in PARTS:
        assert f"ok       {part.name}" in said
