"""The housekeeping of the compute API's microversions: the list, the names, and that each name is used."""

import re
from pathlib import Path

import polyport.api.compute
from polyport.api.compute import microversions
from polyport.api.compute.microversions import HIGHEST, HISTORY, LOWEST
from polyport.web.microversions import Version, Window

NOT_OURS = {
    # Of what is not served: volumes, images made of servers, diagnostics. Actions on addresses stay: clients use them.
    "VOLUME_TAG",
    "VOLUME_TYPE",
    "VOLUME_VIEW_TAG",
    "VOLUME_DELETE_ON_TERMINATION",
    "CREATE_IMAGE_BODY",
    "STANDARD_DIAGNOSTICS",
    "NO_MULTINIC_ACTIONS",
}
"""Windows no code asks for."""

WINDOWS = {name: value for name, value in vars(microversions).items() if isinstance(value, Window)}


def uses() -> dict[str, set[str]]:
    """The names of windows that each module of the compute API speaks of."""
    folder = Path(polyport.api.compute.__file__).parent
    return {
        path.name: set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", path.read_text()))
        for path in folder.glob("*.py")
        if path.name != "microversions.py"
    }


def test_the_list_has_no_gaps_and_ends_with_the_highest() -> None:
    assert [change.version for change in HISTORY] == [Version(2, minor) for minor in range(1, len(HISTORY) + 1)]
    assert (Version(2, 1), HISTORY[-1].version) == (LOWEST, HIGHEST)
    assert Version(2, 70) <= HIGHEST


def test_every_change_says_what_it_is() -> None:
    for change in HISTORY:
        assert change.what
        assert not change.what.endswith(".")


def test_every_window_is_named_where_it_begins_or_ends() -> None:
    edges: dict[str, set[Version]] = {}
    for change in HISTORY:
        for name in change.windows:
            assert name in WINDOWS, name
            edges.setdefault(name, set()).add(change.version)
    for name, window in WINDOWS.items():
        firsts = {first for first, _ in window.ranges if first != LOWEST}
        begins_with_all = any(first == LOWEST for first, _ in window.ranges)
        ends = {Version(last.major, last.minor + 1) for _, last in window.ranges if last is not None}
        assert edges.get(name), f"{name} is not in the history"
        assert edges[name] <= firsts | ends | ({LOWEST} if begins_with_all else set()), name
        assert firsts <= edges[name], name
        assert all(last is None or last <= HIGHEST for _, last in window.ranges), name


def test_every_window_is_used_or_marked_as_none_of_ours() -> None:
    used = set().union(*uses().values())
    unused = {name for name in WINDOWS if name not in used}
    assert unused == NOT_OURS


def test_a_window_that_came_went_and_came_back() -> None:
    tagged = [version.minor for version in (change.version for change in HISTORY) if version in microversions.NIC_TAG]
    assert tagged == [*range(32, 37), *range(42, HIGHEST.minor + 1)]
