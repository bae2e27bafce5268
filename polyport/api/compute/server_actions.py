"""`POST /servers/{id}/action`: one table, action name -> what is done.

An action is a body with one key, its name. One that OpenStack has and this cloud has not is refused in so many words,
after the server has been found: what is not there stays 404.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct

from polyport.api.compute import console
from polyport.api.compute.console import ConsoleLog, NoSuchConsole, OutputBody
from polyport.api.compute.microversions import (
    LOCK_REASON,
    OWN_CONSOLE_ACTIONS,
    REBUILD_KEY,
    REBUILD_USER_DATA,
    REMOTE_CONSOLES,
    WHOLE_UPDATE_VIEW,
    during,
)
from polyport.api.compute.server_bodies import RebuildBody, rebuild
from polyport.api.compute.server_views import links_view, update_view
from polyport.api.compute.servers import the_server
from polyport.compute import actions, attachments, security_groups, servers
from polyport.compute.servers import Server
from polyport.compute.wanted_nics import WantedNic
from polyport.db.engine import Database, Tx
from polyport.errors import Invalid
from polyport.ids import is_uuid
from polyport.policy import PolicyNotAuthorized, member
from polyport.web import bodies
from polyport.web.bodies import InvalidField, MalformedBody
from polyport.web.calls import Call, Reply
from polyport.web.routes import Route, own, post

Do: TypeAlias = Callable[[Call, Tx, Server, Any], Reply]


class NoSuchAction(Invalid):
    """There is no such action: {action}"""


class RebootBody(Struct, forbid_unknown_fields=True, kw_only=True):
    type: Literal["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]


class LockBody(Struct, forbid_unknown_fields=True, kw_only=True):
    locked_reason: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class StateBody(Struct, forbid_unknown_fields=True, kw_only=True):
    state: Literal["active", "error"]


class FixedIpOnNetwork(Struct, forbid_unknown_fields=True, kw_only=True):
    network: str = ""
    networkId: Annotated[str, Meta(min_length=1, max_length=255)] | int  # noqa: N815 - the API's own name


class FixedIpAddress(Struct, forbid_unknown_fields=True, kw_only=True):
    address: Annotated[str, Meta(min_length=1, max_length=64)]


class SecurityGroupName(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=255)]


class ResizeBody(Struct, kw_only=True):
    flavorRef: Annotated[str, Meta(min_length=1, max_length=255)] | int  # noqa: N815 - the API's own name


def _plain(action: str) -> Do:
    def do(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
        actions.act(tx, call.context, server, action)
        return Reply(status=202)

    return do


def _refused(action: str) -> Do:
    def do(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
        actions.refuse(call.context, server, action)
        return Reply(status=202)

    return do


def _reboot(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    kind = bodies.convert(value, RebootBody, "reboot").type.lower()
    actions.act(tx, call.context, server, "reboot_hard" if kind == "hard" else "reboot")
    return Reply(status=202)


def _rebuild(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    body = bodies.convert(value, RebuildBody, "rebuild", call.version)
    wanted = rebuild(call, body)
    actions.rebuild(tx, call.context, server, wanted)
    changed = servers.read_server(tx, call.context, server.id)
    view = update_view(call, tx, changed)
    view.admin_password = changed.admin_password or ""
    if call.version in WHOLE_UPDATE_VIEW:
        view.user_data = UNSET
    if call.version in REBUILD_KEY:
        view.key_name = changed.key_name
    if call.version in REBUILD_USER_DATA:
        view.user_data_given = changed.user_data
    return Reply(status=202, body={"server": view}, headers={"location": links_view(call, server.id)[0]["href"]})


def _lock(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    reason = None
    if call.version in LOCK_REASON and value is not None:
        reason = bodies.convert(value, LockBody, "lock").locked_reason
    actions.lock(tx, call.context, server, reason)
    return Reply(status=202)


def _unlock(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    actions.unlock(tx, call.context, server)
    return Reply(status=202)


def _reset_state(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    actions.reset_state(tx, call.context, server, bodies.convert(value, StateBody, "os-resetState").state)
    return Reply(status=202)


def _reset_network(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    """Nothing has to be done: hosts bring the network of a server to its plan by themselves."""
    if not call.context.is_admin:
        raise PolicyNotAuthorized(action="os_compute_api:os-admin-actions:reset_network")
    return Reply(status=202)


def _force_delete(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    actions.delete_server(tx, call.context, server)
    return Reply(status=202)


def _add_fixed_ip(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    """One more NIC on a network. OpenStack adds an address to a NIC there; a NIC is what serves network functions."""
    network_id = str(bodies.convert(value, FixedIpOnNetwork, "addFixedIp").networkId)
    if not is_uuid(network_id):
        raise InvalidField(field="networkId", value=network_id[:100], reason="It is not a 'uuid'")
    attachments.attach(tx, call.context, server, WantedNic(network_id=network_id.lower()))
    return Reply(status=202)


def _remove_fixed_ip(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    """The NIC that has the address goes."""
    address = bodies.convert(value, FixedIpAddress, "removeFixedIp").address
    nic = attachments.find_nic_by_address(tx, server, address)
    attachments.detach(tx, call.context, server, nic.port_id)
    return Reply(status=202)


def _add_security_group(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    name = bodies.convert(value, SecurityGroupName, "addSecurityGroup").name
    security_groups.add_group(tx, call.context, server, name)
    return Reply(status=202)


def _remove_security_group(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    name = bodies.convert(value, SecurityGroupName, "removeSecurityGroup").name
    security_groups.remove_group(tx, call.context, server, name)
    return Reply(status=202)


def _resize(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    bodies.convert(value, ResizeBody, "resize")
    actions.refuse(call.context, server, "resize")
    return Reply(status=202)


def _no_console(call: Call, tx: Tx, server: Server, value: Any) -> Reply:
    kind = value.get("type") if isinstance(value, dict) else None
    if call.version not in OWN_CONSOLE_ACTIONS or not isinstance(kind, str):
        raise InvalidField(field="type", value=str(kind)[:100], reason="It is not a type of console.")
    raise NoSuchConsole(kind=kind[:50])


ACTIONS: Mapping[str, Do] = {
    "os-start": _plain("start"),
    "os-stop": _plain("stop"),
    "pause": _plain("pause"),
    "unpause": _plain("unpause"),
    "reboot": _reboot,
    "rebuild": _rebuild,
    "lock": _lock,
    "unlock": _unlock,
    "forceDelete": _force_delete,
    "os-resetState": _reset_state,
    "resetNetwork": _reset_network,
    "addFixedIp": _add_fixed_ip,
    "removeFixedIp": _remove_fixed_ip,
    "resize": _resize,
    "os-getVNCConsole": _no_console,
    "os-getSPICEConsole": _no_console,
    "os-getSerialConsole": _no_console,
    "os-getRDPConsole": _no_console,
    "confirmResize": _refused("confirm_resize"),
    "revertResize": _refused("revert_resize"),
    "suspend": _refused("suspend"),
    "resume": _refused("resume"),
    "shelve": _refused("shelve"),
    "shelveOffload": _refused("shelve_offload"),
    "unshelve": _refused("unshelve"),
    "restore": _refused("restore"),
    "rescue": _refused("rescue"),
    "unrescue": _refused("unrescue"),
    "changePassword": _refused("change_password"),
    "createImage": _refused("snapshot"),
    "createBackup": _refused("backup"),
    "migrate": _refused("migrate"),
    "os-migrateLive": _refused("live_migrate"),
    "evacuate": _refused("evacuate"),
    "injectNetworkInfo": _refused("inject_network_info"),
    "trigger_crash_dump": _refused("trigger_crash_dump"),
    "addFloatingIp": _refused("add_floating_ip"),
    "removeFloatingIp": _refused("remove_floating_ip"),
    "addSecurityGroup": _add_security_group,
    "removeSecurityGroup": _remove_security_group,
}

_CONSOLE_OUTPUT = "os-getConsoleOutput"


def action_of(body: bytes) -> tuple[str, Any]:
    """The one action of a body and its value. Raises `MalformedBody` or `NoSuchAction`."""
    document = bodies.decode_any(body)
    if len(document) != 1:
        raise MalformedBody
    name, value = next(iter(document.items()))
    if name not in ACTIONS and name != _CONSOLE_OUTPUT:
        raise NoSuchAction(action=name[:100])
    return name, value


def routes(console_log: ConsoleLog) -> tuple[Route, ...]:
    """The routes of actions; `console_log` reads a guest's console, which is waited for."""

    async def act(call: Call, database: Database) -> Reply:
        name, value = action_of(call.body)
        if name == _CONSOLE_OUTPUT:
            body = bodies.convert({} if value is None else value, OutputBody, name)
            server = await database.read(lambda tx: the_server(call, tx))
            return await console.output(server, body, console_log)
        return await database.write(lambda tx: ACTIONS[name](call, tx, the_server(call, tx), value))

    return (
        own("POST", "/servers/{server_id}/action", act, member),
        during(REMOTE_CONSOLES, post("/servers/{server_id}/remote-consoles", create_console, member)),
    )


class ConsoleBody(Struct, forbid_unknown_fields=True, kw_only=True):
    protocol: Literal["vnc", "spice", "rdp", "serial", "mks"]
    type: Literal["novnc", "xvpvnc", "spice-html5", "spice-direct", "rdp-html5", "serial", "webmks"]


class CreateConsole(Struct, forbid_unknown_fields=True, kw_only=True):
    remote_console: ConsoleBody


def create_console(call: Call, tx: Tx) -> Reply:
    body = call.decode(CreateConsole).remote_console
    the_server(call, tx)
    raise NoSuchConsole(kind=body.type)
