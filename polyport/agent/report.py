"""What the cloud half is told about one server. Pure."""

from collections.abc import Collection
from typing import Literal

from polyport.agent.reconcile import Seen
from polyport.ids import PortId
from polyport.plan import NicReport, ServerPlan, ServerReport


def server_report(
    plan: ServerPlan, seen: Seen, error: str | None, quarantined: Collection[PortId] = ()
) -> ServerReport:
    """The report on a server after its plan was carried out, or failed with `error`.

    `quarantined`: the ports of this host that the storm guard has cut off.

    NICs: those in the guest are `plugged`; those the plan has besides (the server is stopped, or a plug
    failed) are not. A NIC that is in neither is gone.
    """
    guest = seen.guest
    inside = dict.fromkeys(nic.port_id for nic in guest.nics) if guest is not None else {}
    waiting = [nic.port_id for nic in plan.nics if nic.port_id not in inside and plan.wanted != "gone"]
    return ServerReport(
        id=plan.id,
        revision=plan.revision,
        power=_power(plan, seen),
        boot=max(seen.record.boot if seen.record is not None else 0, guest.boot if guest is not None else 0),
        nics=(
            *(NicReport(port_id=port_id, plugged=True, quarantined=port_id in quarantined) for port_id in inside),
            *(NicReport(port_id=port_id, plugged=False) for port_id in waiting),
        ),
        error=error,
    )


def _power(plan: ServerPlan, seen: Seen) -> Literal["running", "paused", "stopped", "gone"]:
    if seen.guest is not None:
        return seen.guest.power
    if plan.wanted == "gone" and not seen.directory and not seen.vifs:
        return "gone"
    return "stopped"
