"""How the compute service speaks: two version headers; errors as `{"badRequest": {"code": 400, "message": ...}}`."""

from typing import Any

from polyport.api.compute.microversions import HIGHEST, LOWEST
from polyport.errors import PolyportError
from polyport.web.errors import status_of
from polyport.web.microversions import Version, negotiate

UNVERSIONED = Version(1, 0)
"""Of the one document that is above all versions."""

_NAMES = {
    400: "badRequest",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    501: "notImplemented",
    503: "serviceUnavailable",
}


class ComputeDialect:
    """`OpenStack-API-Version: compute 2.90` goes before `X-OpenStack-Nova-API-Version: 2.90`; both are answered. Below
    `/v2`, which is from before microversions, neither counts."""

    def version(self, headers: dict[str, str], path: str) -> Version:
        part = path.strip("/").split("/")[0]
        if not part:
            return UNVERSIONED
        if part == "v2":
            return LOWEST
        return negotiate(_wanted(headers), LOWEST, HIGHEST)

    def version_headers(self, version: Version) -> dict[str, str]:
        if version == UNVERSIONED:
            return {}
        return {
            "openstack-api-version": f"compute {version}",
            "x-openstack-nova-api-version": str(version),
            "vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version",
        }

    def error(self, error: PolyportError) -> tuple[int, Any]:
        status = status_of(error)
        if status == 401:
            # Tokens are checked before the compute service proper, which shows in the shape.
            return 401, {"error": {"code": 401, "title": "Unauthorized", "message": error.message}}
        return status, {_NAMES.get(status, "computeFault"): {"code": status, "message": error.message}}


def _wanted(headers: dict[str, str]) -> str | None:
    for entry in headers.get("openstack-api-version", "").split(","):
        service, _, version = entry.strip().partition(" ")
        if service.lower() == "compute" and version:
            return version.strip()
    legacy = headers.get("x-openstack-nova-api-version", "").strip()
    return legacy or None
