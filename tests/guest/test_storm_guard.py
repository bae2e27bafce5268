"""A real guest joins two of its NICs: it loses one of them, nobody else loses anything, and it gets it back."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.guest.rig import Rig, Server

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])
def test_a_guest_that_joins_its_nics_loses_one_of_them(
    rig: Rig, network: Any, boot: Callable[..., Server], guarded: bool
) -> None:
    if not guarded:
        rig.client.network.update_network(network.id, port_security_enabled=False)
    entry = {"uuid": network.id}
    server, bystander = boot(entry, entry, entry), boot(entry, entry)
    server.nics(1, 2, 3)
    bystander.nics(1, 2)
    looped, tap = server.ports()[1], bystander.tap(1)
    server.guest.bridge(1, 2)

    def state() -> tuple[bool, str]:
        port = rig.client.network.get(f"/ports/{looped.id}").json()["port"]
        return port["polyport:quarantined"], port["status"]

    def others() -> set[str]:
        return {port.status for port in server.ports() if port.id != looped.id}

    rig.until(lambda: state() == (True, "DOWN"), "the port is quarantined", 15)
    assert others() == {"ACTIVE"}
    before, began = rig.cloud.devices()[tap][1], time.monotonic()
    for _ in range(3):
        # Pings of NICs that do not know each other begin with broadcasts, which would feed a loop.
        sent = bystander.guest.send(1, 2, 5)
        assert sent.crossed, sent
    frames = rig.cloud.devices()[tap][1] - before
    assert frames / max(time.monotonic() - began, 1.0) < 200
    server.guest.unbridge()
    rig.until(lambda: state() == (False, "ACTIVE"), "the port is back", 15)
    actions = [action.action for action in rig.client.compute.server_actions(server.id)]
    assert actions[:2] == ["nic_recover", "nic_quarantine"]
