"""Security groups between real guests."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.guest.rig import Rig, Server

pytestmark = pytest.mark.guest


def reaches(server: Server, address: str) -> bool:
    ran = server.guest.run(f"ping -c 1 -W 1 {address}", timeout=20)
    return ran.status == 0


def address_of(server: Server) -> str:
    address: str = server.ports()[0].fixed_ips[0]["ip_address"]
    return address


def test_another_group_is_out_until_a_rule_lets_it_in(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    groups = rig.client.network
    stranger = groups.create_security_group(name="stranger")
    entry = {"uuid": network.id}
    friend, home = boot(entry), boot(entry)
    outsider = boot(entry, security_groups=[{"name": "stranger"}])
    for server in (friend, home, outsider):
        server.nics(1)
    address = address_of(home)
    assert reaches(friend, address), "both are in the default group"
    assert not reaches(outsider, address)
    default = groups.get_port(home.ports()[0].id).security_group_ids[0]
    rule = groups.create_security_group_rule(
        security_group_id=default, direction="ingress", ethertype="IPv4", remote_group_id=stranger.id
    )
    rig.until(lambda: reaches(outsider, address), "the rule is in force")
    assert not reaches(home, address_of(outsider)), "the rule is for one direction"
    groups.delete_security_group_rule(rule)
    rig.until(lambda: not reaches(outsider, address), "the rule is gone")
    assert reaches(friend, address)
    outsider.delete()
    groups.delete_security_group(stranger)
