"""The catalog: which services there are and where. It follows from the address the cloud is reached at."""

import hashlib
from collections.abc import Sequence
from typing import Any

from polyport.db.engine import Tx
from polyport.errors import NotFound
from polyport.web.calls import Call, Reply

INTERFACES = ("public", "internal", "admin")

_SERVICES = (
    ("identity", "keystone", "/identity"),
    ("compute", "nova", "/compute/v2.1"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
)
"""(type, name, path)"""


class RegionNotFound(NotFound):
    """Could not find region: {id}."""


class ServiceNotFound(NotFound):
    """Could not find service: {id}."""


class EndpointNotFound(NotFound):
    """Could not find endpoint: {id}."""


def catalog_view(region: str, root_url: str) -> list[dict[str, Any]]:
    """The catalog as tokens carry it."""
    return [
        {
            "id": _id(kind),
            "type": kind,
            "name": name,
            "endpoints": [
                {
                    "id": _id(region, kind, interface),
                    "interface": interface,
                    "region": region,
                    "region_id": region,
                    "url": root_url + path,
                }
                for interface in INTERFACES
            ],
        }
        for kind, name, path in _SERVICES
    ]


class Catalog:
    """The catalog's pages, for a cloud with one region. They can be read, not written."""

    def __init__(self, region: str) -> None:
        self._region = region

    def show(self, call: Call, tx: Tx) -> Reply:
        views = catalog_view(self._region, call.root_url)
        return Reply(body={"catalog": views, "links": {"self": call.base_url + call.path}})

    def regions(self, call: Call, tx: Tx) -> Reply:
        return _listed(call, "regions", [self._region_view(call)])

    def region(self, call: Call, tx: Tx) -> Reply:
        return _one("region", [self._region_view(call)], call, RegionNotFound)

    def services(self, call: Call, tx: Tx) -> Reply:
        return _listed(call, "services", self._service_views(call), type="type", name="name")

    def service(self, call: Call, tx: Tx) -> Reply:
        return _one("service", self._service_views(call), call, ServiceNotFound)

    def endpoints(self, call: Call, tx: Tx) -> Reply:
        names = {"interface": "interface", "service_id": "service_id", "region_id": "region_id"}
        return _listed(call, "endpoints", self._endpoint_views(call), **names, region="region")

    def endpoint(self, call: Call, tx: Tx) -> Reply:
        return _one("endpoint", self._endpoint_views(call), call, EndpointNotFound)

    def _region_view(self, call: Call) -> dict[str, Any]:
        return {
            "id": self._region,
            "description": "",
            "parent_region_id": None,
            "links": {"self": f"{call.base_url}/v3/regions/{self._region}"},
        }

    def _service_views(self, call: Call) -> list[dict[str, Any]]:
        return [
            {
                "id": _id(kind),
                "type": kind,
                "name": name,
                "description": "",
                "enabled": True,
                "links": {"self": f"{call.base_url}/v3/services/{_id(kind)}"},
            }
            for kind, name, _ in _SERVICES
        ]

    def _endpoint_views(self, call: Call) -> list[dict[str, Any]]:
        return [
            {
                **endpoint,
                "service_id": service["id"],
                "enabled": True,
                "links": {"self": f"{call.base_url}/v3/endpoints/{endpoint['id']}"},
            }
            for service in catalog_view(self._region, call.root_url)
            for endpoint in service["endpoints"]
        ]


def _listed(call: Call, noun: str, views: list[dict[str, Any]], **filters: str) -> Reply:
    for parameter, field in filters.items():
        wanted = call.query.get(parameter)
        if wanted is not None:
            views = [view for view in views if view[field] == wanted]
    links = {"next": None, "self": call.base_url + call.path, "previous": None}
    return Reply(body={noun: views, "links": links})


def _one(noun: str, views: Sequence[dict[str, Any]], call: Call, missing: type[NotFound]) -> Reply:
    for view in views:
        if view["id"] == call.params["id"]:
            return Reply(body={noun: view})
    raise missing(id=call.params["id"])


def _id(*parts: str) -> str:
    """The same parts have the same id in every process and for all time."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]
