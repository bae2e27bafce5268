"""`/metrics`: figures for Prometheus, in its text format (version 0.0.4).

They tell of every project, so an administrator's token is needed, as for any call that does (`X-Auth-Token`).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

from polyport import errors
from polyport.compute import servers
from polyport.db.engine import Database
from polyport.ids import PortId
from polyport.network import ports
from polyport.network.ports import UsedPort
from polyport.policy import admin
from polyport.web.app import UNVERSIONED
from polyport.web.calls import Call, Reply
from polyport.web.errors import status_of
from polyport.web.microversions import Version
from polyport.web.routes import Service, own

__all__ = ["Passed", "service"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Passed(NamedTuple):
    """What has passed a port since it was plugged; `received` is what the guest sent."""

    received_packets: int
    received_bytes: int
    sent_packets: int
    sent_bytes: int


Counters = Callable[[PortId], Awaitable[Passed | None]]
"""Of a port of this host; None where it is not plugged here."""

Label = tuple[tuple[str, str], ...]


class MetricsDialect:
    def version(self, headers: dict[str, str], path: str) -> Version:
        return UNVERSIONED

    def version_headers(self, version: Version) -> dict[str, str]:
        return {}

    def error(self, error: errors.PolyportError) -> tuple[int, Any]:
        status = status_of(error)
        return status, {"error": {"code": status, "message": error.message}}


def service(*, counters: Counters) -> Service:
    """The service. `counters` asks the host."""

    async def show(call: Call, database: Database) -> Reply:
        statuses = await database.read(servers.count_by_status)
        used = await database.read(ports.used_ports)
        passed = [(port, await counters(port.id)) for port in used]
        text = "".join(_server_lines(statuses)) + "".join(_port_lines(passed))
        return Reply(body=text.encode(), content_type=CONTENT_TYPE)

    return Service(
        name="metrics", prefixes=("/metrics",), dialect=MetricsDialect(), routes=[own("GET", "/", show, admin)]
    )


def _server_lines(statuses: dict[str, int]) -> Iterable[str]:
    samples: list[tuple[Label, int]] = [((("status", status),), count) for status, count in sorted(statuses.items())]
    return _metric("polyport_servers", "gauge", "Servers by status.", samples)


def _port_lines(passed: Sequence[tuple[UsedPort, Passed | None]]) -> Iterable[str]:
    labels = {
        port.id: (
            ("port", port.id),
            ("network", port.network_id),
            ("server", port.device_id),
            ("slot", str(port.slot)),
        )
        for port, _ in passed
    }
    quarantined = [(labels[port.id], int(port.quarantined)) for port, _ in passed]
    yield from _metric(
        "polyport_port_quarantined", "gauge", "1 while the storm guard has cut the port off.", quarantined
    )
    for name, words in (
        ("received_packets", "Frames the guest sent."),
        ("received_bytes", "Octets the guest sent."),
        ("sent_packets", "Frames sent to the guest."),
        ("sent_bytes", "Octets sent to the guest."),
    ):
        samples = [(labels[port.id], int(getattr(each, name))) for port, each in passed if each is not None]
        yield from _metric(f"polyport_port_{name}_total", "counter", words, samples)


def _metric(name: str, kind: str, words: str, samples: Iterable[tuple[Label, int]]) -> Iterable[str]:
    # Label values are ids and words of our own: nothing in them needs a backslash.
    yield f"# HELP {name} {words}\n# TYPE {name} {kind}\n"
    for label, value in samples:
        inside = ",".join(f'{key}="{text}"' for key, text in label)
        yield f"{name}{{{inside}}} {value}\n"
