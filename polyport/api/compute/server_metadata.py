"""`/servers/{id}/metadata`"""

from msgspec import Struct

from polyport.api.compute.server_bodies import Metadata
from polyport.api.compute.servers import the_server
from polyport.compute import metadata
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.policy import member, reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import delete, get, post, put


class NotOneItem(Invalid):
    """Request body contains too many items"""


class OtherItem(Invalid):
    """Request body and URI mismatch"""


class MetadataBody(Struct, forbid_unknown_fields=True, kw_only=True):
    metadata: Metadata


class ItemBody(Struct, forbid_unknown_fields=True, kw_only=True):
    meta: Metadata


def list_metadata(call: Call, tx: Tx) -> Reply:
    return Reply(body={"metadata": the_server(call, tx).metadata_items()})


def replace(call: Call, tx: Tx) -> Reply:
    items = call.decode(MetadataBody).metadata
    found = metadata.replace_metadata(tx, call.context, the_server(call, tx), items)
    return Reply(body={"metadata": found})


def add(call: Call, tx: Tx) -> Reply:
    items = call.decode(MetadataBody).metadata
    return Reply(body={"metadata": metadata.add_metadata(tx, call.context, the_server(call, tx), items)})


def show_item(call: Call, tx: Tx) -> Reply:
    name = call.params["name"]
    return Reply(body={"meta": {name: metadata.item_of(the_server(call, tx), name)}})


def put_item(call: Call, tx: Tx) -> Reply:
    item = call.decode(ItemBody).meta
    if len(item) != 1:
        raise NotOneItem
    if call.params["name"] not in item:
        raise OtherItem
    metadata.add_metadata(tx, call.context, the_server(call, tx), item)
    return Reply(body={"meta": item})


def remove_item(call: Call, tx: Tx) -> Reply:
    metadata.remove_item(tx, call.context, the_server(call, tx), call.params["name"])
    return Reply(status=204)


ROUTES = (
    get("/servers/{server_id}/metadata", list_metadata, reader),
    post("/servers/{server_id}/metadata", add, member),
    put("/servers/{server_id}/metadata", replace, member),
    get("/servers/{server_id}/metadata/{name}", show_item, reader),
    put("/servers/{server_id}/metadata/{name}", put_item, member),
    delete("/servers/{server_id}/metadata/{name}", remove_item, member),
)
