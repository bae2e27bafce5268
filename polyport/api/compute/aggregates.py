"""`/os-aggregates`: clients ask for them when they show a hypervisor; hosts are in none."""

from polyport.db.engine import Tx
from polyport.errors import NotFound
from polyport.policy import admin
from polyport.web.calls import Call, Reply
from polyport.web.routes import get


class AggregateNotFound(NotFound):
    """Aggregate {id} could not be found."""


def list_aggregates(call: Call, tx: Tx) -> Reply:
    return Reply(body={"aggregates": []})


def show(call: Call, tx: Tx) -> Reply:
    raise AggregateNotFound(id=call.params["id"])


ROUTES = (
    get("/os-aggregates", list_aggregates, admin),
    get("/os-aggregates/{id}", show, admin),
)
