"""Where a server goes: the zone, the host and the group that were asked for, and what those leave to choose."""

from collections.abc import Mapping

from polyport.compute import hosts, scheduler, server_groups, servers
from polyport.compute.flavors import Flavor
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


def host_for(tx: Tx, flavor: Flavor, count: int, on: str | None, group: ServerGroup | None) -> HostName:
    """One host for all servers of a request, by the rules of their group."""
    choices = hosts.candidates(tx)
    if group is not None and group.policy in ("affinity", "anti-affinity"):
        has = servers.hosts_of(tx, group.members)
        if group.policy == "anti-affinity":
            most = group.rules.get("max_server_per_host", 1)
            choices = [host for host in choices if has.get(host.name, 0) + count <= most]
            if not choices:
                raise GroupFull(group_id=group.id)
        elif has:
            choices = [host for host in choices if host.name in has]
    return scheduler.choose_host(choices, vcpus=flavor.vcpus, memory_mb=flavor.ram, on=on)
