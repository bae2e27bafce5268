"""Reports on their way to the cloud half.

One round trip carries whatever has gathered while the one before was on its way, so a busy host sends few,
large reports and a quiet one sends its news at once. Only the newest report on a server is kept.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from polyport.ids import HostName, ServerId
from polyport.plan import HostFacts, HostReport, RefusedGroup, ServerReport

log = logging.getLogger(__name__)

MOST_SERVERS = 512
"""Reports in one round trip: the cloud half stores them in one transaction, which others wait for."""

MOST_PAUSE = 30.0
"""Seconds between two attempts while the cloud half takes no reports, at most."""


class Outbox:
    def __init__(self, send: Callable[[HostReport], Awaitable[None]], host: HostName) -> None:
        self._send = send
        self._host = host
        self._servers: dict[ServerId, ServerReport] = {}
        self._facts: HostFacts | None = None
        self._refused: tuple[RefusedGroup, ...] | None = None
        self._news = asyncio.Event()

    def put(self, report: ServerReport) -> None:
        """Send a report on one server, in place of an older one that was not sent yet."""
        self._servers[report.id] = report
        self._news.set()

    def put_facts(self, facts: HostFacts) -> None:
        self._facts = facts
        self._news.set()

    def put_refused(self, groups: tuple[RefusedGroup, ...]) -> None:
        """Say which security groups are not in force as planned: these, and no others."""
        self._refused = groups
        self._news.set()

    async def run(self) -> None:
        """Send what is put, for ever. What could not be sent is sent again, alone at first: one report that
        the cloud half cannot take must not hold up the others."""
        most, pause = MOST_SERVERS, 0.1
        while True:
            await self._news.wait()
            batch = [self._servers.pop(server_id) for server_id in list(self._servers)[:most]]
            facts, self._facts = self._facts, None
            refused, self._refused = self._refused, None
            try:
                await self._send(HostReport(host=self._host, servers=tuple(batch), facts=facts, refused_groups=refused))
            except Exception:
                log.exception("report not sent", extra={"action": "report", "servers": len(batch)})
                for report in batch:
                    self._servers.setdefault(report.id, report)
                self._restore(facts, refused)
                await asyncio.sleep(pause)
                most, pause = 1, min(pause * 2, MOST_PAUSE)
            else:
                most, pause = min(most * 2, MOST_SERVERS), 0.1
            if self._is_empty():
                self._news.clear()

    def _is_empty(self) -> bool:
        return not self._servers and self._facts is None and self._refused is None

    def _restore(self, facts: HostFacts | None, refused: tuple[RefusedGroup, ...] | None) -> None:
        if self._refused is None:
            self._refused = refused
        if self._facts is None:
            self._facts = facts
