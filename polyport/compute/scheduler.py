"""Which host a server goes to: a pure choice.

A host that is down is never chosen, nor one that could not run the server even if it were empty. Among the others the
one with the least memory promised for its size is. Memory and processors may be promised more than once: guests of
network functions rarely use what their flavors say, and what a project may have is the quota's affair.
"""

from collections.abc import Sequence

from msgspec import Struct

from polyport.errors import Conflict
from polyport.ids import HostName

CPU_RATIO = 16
"""Guest processors for each of the host's, at most, in one server; OpenStack's default is the same."""


class NoValidHost(Conflict):
    """No valid host was found. {reason}"""


class Candidate(Struct, frozen=True, kw_only=True):
    """A host, what it has, and what has been promised of it."""

    name: HostName
    up: bool
    enabled: bool
    vcpus: int
    """Of the host; 0 while it has not told."""
    memory_mb: int
    promised_memory_mb: int


def choose_host(candidates: Sequence[Candidate], *, vcpus: int, memory_mb: int) -> HostName:
    """The host for a server of this size.

    Raises `NoValidHost` saying why there is none. The client is told at once (409) instead of being given a server that
    is in error from its first moment: nothing has to be cleaned up, and trying again is safe.
    """
    awake = [host for host in candidates if host.up and host.enabled]
    if not awake:
        raise NoValidHost(reason="No host is up." if candidates else "No host has registered yet.")
    fitting = [
        host for host in awake if host.vcpus == 0 or (vcpus <= host.vcpus * CPU_RATIO and memory_mb <= host.memory_mb)
    ]
    if not fitting:
        raise NoValidHost(reason=f"No host that is up could run {vcpus} vCPUs with {memory_mb} MB of memory.")
    return min(fitting, key=lambda host: (host.promised_memory_mb / max(host.memory_mb, 1), host.name)).name
