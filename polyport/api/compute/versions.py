"""Version documents, which need no token: what clients read before anything else."""

from typing import Any

from polyport.api.compute.microversions import HIGHEST, LOWEST
from polyport.db.engine import Tx
from polyport.policy import anyone
from polyport.web.calls import Call, Reply
from polyport.web.routes import get

UPDATED = "2013-07-23T11:33:21Z"
"""When 2.1 became the current version; clients expect a date here, not this one."""


def list_versions(call: Call, tx: Tx) -> Reply:
    """`GET /compute/`"""
    return Reply(body={"versions": [_version_view(call)]})


def show_version(call: Call, tx: Tx) -> Reply:
    """`GET /compute/v2.1`"""
    describedby = {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}
    media = {"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}
    view = _version_view(call)
    view["links"].append(describedby)
    view["media-types"] = [media]
    return Reply(body={"version": view})


def _version_view(call: Call) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": str(HIGHEST),
        "min_version": str(LOWEST),
        "updated": UPDATED,
        "links": [{"rel": "self", "href": f"{call.base_url}/v2.1/"}],
    }


ROOT_ROUTES = (get("/", list_versions, anyone), get("/v2.1", show_version, anyone))
