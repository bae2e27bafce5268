"""Where a server goes: the zone, the host and the group that were asked for, and what those leave to choose."""

from collections.abc import Mapping, Sequence

import msgspec

from polyport.compute import hosts, scheduler, server_groups, servers
from polyport.compute.flavors import Flavor
from polyport.compute.scheduler import Candidate
from polyport.compute.server_groups import ServerGroup
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.errors import Invalid, NotFound
from polyport.ids import HostName
from polyport.policy import PolicyNotAuthorized

ZONE = "nova"
"""The one availability zone there is."""


class ZoneMissing(Invalid):
    """The requested availability zone is not available"""


class GroupMissing(Invalid):
    """Instance group {group_id} could not be found."""


class HostNotFound(Invalid):
    """Compute host {host} could not be found."""


class HostRuledOut(scheduler.NoValidHost):
    """No valid host was found. The policy of server group {group_id}, {policy}, rules out host {host}."""


class GroupFull(scheduler.NoValidHost):
    """No valid host was found. Server group {group_id} wants its servers on different hosts, and each has one."""


def zone_of(context: Context, text: str | None) -> tuple[str, str | None]:
    """`zone`, `zone:host` or `zone:host:node` -> the zone, and the host if one is named. Raises `ZoneMissing`, and
    `PolicyNotAuthorized` where others than administrators name a host."""
    zone, _, rest = (text or ZONE).partition(":")
    if (zone or ZONE) != ZONE:
        raise ZoneMissing
    host, _, node = rest.partition(":")
    if (host or node) and not context.is_admin:
        raise PolicyNotAuthorized(action="os_compute_api:servers:create:forced_host")
    return ZONE, host or node or None


def group_of(tx: Tx, context: Context, hints: Mapping[str, object]) -> ServerGroup | None:
    """The group a server joins. (All other hints say where a server would rather be, and are kept.)"""
    if "group" not in hints:
        return None
    group_id = str(hints["group"])
    try:
        return server_groups.get_group(tx, context, group_id)
    except NotFound as error:
        raise GroupMissing(group_id=group_id[:100]) from error


def hosts_for(tx: Tx, flavor: Flavor, count: int, on: str | None, group: ServerGroup | None) -> list[HostName]:
    """The host of each server of a request, by the rules of their group: each goes where it would go if those before it
    were there already. `on` names the only host that will do.

    Raises `HostNotFound`, `HostRuledOut`, `GroupFull`, `NoValidHost`.
    """
    choices = {host.name: host for host in hosts.candidates(tx) if on is None or host.name == on}
    if on is not None and not choices:
        raise HostNotFound(host=on)
    has = {} if group is None else servers.hosts_of(tx, group.members)
    found = []
    for _ in range(count):
        left = list(choices.values())
        if group is not None:
            left = _left_by(group, has, left, on)
        name = scheduler.choose_host(left, vcpus=flavor.vcpus, memory_mb=flavor.ram)
        found.append(name)
        has[name] = has.get(name, 0) + 1
        promised = choices[name].promised_memory_mb + flavor.ram
        choices[name] = msgspec.structs.replace(choices[name], promised_memory_mb=promised)
    return found


def _left_by(
    group: ServerGroup, has: Mapping[str, int], choices: Sequence[Candidate], on: str | None
) -> list[Candidate]:
    """The hosts the next server of a group may be on; `has`: how many of the group's each host has."""
    left = list(choices)
    if group.policy == "anti-affinity":
        most = group.rules.get("max_server_per_host", 1)
        left = [host for host in choices if has.get(host.name, 0) < most]
    elif group.policy == "affinity" and has:
        left = [host for host in choices if host.name in has]
    if on is not None and not left:
        raise HostRuledOut(group_id=group.id, policy=group.policy, host=on)
    if choices and not left:
        raise GroupFull(group_id=group.id)
    return left
