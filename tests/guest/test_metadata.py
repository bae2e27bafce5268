"""The metadata service as a real guest finds it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.guest.rig import Rig, Server

pytestmark = pytest.mark.guest


def told(server: Server, slot: int, path: str) -> bytes:
    """What the guest reads at a path, by way of one NIC."""
    # The guest's system routes by source: the NIC's own table needs the way, too.
    way = " && ".join(f"ip route replace 169.254.169.254/32 dev eno{slot} {table}" for table in ("", f"table 30{slot}"))
    ask = f"printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc -w 5 169.254.169.254 80"
    ran = server.guest.run(f"{way} && {ask}", timeout=20)
    head, _, content = ran.output.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), ran
    return bytes(content)


def test_every_nic_leads_to_the_servers_own_metadata(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    first, second = boot({"uuid": network.id}, {"uuid": network.id}), boot({"uuid": network.id})
    for server, slots in ((first, (1, 2)), (second, (1,))):
        nics = server.nics(*slots)
        for slot in slots:
            data = json.loads(told(server, slot, "/openstack/latest/meta_data.json"))
            assert data["uuid"] == server.id
            assert [(each["mac"], each["address"], each["slot"]) for each in data["devices"]] == [
                (nic.mac, nic.pci, nic.slot) for nic in nics
            ]
            assert told(server, slot, "/latest/meta-data/instance-id").decode() == server.id


def test_it_tells_of_changes_at_once(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    server = boot({"uuid": network.id})
    server.nics(1)
    server.attach(net_id=network.id)
    server.compute.set_server_metadata(server.id, role="firewall")
    rig.until(
        lambda: json.loads(told(server, 1, "/openstack/latest/meta_data.json")).get("meta") == {"role": "firewall"},
        "the guest reads what was set",
    )
    assert len(json.loads(told(server, 1, "/openstack/latest/meta_data.json"))["devices"]) == 2
