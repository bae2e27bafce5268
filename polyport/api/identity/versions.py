"""Version documents: where clients learn that there is a version 3 and where it is."""

from typing import Any

from polyport.db.engine import Tx
from polyport.web.calls import Call, Reply

_TYPE = "application/vnd.openstack.identity-v3+json"


def version_view(root_url: str) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{root_url}/identity/v3/"}],
        "media-types": [{"base": "application/json", "type": _TYPE}],
    }


def root_document(root_url: str) -> dict[str, Any]:
    """What the root of the host says: a client that knows nothing but the host begins with the identity service."""
    return {"versions": {"values": [version_view(root_url)]}}


def list_versions(call: Call, tx: Tx) -> Reply:
    body = root_document(call.root_url)
    href = body["versions"]["values"][0]["links"][0]["href"]
    return Reply(status=300, body=body, headers={"location": href})


def get_version(call: Call, tx: Tx) -> Reply:
    return Reply(body={"version": version_view(call.root_url)})
