"""`/os-availability-zone`: there is one zone, with all hosts in it."""

from typing import Any

from polyport.compute import hypervisors
from polyport.db.engine import Tx
from polyport.policy import admin, reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import get


def list_zones(call: Call, tx: Tx) -> Reply:
    return _zones(tx, detailed=False)


def list_details(call: Call, tx: Tx) -> Reply:
    return _zones(tx, detailed=True)


def _zones(tx: Tx, *, detailed: bool) -> Reply:
    found = hypervisors.list_hypervisors(tx)
    zone: dict[str, Any] = {
        "zoneName": "nova",
        "zoneState": {"available": any(hypervisor.enabled for hypervisor in found)},
        "hosts": None,
    }
    if detailed:
        zone["hosts"] = {
            hypervisor.name: {
                "nova-compute": {
                    "available": hypervisor.up,
                    "active": hypervisor.enabled,
                    "updated_at": hypervisor.seen_at,
                }
            }
            for hypervisor in found
        }
    return Reply(body={"availabilityZoneInfo": [zone]})


ROUTES = (
    get("/os-availability-zone", list_zones, reader),
    get("/os-availability-zone/detail", list_details, admin),
)
