"""`/v2.0/routers`: there are none. Clients that look for one are told so, and none can be made."""

from polyport.db.engine import Tx
from polyport.errors import NotFound
from polyport.web.calls import Call, Reply


class RouterNotFound(NotFound):
    """Router {router_id} could not be found."""


def index(call: Call, tx: Tx) -> Reply:
    return Reply(body={"routers": []})


def show(call: Call, tx: Tx) -> Reply:
    raise RouterNotFound(router_id=call.params["id"][:255])
