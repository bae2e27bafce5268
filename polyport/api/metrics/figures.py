"""What is known -> lines of Prometheus' text format. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from polyport.network.ports import UsedPort
from polyport.plan import HostFigures, PortCounters, Traffic
from polyport.web.tally import BOUNDS, Tally

Label = tuple[tuple[str, str], ...]
Sample = tuple[Label, float]

_WAYS = ("ingress", "egress")


def of_servers(statuses: Mapping[str, int]) -> Iterable[str]:
    samples = [((("status", status),), count) for status, count in sorted(statuses.items())]
    yield from _metric("polyport_servers", "gauge", "Servers by status.", samples)


def of_ports(ports: Sequence[tuple[UsedPort, PortCounters | None]]) -> Iterable[str]:
    labels: dict[str, Label] = {
        port.id: (
            ("port", port.id),
            ("network", port.network_id),
            ("server", port.device_id),
            ("slot", str(port.slot)),
        )
        for port, _ in ports
    }
    quarantined = [(labels[port.id], int(port.quarantined)) for port, _ in ports]
    yield from _metric(
        "polyport_port_quarantined", "gauge", "1 while the storm guard has cut the port off.", quarantined
    )
    plugged: list[tuple[Label, Traffic]] = [
        ((*labels[port.id], ("direction", way)), getattr(counters, way))
        for port, counters in ports
        if counters is not None
        for way in _WAYS
    ]
    for unit, words in (
        ("packets", "Frames to the guest (ingress), and all frames the guest sent (egress)."),
        ("bytes", "Octets of these frames."),
    ):
        samples = [(label, getattr(traffic, unit)) for label, traffic in plugged]
        yield from _metric(f"polyport_port_{unit}_total", "counter", words, samples)
    yield from _metric(
        "polyport_port_dropped_packets_total",
        "counter",
        "Frames dropped, by cause; a cause that there was none of has no line.",
        [
            ((*label, ("cause", cause)), count)
            for label, traffic in plugged
            for cause, count in traffic.dropped.items()
            if count
        ],
    )


def of_groups(refused: int) -> Iterable[str]:
    words = "Security groups that a host has not in force as they are."
    yield from _metric("polyport_security_groups_refused", "gauge", words, [((), refused)])


def of_host(host: HostFigures) -> Iterable[str]:
    guests = [((("power", power),), count) for power, count in sorted(host.guests.items())]
    yield from _metric("polyport_guests", "gauge", "Guests on this host by power state.", guests)
    for name, words, count in (
        ("quarantines", "Times that the storm guard has cut a port off.", host.quarantines),
        ("recoveries", "Times that a port was no longer cut off.", host.recoveries),
    ):
        yield from _metric(f"polyport_{name}_total", "counter", words, [((), count)])
    yield from _metric(
        "polyport_agent_last_round_timestamp_seconds",
        "gauge",
        "When the agent last had read its plan and handed out the work.",
        [((), host.last_round)] if host.last_round is not None else [],
    )


def of_requests(tally: Tally) -> Iterable[str]:
    yield from _metric(
        "polyport_api_requests_total",
        "counter",
        "Requests answered.",
        [
            ((("service", service), ("method", method), ("status", str(status))), count)
            for (service, method, status), count in sorted(tally.requests.items())
        ],
    )
    name, samples = "polyport_api_request_duration_seconds", list[tuple[str, Label, float]]()
    for service, classes in sorted(tally.classes.items()):
        label = ("service", service)
        bounds = [*map(str, BOUNDS), "+Inf"]
        samples += [
            ("_bucket", (label, ("le", bound)), count) for bound, count in zip(bounds, accumulate(classes), strict=True)
        ]
        samples += [("_sum", (label,), tally.seconds[service]), ("_count", (label,), sum(classes))]
    yield _head(name, "histogram", "How long requests took, up to the head of the answer.")
    yield from (_line(name + part, label, value) for part, label, value in samples)


def _metric(name: str, kind: str, words: str, samples: Iterable[Sample]) -> Iterable[str]:
    yield _head(name, kind, words)
    yield from (_line(name, label, value) for label, value in samples)


def _head(name: str, kind: str, words: str) -> str:
    return f"# HELP {name} {words}\n# TYPE {name} {kind}\n"


def _line(name: str, label: Label, value: float) -> str:
    # Label values are ids and words of our own: nothing in them needs a backslash.
    inside = ",".join(f'{key}="{text}"' for key, text in label)
    return f"{name}{{{inside}}} {value}\n" if inside else f"{name} {value}\n"
