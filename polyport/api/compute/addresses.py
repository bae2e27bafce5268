"""`/servers/{id}/ips`: addresses by network name, in the order of NICs."""

from polyport.api.compute.server_views import addresses_view
from polyport.api.compute.servers import the_server
from polyport.compute import nics
from polyport.db.engine import Tx
from polyport.errors import NotFound
from polyport.policy import reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import get


class NoSuchNetworkName(NotFound):
    """Network name not found"""


def list_addresses(call: Call, tx: Tx) -> Reply:
    server = the_server(call, tx)
    return Reply(body={"addresses": addresses_view(nics.shown(tx, [server.id]), server.id, extended=False)})


def show(call: Call, tx: Tx) -> Reply:
    server = the_server(call, tx)
    found = addresses_view(nics.shown(tx, [server.id]), server.id, extended=False)
    name = call.params["network_name"]
    if name not in found:
        raise NoSuchNetworkName
    return Reply(body={name: found[name]})


ROUTES = (
    get("/servers/{server_id}/ips", list_addresses, reader),
    get("/servers/{server_id}/ips/{network_name}", show, reader),
)
