"""`/v2.0/floatingips`: there are none. Clients ask for those of every port, and the true answer is an empty list."""

from polyport.db.engine import Tx
from polyport.errors import NotFound
from polyport.web.calls import Call, Reply


class FloatingIPNotFound(NotFound):
    """Floating IP {floatingip_id} could not be found."""


def index(call: Call, tx: Tx) -> Reply:
    return Reply(body={"floatingips": []})


def show(call: Call, tx: Tx) -> Reply:
    raise FloatingIPNotFound(floatingip_id=call.params["id"][:255])
