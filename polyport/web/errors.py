"""Error kinds and HTTP statuses: the one page where they meet. A service may differ in single kinds."""

from collections.abc import Mapping

from polyport import errors
from polyport.web.app import BodyStalled, WrongMethod

STATUS: Mapping[type[errors.PolyportError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    WrongMethod: 405,
    BodyStalled: 408,
    errors.NotAcceptable: 406,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.Unsupported: 501,
    errors.Unavailable: 503,
    errors.PolyportError: 500,
}


def status_of(error: errors.PolyportError, own: Mapping[type[errors.PolyportError], int] | None = None) -> int:
    """The status of an error: the nearest class in its line of ancestors that has one, the service's `own` first."""
    for kind in type(error).__mro__:
        if own is not None and kind in own:
            return own[kind]
        if kind in STATUS:
            return STATUS[kind]
    return 500
