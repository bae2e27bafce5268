"""`/servers/{id}/os-volume_attachments`: clients ask for them when they show or detach; there are no volumes."""

from polyport.api.compute.servers import the_server
from polyport.db.engine import Tx
from polyport.errors import NotFound
from polyport.policy import reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import get


class VolumeNotAttached(NotFound):
    """Volume {volume_id} is not attached to instance {server_id}."""


def list_attachments(call: Call, tx: Tx) -> Reply:
    the_server(call, tx)
    return Reply(body={"volumeAttachments": []})


def show(call: Call, tx: Tx) -> Reply:
    server = the_server(call, tx)
    raise VolumeNotAttached(volume_id=call.params["volume_id"], server_id=server.id)


ROUTES = (
    get("/servers/{server_id}/os-volume_attachments", list_attachments, reader),
    get("/servers/{server_id}/os-volume_attachments/{volume_id}", show, reader),
)
