"""What is done to a server that is there: each action is checked, changes what is wanted, is written down, and the host
is woken. `states` has the rules."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from polyport import quotas
from polyport.compute import attachments, boot, history, hosts, nics, servers, states
from polyport.compute.boot_images import boot_image
from polyport.compute.flavors import Flavor
from polyport.compute.personality import File, check_files
from polyport.compute.servers import Server, flavor_of
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.metadata import now
from polyport.errors import Forbidden, Invalid
from polyport.ids import ProjectId
from polyport.network import ports
from polyport.policy import PolicyNotAuthorized

_EVENTS: Mapping[str, str] = {
    "start": "compute_start_instance",
    "stop": "compute_stop_instance",
    "reboot": "compute_reboot_instance",
    "reboot_hard": "compute_reboot_instance",
    "pause": "compute_pause_instance",
    "unpause": "compute_unpause_instance",
}


class NotServed(Invalid):
    """The action '{action}' is not supported by this cloud."""


class UnlockOfAdmins(Forbidden):
    """Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed."""


class Rebuild(Struct, frozen=True, kw_only=True):
    """What a rebuild changes besides the disk; what is UNSET stays."""

    image_id: str
    name: str | UnsetType = UNSET
    hostname: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    metadata: Mapping[str, str] | UnsetType = UNSET
    key_name: str | UnsetType | None = UNSET
    user_data: str | UnsetType | None = UNSET
    personality: Sequence[File] | UnsetType = UNSET
    disk_config: str | UnsetType = UNSET
    access_ip_v4: str | UnsetType = UNSET
    access_ip_v6: str | UnsetType = UNSET
    admin_password: str | UnsetType = UNSET
    trusted_certificates: Sequence[str] | UnsetType | None = UNSET


def act(tx: Tx, context: Context, server: Server, action: str) -> None:
    """Do what needs nothing but the action's name: start, stop, reboot, reboot_hard, pause, unpause.

    Raises `ServerLocked`, or `InvalidState` naming the state that is in the way.
    """
    servers.check_lock(context, server)
    rule = states.check(action, server.id, server.state)
    _write(tx, server, states.apply(rule, server.state), {})
    shown = action.removesuffix("_hard")
    history.record_action(tx, context, [server.id], shown, event=_EVENTS[action], host=server.host)


def refuse(context: Context, server: Server, action: str) -> None:
    """An action that is served for no state a server can be in: the refusal OpenStack gives in every other state."""
    servers.check_lock(context, server)
    if action in states.RULES:
        states.check(action, server.id, server.state)
    raise NotServed(action=action)


def rebuild(tx: Tx, context: Context, server: Server, wanted: Rebuild) -> None:
    """Give a server a new disk, made from an image. Its NICs stay, numbered from 1 again: the guest is a new one."""
    servers.check_lock(context, server)
    rule = states.check("rebuild", server.id, server.state)
    limits = quotas.limits_of(tx, ProjectId(server.project_id))
    kept = flavor_of(server.flavor)
    flavor = Flavor(
        number=0,
        id=str(kept["id"]),
        name=str(kept["name"]),
        vcpus=server.vcpus,
        ram=server.memory_mb,
        disk=server.root_gb,
    )
    image = boot_image(tx, context, wanted.image_id, flavor)
    values: dict[str, object] = {
        "image_id": image.image.id,
        "image": msgspec.to_builtins(image),
        "fault": None,
        "admin_password": boot.new_password(),
    }
    for name in Rebuild.__struct_fields__[1:]:
        value = getattr(wanted, name)
        if value is not UNSET:
            values[name] = value
    if wanted.metadata is not UNSET:
        boot.check_metadata(limits, wanted.metadata)
        values["metadata"] = dict(wanted.metadata)
    if wanted.personality is not UNSET:
        check_files(limits, wanted.personality)
        values["personality"] = list(wanted.personality) or None
    if wanted.key_name is not UNSET:
        values["key"] = boot.key_kept(tx, context, wanted.key_name)
    if wanted.name is not UNSET and wanted.hostname is UNSET:
        values["hostname"] = boot.hostname_of(wanted.name, server.id)
    slots = nics.renumber(tx, server.id)
    values["nic_slots"] = image.nic_slots or limits.get("nic_slots", nics.MOST_SLOTS)
    nics.check_count(len(slots), vcpus=server.vcpus, slots=int(str(values["nic_slots"])))
    ports.move_ports(tx, slots)
    _write(tx, server, states.apply(rule, server.state), values)
    history.record_action(tx, context, [server.id], "rebuild", event="compute_rebuild_instance", host=server.host)


def lock(tx: Tx, context: Context, server: Server, reason: str | None) -> None:
    """Keep everybody but administrators from changing the server. What is locked already stays as it is for its owner,
    who could open an administrator's lock otherwise by locking anew."""
    by = "owner" if server.project_id == context.project_id else "admin"
    if server.locked and by == "owner":
        return
    servers.write_server(tx, server.id, {"locked": True, "locked_by": by, "locked_reason": reason})
    history.record_action(tx, context, [server.id], "lock", event="api_lock", waits=False)


def unlock(tx: Tx, context: Context, server: Server) -> None:
    """Raises `UnlockOfAdmins` where an administrator locked it."""
    if server.locked_by == "admin" and not context.is_admin:
        raise UnlockOfAdmins
    servers.write_server(tx, server.id, {"locked": False, "locked_by": None, "locked_reason": None})
    history.record_action(tx, context, [server.id], "unlock", event="api_unlock", waits=False)


def reset_state(tx: Tx, context: Context, server: Server, state: str) -> None:
    """An administrator says what state a server is in; hosts are not asked."""
    if not context.is_admin:
        raise PolicyNotAuthorized(action="os_compute_api:os-admin-actions:reset_state")
    servers.write_server(tx, server.id, {"vm_state": state, "task_state": None})
    history.record_action(tx, context, [server.id], "reset_state", waits=False)


def delete_server(tx: Tx, context: Context, server: Server) -> None:
    """Delete a server, in whatever state it is: from this moment on it is not found, the ports made for it are gone and
    those brought along are free, and its quota is given back. The host cleans up behind it. Raises `ServerLocked`."""
    servers.check_lock(context, server)
    history.record_action(tx, context, [server.id], "delete", event="compute_terminate_instance", host=server.host)
    attachments.detach_all(tx, server.id)
    values = {
        "vm_state": states.DELETED,
        "task_state": None,
        "power_state": states.NO_POWER,
        "wanted": "gone",
        "deleted_at": now(),
        "admin_password": None,
        "plan_revision": tx.revision(),
    }
    servers.write_server(tx, server.id, values)
    amounts = {"instances": 1, "cores": server.vcpus, "ram": server.memory_mb}
    quotas.refund(tx, ProjectId(server.project_id), amounts)
    hosts.promise(tx, server.host, vcpus=-server.vcpus, memory_mb=-server.memory_mb)
    tx.wake(server.host)


def _write(tx: Tx, server: Server, state: states.State, values: Mapping[str, object]) -> None:
    """Write down what is wanted now and tell the host."""
    changed = {
        "vm_state": state.vm_state,
        "task_state": state.task_state,
        "wanted": state.wanted,
        "boot": state.boot,
        "restart": state.restart,
        "disk": state.disk,
        "plan_revision": tx.revision(),
        **values,
    }
    servers.write_server(tx, server.id, changed)
    tx.wake(server.host)
