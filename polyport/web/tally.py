"""Requests that were answered, counted: plain numbers, for a microsecond a request."""

from bisect import bisect_left
from collections import Counter, defaultdict

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the classes of durations, in seconds; what takes longer is in a class of its own."""

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Tally:
    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """Service, method and status -> requests."""
        self.classes: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(BOUNDS) + 1))
        """Service -> requests in each class of durations."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Service -> all durations together."""

    def add(self, service: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; `seconds` is how long that took, up to the head of the answer."""
        # A client may call its method what it likes, and must not make us keep it.
        self.requests[service, method if method in _METHODS else "other", status] += 1
        self.classes[service][bisect_left(BOUNDS, seconds)] += 1
        self.seconds[service] += seconds
