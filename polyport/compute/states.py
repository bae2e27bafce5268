"""What may be done to a server in which state, and what a host's report makes of it: pure decisions.

                        create
                          |
                      building ----------(report: error)---------------+
                          |  (report: running)                         v
        stop              v             pause                        error
    +---------------- active <-------------------------> paused        |  (report: running,
    |   power-off       ^ ^ |           unpause                        |   after a repair, a hard
    |   inside, crash   | | +-- reboot, rebuild, attach, detach        |   reboot or a rebuild)
    v                   | |     (active with a task until the report)  |
    stopped ------------+ +--------------------------------------------+
            start, hard reboot            (rebuild of a stopped server that fails: error too; repaired: stopped again)
                                    delete: from every state, at once, for good ---> deleted

A request changes what is wanted and sets a task; the state itself changes when the host reports. While a task is
under way most requests are refused, as OpenStack refuses them. `boot` counts the starts a user asked for: a host starts
a guest whose number is higher than the one it carried out. The names of states, tasks and actions are OpenStack's.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

from polyport.errors import Conflict

Wanted: TypeAlias = Literal["running", "stopped", "paused", "gone"]

BUILDING, ACTIVE, PAUSED, STOPPED, ERROR, DELETED = "building", "active", "paused", "stopped", "error", "deleted"

SPAWNING = "spawning"
POWERING_ON, POWERING_OFF = "powering-on", "powering-off"
REBOOTING, REBOOTING_HARD = "rebooting", "rebooting_hard"
REBUILDING, PAUSING, UNPAUSING = "rebuilding", "pausing", "unpausing"

NO_POWER, RUNNING_POWER, PAUSED_POWER, SHUTDOWN_POWER, CRASHED_POWER = 0, 1, 3, 4, 6
POWER_STATES: Mapping[str, int] = {
    "running": RUNNING_POWER,
    "paused": PAUSED_POWER,
    "stopped": SHUTDOWN_POWER,
    "crashed": CRASHED_POWER,
    "gone": NO_POWER,
}


class InvalidState(Conflict):
    """Cannot '{action}' instance {server_id} while it is in {attribute} {state}"""


class State(Struct, frozen=True, kw_only=True):
    """What is known and wanted of a server."""

    vm_state: str
    task_state: str | None = None
    power_state: int = NO_POWER
    wanted: Wanted
    boot: int = 1
    restart: Literal["soft", "hard"] = "hard"
    disk: int = 1


class Rule(Struct, frozen=True, kw_only=True):
    """When an action is allowed and what it makes of a server; a field that is None stays as it is."""

    states: frozenset[str]
    tasks: frozenset[str | None] | None = frozenset((None,))
    """Under which tasks; None is any."""
    task: str | None = None
    wanted: Wanted | None = None
    starts: bool = False
    """Whether the host shall start the guest (again)."""
    restart: Literal["soft", "hard"] = "hard"
    new_disk: bool = False


def _in(*states: str) -> frozenset[str]:
    return frozenset(states)


SETTLED = _in(ACTIVE, PAUSED, STOPPED)

RULES: Mapping[str, Rule] = {
    "start": Rule(states=_in(STOPPED), task=POWERING_ON, wanted="running", starts=True),
    "stop": Rule(states=_in(ACTIVE, ERROR), task=POWERING_OFF, wanted="stopped"),
    "reboot": Rule(states=_in(ACTIVE), task=REBOOTING, wanted="running", starts=True, restart="soft"),
    "reboot_hard": Rule(
        states=_in(ACTIVE, STOPPED, PAUSED, ERROR),
        tasks=frozenset((None, REBOOTING, REBOOTING_HARD, PAUSING, UNPAUSING)),
        task=REBOOTING_HARD,
        wanted="running",
        starts=True,
    ),
    "rebuild": Rule(states=_in(ACTIVE, STOPPED, ERROR), task=REBUILDING, starts=True, new_disk=True),
    "pause": Rule(states=_in(ACTIVE), task=PAUSING, wanted="paused"),
    "unpause": Rule(states=_in(PAUSED), task=UNPAUSING, wanted="running"),
    "attach_interface": Rule(states=SETTLED),
    "detach_interface": Rule(states=SETTLED),
    "update_instance_metadata": Rule(states=SETTLED, tasks=None),
    "delete_instance_metadata": Rule(states=SETTLED, tasks=None),
    # States that no server here ever is in: these requests are refused as OpenStack refuses them for every other state.
    "resume": Rule(states=_in("suspended")),
    "unshelve": Rule(states=_in("shelved", "shelved_offloaded")),
    "shelve_offload": Rule(states=_in("shelved")),
    "restore": Rule(states=_in("soft-delete")),
    "unrescue": Rule(states=_in("rescued")),
}

_SHOWN = {"reboot_hard": "reboot"}


def check(action: str, server_id: str, state: State) -> Rule:
    """The rule of an action, if it is allowed now. Raises `InvalidState` naming what is in its way."""
    rule = RULES[action]
    shown = _SHOWN.get(action, action)
    if state.vm_state not in rule.states:
        raise InvalidState(action=shown, server_id=server_id, attribute="vm_state", state=state.vm_state)
    if rule.tasks is not None and state.task_state not in rule.tasks:
        raise InvalidState(action=shown, server_id=server_id, attribute="task_state", state=state.task_state)
    return rule


def apply(rule: Rule, state: State) -> State:
    """What an allowed action makes of a server."""
    wanted = rule.wanted or ("stopped" if state.vm_state == STOPPED else "running")
    return State(
        vm_state=state.vm_state,
        task_state=rule.task or state.task_state,
        power_state=state.power_state,
        wanted=state.wanted if rule.task is None else wanted,
        boot=state.boot + (rule.starts and wanted == "running"),
        restart=rule.restart if rule.starts else state.restart,
        disk=state.disk + rule.new_disk,
    )


class Settled(Struct, frozen=True, kw_only=True):
    """What a report makes of a server."""

    state: State
    failed: bool = False
    """Whether the server cannot be what it should: its state is ERROR and the report's words are its fault."""
    done: bool = False
    """Whether all that was asked for up to now has been carried out or has failed."""


def settle(state: State, *, current: bool, power: str, boot: int, error: bool) -> Settled:
    """What a host's report makes of a server that is not gone.

    `current`: the report is about all that is wanted now. A report about less changes the power state only.
    """
    seen = POWER_STATES[power]
    runs = power in ("running", "paused")
    if not current:
        return Settled(state=_with(state, state.vm_state, state.task_state, seen, state.wanted))
    started = boot >= state.boot
    if error:
        # A new disk that cannot be made leaves no server to speak of, whether it should run or not; and what is in
        # error stays so until something else is asked for or it is repaired.
        broken = state.task_state == REBUILDING or (state.vm_state == ERROR and state.task_state is None)
        if (state.wanted == "stopped" and not broken) or (runs and started):
            return Settled(state=_with(state, _by_power(power), None, seen, state.wanted), done=True)
        return Settled(state=_with(state, ERROR, None, seen, state.wanted), failed=True, done=True)
    if state.wanted == "stopped":
        if runs:
            return Settled(state=_with(state, state.vm_state, state.task_state, seen, state.wanted))
        return Settled(state=_with(state, STOPPED, None, seen, "stopped"), done=True)
    if not started:
        return Settled(state=_with(state, state.vm_state, state.task_state, seen, state.wanted))
    if runs:
        return Settled(state=_with(state, _by_power(power), None, seen, state.wanted), done=True)
    # The guest of this very boot is not there any more: it powered itself off or crashed, and stays down.
    return Settled(state=_with(state, STOPPED, None, seen, "stopped"), done=True)


def _by_power(power: str) -> str:
    return {"running": ACTIVE, "paused": PAUSED}.get(power, STOPPED)


def _with(state: State, vm_state: str, task_state: str | None, power_state: int, wanted: Wanted) -> State:
    return State(
        vm_state=vm_state,
        task_state=task_state,
        power_state=power_state,
        wanted=wanted,
        boot=state.boot,
        restart=state.restart,
        disk=state.disk,
    )


_STATUSES: Mapping[str, Mapping[str | None, str]] = {
    BUILDING: {},
    ACTIVE: {REBOOTING: "REBOOT", REBOOTING_HARD: "HARD_REBOOT", REBUILDING: "REBUILD"},
    STOPPED: {REBUILDING: "REBUILD", REBOOTING_HARD: "HARD_REBOOT"},
    PAUSED: {REBOOTING_HARD: "HARD_REBOOT"},
    ERROR: {REBUILDING: "REBUILD", REBOOTING_HARD: "HARD_REBOOT"},
    DELETED: {},
}
_PLAIN = {
    BUILDING: "BUILD",
    ACTIVE: "ACTIVE",
    STOPPED: "SHUTOFF",
    PAUSED: "PAUSED",
    ERROR: "ERROR",
    DELETED: "DELETED",
}
STATUSES = frozenset((*_PLAIN.values(), "REBOOT", "HARD_REBOOT", "REBUILD"))
"""The statuses a server here can show."""
KNOWN_STATUSES = STATUSES | {
    *("MIGRATING", "PASSWORD", "RESCUE", "RESIZE", "REVERT_RESIZE", "SHELVED", "SHELVED_OFFLOADED"),
    *("SOFT_DELETED", "SUSPENDED", "UNKNOWN", "VERIFY_RESIZE"),
}
"""The statuses a client may name in a filter."""


def status_of(vm_state: str, task_state: str | None) -> str:
    """The status a server shows, as OpenStack words it."""
    return _STATUSES[vm_state].get(task_state) or _PLAIN[vm_state]


def states_of(status: str) -> tuple[tuple[str, frozenset[str | None] | None, frozenset[str | None]], ...]:
    """What a status means: (state, the tasks it shows with or None for any, the tasks it does not show with)."""
    found: list[tuple[str, frozenset[str | None] | None, frozenset[str | None]]] = []
    for vm_state, tasks in _STATUSES.items():
        if _PLAIN[vm_state] == status:
            found.append((vm_state, None, frozenset(tasks)))
        matching = frozenset(task for task, shown in tasks.items() if shown == status)
        if matching:
            found.append((vm_state, matching, frozenset()))
    return tuple(found)
