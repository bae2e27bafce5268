"""`/servers/{id}/os-interface`: the NICs of a server, listed in the order of their slots."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from polyport.api.compute.microversions import INTERFACE_TAG, INTERFACE_VIEW_TAG
from polyport.api.compute.server_bodies import NetworkBody, NicTag, wanted_nic
from polyport.api.compute.servers import the_server
from polyport.compute import attachments, nics
from polyport.compute.nics import Nic
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.policy import member, reader
from polyport.web.bodies import only
from polyport.web.calls import Call, Reply
from polyport.web.routes import delete, get, post


class NetworkAndPort(Invalid):
    """Must not input both network_id and port_id"""


class AddressWithoutNetwork(Invalid):
    """Must input network_id when request IP address"""


class FixedIpBody(Struct, forbid_unknown_fields=True, kw_only=True):
    ip_address: str


class AttachmentBody(Struct, forbid_unknown_fields=True, kw_only=True):
    net_id: str | None = None
    port_id: str | None = None
    fixed_ips: Annotated[list[FixedIpBody], Meta(min_length=1, max_length=1)] | None = None
    tag: Annotated[NicTag | UnsetType, only(INTERFACE_TAG)] = UNSET


class Attach(Struct, forbid_unknown_fields=True, kw_only=True):
    attachment: AttachmentBody | UnsetType = field(name="interfaceAttachment", default=UNSET)


def list_interfaces(call: Call, tx: Tx) -> Reply:
    server = the_server(call, tx)
    found = nics.of_server(tx, server.id)
    return Reply(body={"interfaceAttachments": [interface_view(call, nic) for nic in found]})


def show(call: Call, tx: Tx) -> Reply:
    server = the_server(call, tx)
    nic = attachments.find_nic(tx, server.id, call.uuid("port_id") or call.params["port_id"])
    return Reply(body={"interfaceAttachment": interface_view(call, nic)})


def attach(call: Call, tx: Tx) -> Reply:
    body = call.decode(Attach).attachment
    attachment = AttachmentBody() if body is UNSET else body
    if attachment.net_id is not None and attachment.port_id is not None:
        raise NetworkAndPort
    if attachment.fixed_ips and attachment.net_id is None:
        raise AddressWithoutNetwork
    entry = NetworkBody(
        uuid=attachment.net_id,
        port=attachment.port_id,
        fixed_ip=attachment.fixed_ips[0].ip_address if attachment.fixed_ips else None,
        tag=attachment.tag,
    )
    wanted = wanted_nic(entry, "interfaceAttachment")
    nic = attachments.attach(tx, call.context, the_server(call, tx), wanted)
    return Reply(body={"interfaceAttachment": interface_view(call, nic)})


def detach(call: Call, tx: Tx) -> Reply:
    attachments.detach(tx, call.context, the_server(call, tx), call.uuid("port_id") or call.params["port_id"])
    return Reply(status=202)


def interface_view(call: Call, nic: Nic) -> dict[str, Any]:
    view: dict[str, Any] = {
        "net_id": nic.network_id,
        "port_id": nic.port_id,
        "mac_addr": nic.mac_address,
        "port_state": nic.status,
        "fixed_ips": [{"subnet_id": subnet_id, "ip_address": address} for subnet_id, address in nic.fixed_ips],
    }
    if call.version in INTERFACE_VIEW_TAG:
        view["tag"] = nic.tag
    return view


ROUTES = (
    get("/servers/{server_id}/os-interface", list_interfaces, reader),
    get("/servers/{server_id}/os-interface/{port_id}", show, reader),
    post("/servers/{server_id}/os-interface", attach, member),
    delete("/servers/{server_id}/os-interface/{port_id}", detach, member),
)
