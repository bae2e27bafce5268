"""Base kinds of domain errors. They know nothing of HTTP; each API turns a kind into its own status and JSON.

An error class stands in the module that raises it and derives from a kind here. Its docstring is its message: a format
string over the keyword arguments it is raised with. `message` is for the client; the cause (`raise ... from`) is for
the log. For the network API the class name is public (`NeutronError.type`), so those classes bear Neutron's names.
"""

import inspect


def _template(error: BaseException) -> str:
    """The docstring of an error as one line, however it is broken in the source."""
    return inspect.cleandoc(type(error).__doc__ or "").replace("\n", " ")


class PolyportError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None, **facts: object) -> None:
        text = message if message is not None else _template(self).format(**facts)
        super().__init__(text)
        self.message = text
        self.facts = facts


class Invalid(PolyportError):
    """The request is not valid."""


class Unauthenticated(PolyportError):
    """The request you have made requires authentication."""


class Forbidden(PolyportError):
    """You are not allowed to do this."""


class OverQuota(Forbidden):
    """Quota exceeded."""


class NotFound(PolyportError):
    """There is no such thing."""


class Conflict(PolyportError):
    """The thing is not in a state that allows this."""


class PreconditionFailed(PolyportError):
    """The thing was changed by somebody else."""


class NotAcceptable(PolyportError):
    """The version asked for is not supported."""


class TooLarge(PolyportError):
    """The request is too large."""


class Unsupported(PolyportError):
    """This is not supported."""


class Unavailable(PolyportError):
    """The service cannot do this just now."""


class HostError(PolyportError):
    """The host could not do this."""
