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
    found = nics.of_server(tx, the_server(call, tx).id)
    return Reply(body={"addresses": addresses_view(found, extended=False)})


def show(call: Call, tx: Tx) -> Reply:
    found = addresses_view(nics.of_server(tx, the_server(call, tx).id), extended=False)
    name = call.params["network_name"]
    if name not in found:
        raise NoSuchNetworkName
    return Reply(body={name: found[name]})


ROUTES = (
    get("/servers/{server_id}/ips", list_addresses, reader),
    get("/servers/{server_id}/ips/{network_name}", show, reader),
)
