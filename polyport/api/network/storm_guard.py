"""`polyport:storm_guard`: the limits of floods of a network's ports, or of one port, where they are not the host's own.

Everybody sees them, administrators set them.
"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from polyport.context import Context
from polyport.network import InvalidInput
from polyport.plan import StormPlan
from polyport.policy import PolicyNotAuthorized

NAME = "polyport:storm_guard"

Rate = Annotated[int, Meta(ge=1, le=1_000_000)]


class StormGuardBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """Frames a second, and at once. What is left out, or null, is as the network or the host has it."""

    flood_rate: Rate | None = None
    flood_burst: Rate | None = None
    sibling_rate: Rate | None = None


def check_allowed(context: Context, action: str, body: StormGuardBody | UnsetType | None) -> None:
    """Raises `PolicyNotAuthorized` where somebody else than an administrator sets limits."""
    if body is not UNSET and not context.is_admin:
        raise PolicyNotAuthorized(action=f"{action}:{NAME}")


def storm_of(body: StormGuardBody | None) -> StormPlan | None:
    """Raises `InvalidInput`."""
    if body is None or (body.flood_rate, body.flood_burst, body.sibling_rate) == (None, None, None):
        return None
    if body.flood_burst is not None and body.flood_rate is None:
        raise InvalidInput(reason=f"{NAME}: flood_burst needs a flood_rate")
    return StormPlan(flood_rate=body.flood_rate, flood_burst=body.flood_burst, sibling_rate=body.sibling_rate)


def storm_view(storm: StormPlan | None) -> dict[str, Any]:
    storm = storm or StormPlan()
    return {
        "flood_rate": storm.flood_rate,
        "flood_burst": storm.flood_burst,
        "sibling_rate": storm.sibling_rate,
    }
