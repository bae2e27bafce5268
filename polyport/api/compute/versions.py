"""Version documents, which need no token: what clients read before anything else."""

from typing import Any

from polyport.api.compute.microversions import HIGHEST, LOWEST
from polyport.db.engine import Tx
from polyport.policy import anyone
from polyport.web.calls import Call, Reply
from polyport.web.routes import get


def list_versions(call: Call, tx: Tx) -> Reply:
    """`GET /compute/`: both, the old one first, where clients look for it."""
    return Reply(body={"versions": [_version_view(call, "v2.0"), _version_view(call, "v2.1")]})


def show_version(call: Call, tx: Tx) -> Reply:
    """`GET /compute/v2.1`"""
    return Reply(body={"version": _detail_view(call, "v2.1")})


def show_old_version(call: Call, tx: Tx) -> Reply:
    """`GET /compute/v2`"""
    return Reply(body={"version": _detail_view(call, "v2.0")})


def _detail_view(call: Call, id: str) -> dict[str, Any]:
    view = _version_view(call, id)
    view["links"].append({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"})
    media = f"application/vnd.openstack.compute+json;version={id[1:]}"
    view["media-types"] = [{"base": "application/json", "type": media}]
    return view


def _version_view(call: Call, id: str) -> dict[str, Any]:
    """The old version has no microversions, which it says with empty ones."""
    old = id == "v2.0"
    return {
        "id": id,
        "status": "SUPPORTED" if old else "CURRENT",
        "version": "" if old else str(HIGHEST),
        "min_version": "" if old else str(LOWEST),
        "updated": "2011-01-21T11:33:21Z" if old else "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{call.base_url}/{'v2' if old else 'v2.1'}/"}],
    }


ROOT_ROUTES = (
    get("/", list_versions, anyone),
    get("/v2.1", show_version, anyone),
    get("/v2", show_old_version, anyone),
)
