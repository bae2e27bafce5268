"""`/servers` but for its lists: create, show, update, delete."""

from polyport.api.compute.fields import flag
from polyport.api.compute.microversions import SERVER_TOPOLOGY, during
from polyport.api.compute.server_bodies import CreateServer, UpdateServer, changes, names, new_server
from polyport.api.compute.server_views import links_view, show_view, update_view
from polyport.compute import actions, boot, servers
from polyport.compute.servers import Server
from polyport.db.engine import Tx
from polyport.policy import member, reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import delete, get, post, put


def create(call: Call, tx: Tx) -> Reply:
    body = call.decode(CreateServer)
    made = boot.create_servers(tx, call.context, new_server(call, body))
    if flag(body.server.return_reservation_id):
        return Reply(status=202, body={"reservation_id": made.reservation_id})
    first = made.server_ids[0]
    links = links_view(call, first)
    view = {
        "id": first,
        "links": links,
        "OS-DCF:diskConfig": made.disk_config,
        "security_groups": names(made.security_groups),
        "adminPass": made.admin_password,
    }
    return Reply(status=202, body={"server": view}, headers={"location": links[0]["href"]})


def show(call: Call, tx: Tx) -> Reply:
    return Reply(body={"server": show_view(call, tx, the_server(call, tx))})


def update(call: Call, tx: Tx) -> Reply:
    body = call.decode(UpdateServer)
    server = the_server(call, tx)
    changed = servers.update_server(tx, call.context, server, changes(call, body.server))
    return Reply(body={"server": update_view(call, tx, changed)})


def delete_server(call: Call, tx: Tx) -> Reply:
    actions.delete_server(tx, call.context, the_server(call, tx))
    return Reply(status=204)


def show_topology(call: Call, tx: Tx) -> Reply:
    """Guests have no NUMA topology of their own."""
    the_server(call, tx)
    return Reply(body={"nodes": [], "pagesize_kb": None})


def the_server(call: Call, tx: Tx, *, deleted: bool = False) -> Server:
    """The server the path names; with `deleted` also one that is no more. Raises `ServerNotFound` in the client's own
    words."""
    try:
        return servers.read_server(tx, call.context, call.uuid("server_id"), deleted=deleted)
    except servers.ServerNotFound as error:
        raise servers.ServerNotFound(server_id=call.params["server_id"][:100]) from error


ROUTES = (
    post("/servers", create, member),
    get("/servers/{server_id}", show, reader),
    put("/servers/{server_id}", update, member),
    delete("/servers/{server_id}", delete_server, member),
    during(SERVER_TOPOLOGY, get("/servers/{server_id}/topology", show_topology, reader)),
)
