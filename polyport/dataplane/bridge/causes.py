"""The numbers of causes: the marks that rules give to frames which they drop, and count them under. Pure."""

from collections.abc import Mapping

from polyport.dataplane import EGRESS_CAUSES, INGRESS_CAUSES

QUEUE_FULL = "ingress_queue_full"
"""The one that no rule drops for: a tap counts it itself."""

_NAMES = (*(f"egress_{cause}" for cause in EGRESS_CAUSES), *(f"ingress_{cause}" for cause in INGRESS_CAUSES))

NUMBERS: Mapping[str, int] = {
    name: number for number, name in enumerate((name for name in _NAMES if name != QUEUE_FULL), 1)
}
"""Direction and cause, as the texts of rules name them -> number."""
