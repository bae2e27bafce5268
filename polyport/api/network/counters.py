"""`polyport:counters`: what went through one port since it was plugged, and what was dropped of it, by cause.

Directions are those of security groups, the guest's: `ingress` is what comes to it. Only a port that is plugged has it;
any other is shown as it was answered when it was made. Lists do not have it: each port of them would be a question to
its host.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from polyport.ids import PortId
from polyport.plan import PortCounters, Traffic

NAME = "polyport:counters"

Counters = Callable[[PortId], Awaitable[PortCounters | None]]
"""Of a port of this host; None where it is not plugged here."""


def counters_view(counters: PortCounters) -> dict[str, Any]:
    return {"ingress": _traffic_view(counters.ingress), "egress": _traffic_view(counters.egress)}


def _traffic_view(traffic: Traffic) -> Mapping[str, Any]:
    return {"packets": traffic.packets, "bytes": traffic.bytes, "dropped": dict(traffic.dropped)}
