"""Real guests join their NICs to a loop: one NIC is lost, nobody else loses anything, and it comes back.

network A ==1== looper          the NICs 1 and 2 of one guest, or
          ==2==                 1 and 4 of one and 1 and 2 of another one, through both networks
          --3--
network A --1-- bystander
          --2--
network A ==1== partner ==2== network B
network B ==4== looper
"""

import logging
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.guest.conftest import keep_what_was_said
from tests.guest.rig import Rig, Server

pytestmark = pytest.mark.guest

NOBODY = "fa:16:3e:77:77:77"
"""A MAC no port has."""

EVERYBODY = "ff:ff:ff:ff:ff:ff"

log = logging.getLogger(__name__)


class Cast(NamedTuple):
    """Who is on the stage."""

    looper: Server
    partner: Server
    bystander: Server

    def ports(self) -> list[Any]:
        return [port for server in self for port in server.ports()]


@pytest.fixture(scope="module")
def company(rig: Rig) -> Iterator[Cast]:
    """Three guests for all cases of this story."""
    networks = []
    for number, name in enumerate(("loop-a", "loop-b")):
        networks.append(rig.client.network.create_network(name=name))
        rig.client.network.create_subnet(network_id=networks[-1].id, ip_version=4, cidr=f"10.{78 + number}.0.0/24")
    a, b = ({"uuid": network.id} for network in networks)
    cast = Cast(*(rig.boot(nics) for nics in ([a, a, a, b], [a, b], [a, a])))
    for server in cast:
        server.ready()
        server.nics(*range(1, len(server.ports()) + 1))
    yield cast
    for server in cast:
        server.delete()
    for network in networks:
        rig.client.network.delete_network(network)


@pytest.fixture(params=[True, False], ids=["guarded", "unguarded"])
def cast(request: pytest.FixtureRequest, rig: Rig, company: Cast) -> Iterator[Cast]:
    """The company, with or without port security; nothing is joined before and after."""
    for port in company.ports():
        if port.is_port_security_enabled != request.param:
            more = {} if request.param else {"security_groups": []}
            rig.client.network.update_port(port, port_security_enabled=request.param, **more)
    yield company
    for server in company[:2]:
        server.guest.unbridge()
    keep_what_was_said(request, rig, company)
    rig.until(lambda: not quarantined(company), "every port is back", 15)


def quarantined(cast: Cast) -> list[Any]:
    """The ports that the API says are cut off."""
    told = [cast.looper.rig.client.network.get(f"/ports/{port.id}").json()["port"] for port in cast.ports()]
    assert all(port["polyport:quarantined"] == (port["status"] == "DOWN") for port in told)
    return [port for port in told if port["polyport:quarantined"]]


def metric(rig: Rig, port_id: str) -> str:
    """What the metrics say of a port."""
    text = rig.client.session.get(f"http://127.0.0.1:{rig.cloud.port}/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("polyport_port_quarantined{") and port_id in line]
    return str(lines[0].rpartition(" ")[2])


def feed(sender: Server, storm: str) -> None:
    """Send 60 frames, 20 a second, which a loop would multiply."""
    target = NOBODY if storm == "to nobody" else EVERYBODY
    sender.guest.run(f"flood 1 60 {target} 20 >/dev/null 2>&1 &", check=True)


@pytest.mark.parametrize("storm", ["bystander's broadcast", "own broadcast", "to nobody", "through two networks"])
def test_a_loop_harms_nobody_but_who_makes_it(rig: Rig, cast: Cast, storm: str) -> None:
    looper, partner, bystander = cast
    sender = looper if storm == "own broadcast" else bystander
    tap, fed = bystander.tap(1), sender.tap(1)
    neighbor = looper.ports()[2].fixed_ips[0]["ip_address"]

    def passed() -> tuple[int, int, float]:
        """Frames the bystander has got and the sender has sent until now."""
        devices = rig.cloud.devices()
        return devices[tap][1], devices[fed][0], time.monotonic()

    if storm == "through two networks":
        said = len(rig.cloud.log.read_text())
        looper.guest.bridge(1, 4)
        rig.until(lambda: "guests join networks" in rig.cloud.log.read_text()[said:], "it is seen, and no loop yet")
        begin = passed()
        feed(sender, storm)
        partner.guest.bridge(1, 2)
    else:
        begin = passed()
        feed(sender, storm)
        looper.guest.bridge(1, 2)
    # The first second is the guard's, to find out.
    time.sleep(max(begin[2] + 1 - time.monotonic(), 0))
    second = passed()
    # While the loop is fed the bystander's NICs reach each other, and the looper's that is in no loop.
    sent = bystander.guest.send(1, 2, 20)
    beside = bystander.guest.run(f"ping -q -c 20 -i 0.05 -W 2 {neighbor}", timeout=20)
    end = passed()
    rate = (end[0] - second[0]) / (end[2] - second[2])
    log.info("%s: %d frames in the first second, then %.0f a second", storm, second[0] - begin[0], rate)
    assert sent.crossed, sent
    assert b" 0% packet loss" in beside.output, beside
    assert rate < 200
    (lost,) = rig.until(lambda: quarantined(cast), "a port is quarantined", 15)
    server = looper if lost["device_id"] == looper.id else partner
    if storm != "through two networks":
        assert lost["id"] == looper.ports()[1].id, "the NIC in the higher slot"
    assert metric(rig, lost["id"]) == "1"
    assert f"quarantine port {lost['id']}" in rig.cloud.log.read_text()
    rig.until(lambda: passed()[1] - begin[1] >= 60, "the storm was fed")
    for each in (looper, partner):
        each.guest.unbridge()
    rig.until(lambda: not quarantined(cast), "the port is back", 15)
    assert metric(rig, lost["id"]) == "0"
    actions = [action.action for action in rig.client.compute.server_actions(server.id)]
    assert actions[:2] == ["nic_recover", "nic_quarantine"]
