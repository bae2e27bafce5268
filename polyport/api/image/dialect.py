"""How the image service speaks: no microversions, errors as `{"error": {"code", "title", "message"}}`."""

from http import HTTPStatus
from typing import Any

from polyport.api.image.files import NotOctets, UnsatisfiableRange
from polyport.api.image.patches import NotAPatch
from polyport.errors import PolyportError
from polyport.image.formats import UnusableData
from polyport.image.images import ImageGone
from polyport.web.app import UNVERSIONED
from polyport.web.errors import status_of
from polyport.web.microversions import Version

_STATUS: dict[type[PolyportError], int] = {
    NotOctets: 415,
    NotAPatch: 415,
    UnusableData: 415,
    UnsatisfiableRange: 416,
    ImageGone: 410,
}


class ImageDialect:
    """Statuses after Glance's API reference."""

    def version(self, headers: dict[str, str], path: str) -> Version:
        return UNVERSIONED

    def version_headers(self, version: Version) -> dict[str, str]:
        return {}

    def error(self, error: PolyportError) -> tuple[int, Any]:
        status = status_of(error, _STATUS)
        return status, {"error": {"code": status, "title": HTTPStatus(status).phrase, "message": error.message}}
