"""How the network service speaks: no microversions, errors as `{"NeutronError": {"type", "message", "detail"}}`."""

from typing import Any

from polyport import errors
from polyport.quotas import QuotaExceeded
from polyport.web.app import UNVERSIONED, WrongMethod
from polyport.web.bodies import InvalidField, UnexpectedField
from polyport.web.errors import status_of
from polyport.web.microversions import Version

_STATUS: dict[type[errors.PolyportError], int] = {errors.OverQuota: 409}

_KINDS: tuple[tuple[type[errors.PolyportError], str], ...] = (
    (errors.Invalid, "HTTPBadRequest"),
    (WrongMethod, "HTTPMethodNotAllowed"),
    (errors.NotFound, "HTTPNotFound"),
    (errors.TooLarge, "HTTPRequestEntityTooLarge"),
)
"""What Neutron calls the errors that are raised before its own code is reached."""

_OWN = ("polyport.network", "polyport.api.network", "polyport.policy")


class NetworkDialect:
    """Source: Neutron's API reference, "Faults"; type names are those of Neutron's exception classes."""

    def version(self, headers: dict[str, str], path: str) -> Version:
        return UNVERSIONED

    def version_headers(self, version: Version) -> dict[str, str]:
        return {}

    def error(self, error: errors.PolyportError) -> tuple[int, Any]:
        status = status_of(error, _STATUS)
        if isinstance(error, errors.Unauthenticated):
            return status, {"error": {"code": 401, "title": "Unauthorized", "message": error.message}}
        return status, {"NeutronError": {"type": _type_of(error), "message": _message_of(error), "detail": ""}}


def _type_of(error: errors.PolyportError) -> str:
    if isinstance(error, errors.OverQuota):
        return "OverQuota"
    if type(error).__module__.startswith(_OWN):
        return type(error).__name__
    for kind, name in _KINDS:
        if isinstance(error, kind):
            return name
    return "HTTPInternalServerError"


def _message_of(error: errors.PolyportError) -> str:
    facts = error.facts
    if isinstance(error, QuotaExceeded):
        return f"Quota exceeded for resources: ['{facts['resource']}']."
    if isinstance(error, UnexpectedField):
        return f"Unrecognized attribute(s) '{facts['name']}'"
    if isinstance(error, InvalidField):
        return f"Invalid input for {facts['field']}. Reason: '{facts['value']}' is not valid: {facts['reason']}."
    return error.message
