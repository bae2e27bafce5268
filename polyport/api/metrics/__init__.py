"""`/metrics`: figures for Prometheus, in its text format (version 0.0.4).

They tell of every project, so an administrator's token is needed, as for any call that does (`X-Auth-Token`).
`docs/figures.md` lists them all.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from polyport import errors
from polyport.api.metrics import figures
from polyport.compute import servers
from polyport.db.engine import Database
from polyport.ids import PortId
from polyport.network import ports, refusals
from polyport.plan import HostFigures, PortCounters
from polyport.policy import admin
from polyport.web.app import UNVERSIONED
from polyport.web.calls import Call, Reply
from polyport.web.errors import status_of
from polyport.web.microversions import Version
from polyport.web.routes import Service, own
from polyport.web.tally import Tally

__all__ = ["service"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsDialect:
    def version(self, headers: dict[str, str], path: str) -> Version:
        return UNVERSIONED

    def version_headers(self, version: Version) -> dict[str, str]:
        return {}

    def error(self, error: errors.PolyportError) -> tuple[int, Any]:
        status = status_of(error)
        return status, {"error": {"code": status, "message": error.message}}


def service(
    *,
    counters: Callable[[PortId], Awaitable[PortCounters | None]],
    host: Callable[[], HostFigures],
    tally: Tally,
) -> Service:
    """The service. `counters` asks the host of a port (None: it is not plugged here), `host` what it says of itself;
    `tally` is of the requests to all services."""

    async def show(call: Call, database: Database) -> Reply:
        statuses = await database.read(servers.count_by_status)
        used = await database.read(ports.used_ports)
        refused = await database.read(refusals.count)
        passed = [(port, await counters(port.id)) for port in used]
        text = "".join(
            (
                *figures.of_servers(statuses),
                *figures.of_ports(passed),
                *figures.of_groups(refused),
                *figures.of_host(host()),
                *figures.of_requests(tally),
            )
        )
        return Reply(body=text.encode(), content_type=CONTENT_TYPE)

    return Service(
        name="metrics", prefixes=("/metrics",), dialect=MetricsDialect(), routes=[own("GET", "/", show, admin)]
    )
