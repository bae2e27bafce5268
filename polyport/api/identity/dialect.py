"""How the identity service speaks: no microversions, errors as `{"error": {"code", "title", "message"}}`."""

from http import HTTPStatus
from typing import Any

from polyport.errors import PolyportError
from polyport.web.app import UNVERSIONED
from polyport.web.errors import status_of
from polyport.web.microversions import Version


class IdentityDialect:
    """Source: Keystone's API reference, "Errors"."""

    def version(self, headers: dict[str, str], path: str) -> Version:
        return UNVERSIONED

    def version_headers(self, version: Version) -> dict[str, str]:
        return {"vary": "X-Auth-Token"}

    def error(self, error: PolyportError) -> tuple[int, Any]:
        status = status_of(error)
        return status, {"error": {"code": status, "title": HTTPStatus(status).phrase, "message": error.message}}
