"""Security groups between real guests."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.guest.rig import Rig, Server

pytestmark = pytest.mark.guest

PATIENCE = 20


def reaches(server: Server, address: str, seconds: int = 1) -> bool:
    """Whether a ping is answered in so many seconds."""
    ran = server.guest.run(f"ping -c 1 -W {seconds} {address}", timeout=20 + seconds)
    return ran.status == 0


def addresses_of(server: Server) -> list[str]:
    return [port.fixed_ips[0]["ip_address"] for port in server.ports()]


def test_another_group_is_out_until_a_rule_lets_it_in(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    groups = rig.client.network
    stranger = groups.create_security_group(name="stranger")
    entry = {"uuid": network.id}
    friend, home = boot(entry), boot(entry, entry)
    outsider = boot(entry, security_groups=[{"name": "stranger"}])
    for server, slots in ((friend, (1,)), (home, (1, 2)), (outsider, (1,))):
        server.nics(*slots)
    address, another = addresses_of(home)
    assert reaches(friend, address, PATIENCE), "both are in the default group"
    assert reaches(friend, another, PATIENCE), "every NIC answers"
    assert not reaches(outsider, address)
    assert not reaches(outsider, another)
    default = groups.get_port(home.ports()[0].id).security_group_ids[0]
    rule = groups.create_security_group_rule(
        security_group_id=default, direction="ingress", ethertype="IPv4", remote_group_id=stranger.id
    )
    rig.until(lambda: reaches(outsider, address), "the rule is in force")
    assert not reaches(home, *addresses_of(outsider)), "the rule is for one direction"
    groups.delete_security_group_rule(rule)
    rig.until(lambda: not reaches(outsider, address), "the rule is gone")
    assert reaches(friend, address, PATIENCE)
    outsider.delete()
    groups.delete_security_group(stranger)
