"""The host half: a reconciler without inputs.

It reads what should be (`HostPlan`), looks at the host, does the difference step by step with an undo
stack, and sends what is (`HostReport`). The same code boots, repairs after a crash, hot-plugs and cleans up.
"""

from pathlib import Path
from typing import Protocol

from polyport.plan import HostPlan, HostReport, ImagePlan


class Cloud(Protocol):
    """The cloud half as an agent sees it: a call in the same process, or the same two values over the
    network."""

    async def plan(self, since: int) -> HostPlan:
        """What changed after revision `since`; everything, with `whole` set, where `since` is 0."""

    async def report(self, report: HostReport) -> None:
        """Take in facts. Raises where they could not be stored; the agent then sends them again."""

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 - the other half may be far away and keeps the time
        """Return when there may be news, or after `timeout` seconds.

        News that came after the last `plan` began make it return at once: no wake-up may fall between the
        two.
        """

    async def image(self, image: ImagePlan, into: Path) -> None:
        """Put an image's bytes at the path `into`, which does not exist yet (on one machine: a hard link)."""
