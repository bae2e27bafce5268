"""The states of a server: whatever is asked and reported in whatever order, the rules hold."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.compute import states
from polyport.compute.states import InvalidState, State, settle

BORN = State(vm_state=states.BUILDING, task_state=states.SPAWNING, wanted="running")

asked = st.sampled_from([("ask", name) for name in states.RULES])
reported = st.tuples(
    st.just("report"),
    st.sampled_from(["running", "paused", "stopped", "crashed"]),
    st.booleans(),
    st.integers(min_value=-2, max_value=0),
    st.booleans(),
)
histories = st.lists(st.one_of(asked, reported), max_size=40)


def carried_out(state: State) -> State:
    """What a host that does as it is told makes of a server."""
    power = {"running": "running", "paused": "paused", "stopped": "stopped"}[state.wanted]
    return settle(state, current=True, power=power, boot=state.boot, error=False).state


def after(history: list[Any]) -> list[State]:
    """Every state a history leads through."""
    state = BORN
    seen = [state]
    for kind, *more in history:
        if kind == "ask":
            try:
                rule = states.check(more[0], "s", state)
            except InvalidState:
                continue
            state = states.apply(rule, state)
        else:
            power, current, behind, error = more
            state = settle(state, current=current, power=power, boot=state.boot + behind, error=error).state
        seen.append(state)
    return seen


@given(histories)
def test_there_is_no_way_out_of_the_drawing(history: list[Any]) -> None:
    seen = after(history)
    known = {states.BUILDING, states.ACTIVE, states.PAUSED, states.STOPPED, states.ERROR}
    for before, state in itertools.pairwise(seen):
        assert state.vm_state in known
        assert state.wanted in ("running", "paused", "stopped")
        assert state.boot >= before.boot
        assert state.disk >= before.disk
        assert state.vm_state != states.BUILDING or before.vm_state == states.BUILDING
        assert states.status_of(state.vm_state, state.task_state) in states.STATUSES


@given(histories)
def test_a_host_that_does_as_told_settles_everything(history: list[Any]) -> None:
    state = carried_out(after(history)[-1])
    assert state.task_state is None
    assert state.vm_state == {"running": "active", "paused": "paused", "stopped": "stopped"}[state.wanted]
    assert carried_out(state) == state


@given(histories)
def test_a_refused_action_names_what_is_in_its_way(history: list[Any]) -> None:
    state = after(history)[-1]
    for action, rule in states.RULES.items():
        allowed = state.vm_state in rule.states and (rule.tasks is None or state.task_state in rule.tasks)
        if allowed:
            states.check(action, "s", state)
            continue
        with pytest.raises(InvalidState) as refused:
            states.check(action, "s", state)
        assert str(state.vm_state) in refused.value.message or str(state.task_state) in refused.value.message


@given(histories, reported)
def test_old_news_change_the_power_state_only(history: list[Any], report: Any) -> None:
    state = after(history)[-1]
    _, power, _, behind, error = report
    settled = settle(state, current=False, power=power, boot=state.boot + behind, error=error)
    assert not settled.done
    assert not settled.failed
    changed = {name for name in State.__struct_fields__ if getattr(settled.state, name) != getattr(state, name)}
    assert changed <= {"power_state"}


@given(histories)
def test_only_starts_count_as_boots(history: list[Any]) -> None:
    state = after(history)[-1]
    for action, rule in states.RULES.items():
        made = states.apply(rule, state)
        assert made.boot - state.boot in (0, 1)
        assert rule.starts or made.boot == state.boot
        assert made.disk - state.disk == (1 if rule.new_disk else 0), action


@pytest.mark.parametrize(
    ("power", "boot", "error", "vm_state", "failed", "done"),
    [
        ("running", 1, False, "active", False, True),
        ("paused", 1, False, "paused", False, True),
        ("stopped", 1, False, "stopped", False, True),
        ("crashed", 1, False, "stopped", False, True),
        ("stopped", 0, False, "building", False, False),
        ("stopped", 0, True, "error", True, True),
        ("running", 1, True, "active", False, True),
        ("running", 0, True, "error", True, True),
    ],
)
def test_the_first_report(power: str, boot: int, error: bool, vm_state: str, failed: bool, done: bool) -> None:
    settled = settle(BORN, current=True, power=power, boot=boot, error=error)
    assert (settled.state.vm_state, settled.failed, settled.done) == (vm_state, failed, done)


def test_a_stop_that_fails_leaves_the_server_running_and_the_wish() -> None:
    active = carried_out(BORN)
    stopping = states.apply(states.check("stop", "s", active), active)
    settled = settle(stopping, current=True, power="running", boot=1, error=True)
    assert (settled.state.vm_state, settled.state.task_state, settled.state.wanted) == ("active", None, "stopped")
    assert settled.done


def test_a_rebuild_of_a_stopped_server_starts_nothing() -> None:
    stopped = carried_out(states.apply(states.RULES["stop"], carried_out(BORN)))
    rebuilt = states.apply(states.check("rebuild", "s", stopped), stopped)
    assert (rebuilt.boot, rebuilt.disk, rebuilt.wanted) == (stopped.boot, stopped.disk + 1, "stopped")
    assert states.status_of(rebuilt.vm_state, rebuilt.task_state) == "REBUILD"
    started = states.apply(states.check("start", "s", carried_out(rebuilt)), carried_out(rebuilt))
    assert started.boot == stopped.boot + 1


@pytest.mark.parametrize("status", sorted(states.STATUSES))
def test_filters_by_status_find_what_shows_it(status: str) -> None:
    tasks = [None, states.SPAWNING, states.REBOOTING, states.REBOOTING_HARD, states.REBUILDING, states.PAUSING]
    for vm_state in (*(states.BUILDING, states.ACTIVE, states.PAUSED, states.STOPPED, states.ERROR, states.DELETED),):
        for task in tasks:
            found = any(
                vm_state == wanted and (among is None or task in among) and task not in not_among
                for wanted, among, not_among in states.states_of(status)
            )
            assert found == (states.status_of(vm_state, task) == status)
