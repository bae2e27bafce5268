"""Version documents, and the list of what there is below `/v2.0`."""

from polyport.db.engine import Tx
from polyport.web.calls import Call, Reply

RESOURCES = (
    ("network", "networks"),
    ("subnet", "subnets"),
    ("port", "ports"),
    ("security-group", "security-groups"),
    ("security-group-rule", "security-group-rules"),
    ("floatingip", "floatingips"),
    ("router", "routers"),
    ("quota", "quotas"),
    ("extension", "extensions"),
)


def index(call: Call, tx: Tx) -> Reply:
    link = {"rel": "self", "href": f"{call.base_url}/v2.0/"}
    return Reply(body={"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]})


def show(call: Call, tx: Tx) -> Reply:
    resources = [
        {
            "links": [{"rel": "self", "href": f"{call.base_url}/v2.0/{collection}"}],
            "name": name,
            "collection": collection,
        }
        for name, collection in RESOURCES
    ]
    return Reply(body={"resources": resources})
