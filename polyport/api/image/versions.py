"""Version documents of the image service, and what of it there is to find out."""

from typing import Any

from polyport.db.engine import Tx
from polyport.web.calls import Call, Reply

_VERSIONS = (("v2.9", "CURRENT"), *((f"v2.{minor}", "SUPPORTED") for minor in (7, 6, 5, 4, 3, 2, 1, 0)))
"""As Glance without several stores says them: 2.8 stands for those."""


def list_versions(call: Call, tx: Tx) -> Reply:
    return Reply(status=300, body=_document(call))


def get_versions(call: Call, tx: Tx) -> Reply:
    return Reply(body=_document(call))


def get_import_methods(call: Call, tx: Tx) -> Reply:
    """There is one way for bytes to come in, and it is not called import."""
    methods = {"description": "Import methods available.", "type": "array", "value": []}
    return Reply(body={"import-methods": methods})


def _document(call: Call) -> dict[str, Any]:
    links = [{"rel": "self", "href": f"{call.base_url}/v2/"}]
    return {"versions": [{"id": name, "status": status, "links": links} for name, status in _VERSIONS]}
