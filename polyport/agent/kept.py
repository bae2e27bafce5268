"""A server as the agent keeps it between two jobs: what is wanted of it, what is known of it, what became of it."""

import asyncio

import msgspec

from polyport.agent.reconcile import Seen, Step
from polyport.agent.servers import Server
from polyport.dataplane import VifPlan
from polyport.hypervisor import FoundGuest
from polyport.ids import ServerId
from polyport.plan import ServerPlan, ServerReport


class KeptServer(Server):
    """`Jobs` alone changes these fields."""

    def __init__(self, server_id: ServerId, seen: Seen) -> None:
        super().__init__(server_id, seen)
        self.plan: ServerPlan | None = None
        self.vifs: tuple[VifPlan, ...] | None = None
        """What its plan and the networks make of its NICs; None where it is to be found out (again)."""
        self.busy = False
        """In some job's hand."""
        self.kicked = False
        """Kicked while it was."""
        self.stale = False
        """To be looked at before anything else."""
        self.doubted = False
        """Its vifs are to be brought to their plan whatever is known of them."""
        self.hurry: asyncio.Event | None = None
        """There while its guest is asked gently to power off; set to end that."""
        self.error: str | None = None
        self.failures = 0
        self.held: tuple[Step, ...] = ()
        """Steps that failed and are not tried again before `retry_at`, a time of the event loop."""
        self.retry_at = 0.0
        self.given_up = False
        """Its start failed and is not tried again for this plan."""
        self.told: ServerReport | None = None
        """What was last reported."""

    def no_more(self) -> bool:
        """Whether nothing of it is left, and nothing is wanted of it."""
        wanted = self.plan is not None and self.plan.wanted != "gone"
        seen = self.seen
        return not wanted and seen.guest is None and not seen.vifs and not seen.directory


def look(seen: Seen, guest: FoundGuest | None, *, doubted: bool) -> Seen:
    """What is known of a server after a look at its guest. Vifs of its NICs exist, as taps live in guests'
    hands; what they were made to be is not known where they are new to us or in doubt."""
    inside = [nic.port_id for nic in guest.nics] if guest is not None else []
    vifs = {**dict.fromkeys(inside), **seen.vifs}
    return msgspec.structs.replace(seen, guest=guest, vifs=dict.fromkeys(vifs) if doubted else vifs)
