"""A server's plan as tests begin with it."""

from typing import Any

from polyport.ids import ServerId, new_id
from polyport.plan import ServerPlan


def server_plan(**facts: Any) -> ServerPlan:
    """A small server that shall run, with these facts in place of the ordinary ones."""
    ordinary: dict[str, Any] = {
        "id": ServerId(new_id()),
        "name": "vnf",
        "hostname": "vnf",
        "project_id": "p",
        "user_id": "u",
        "revision": 1,
        "wanted": "running",
        "boot": 1,
        "vcpus": 1,
        "memory_mb": 64,
        "root_gb": 0,
        "nic_slots": 8,
    }
    return ServerPlan(**(ordinary | facts))
