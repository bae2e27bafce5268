"""Bridges and taps: who is joined with whom, and what is left when something goes wrong."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polyport.config import DataplaneConfig
from polyport.dataplane import DataplaneError
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.bridge.firewall import Element, elements_of
from polyport.dataplane.bridge.namespace import BadNamespaceName, NamespaceThread
from polyport.dataplane.bridge.netlink import BridgeFull, Links
from polyport.dataplane.bridge.nft import Nft, NftError
from polyport.dataplane.bridge.ruleset import Ruleset, read_elements
from polyport.names import bridge_of, tap_of
from tests.host.conftest import Cable
from tests.host.plans import network, server, vif
from tests.host.wire import Nic, udp

pytestmark = pytest.mark.host


def inside(namespace: str, *command: str) -> str:
    return subprocess.run(
        ["ip", "netns", "exec", namespace, *command], check=True, capture_output=True, text=True
    ).stdout


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def links(namespace: str) -> dict[str, dict[str, Any]]:
    return {link["ifname"]: link for link in json.loads(inside(namespace, "ip", "-json", "address"))}


def rules(namespace: str) -> list[str]:
    """The elements that ports have put there, whatever set they are in; not those that frames have."""
    lines = inside(namespace, "nft", "--stateless", "list", "table", "bridge", "polyport").splitlines()
    return [line.strip() for line in lines if '"tap' in line and "counter" not in line]


async def test_frames_reach_their_network_and_no_other(cable: Cable) -> None:
    here, there = network(), network()
    one, two, other = [
        await cable(vif(net, address)) for net, address in ((here, "10.0.0.5"), (here, "10.0.0.6"), (there, "10.0.0.6"))
    ]
    one.send(one.ping(two), one.shout())
    assert two.received() == [one.ping(two), one.shout()]
    two.send(two.ping(one))
    assert one.received() == [two.ping(one)]
    assert other.received() == []


async def test_frames_are_counted_on_the_host(dataplane: BridgeDataplane, cable: Cable) -> None:
    net = network()
    one, two = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    one.send(*[one.ping(two, bytes(100))] * 7)
    assert len(two.received()) == 7
    sender = await dataplane.counters(one.vif.nic.port_id)
    receiver = await dataplane.counters(two.vif.nic.port_id)
    assert sender is not None
    assert receiver is not None
    size = 7 * len(one.ping(two, bytes(100)))
    assert (sender.egress.packets, sender.egress.bytes, sender.ingress.packets) == (7, size, 0)
    assert (receiver.ingress.packets, receiver.ingress.bytes, receiver.egress.packets) == (7, size, 0)


async def test_the_host_itself_keeps_silent(dataplane: BridgeDataplane, cable: Cable, namespace: str) -> None:
    net = network(mtu=1450)
    nic = await cable(vif(net, "10.0.0.5"))
    there = links(namespace)
    tap, bridge = there[tap_of(nic.vif.nic.port_id)], there[bridge_of(net.id)]
    assert (tap["mtu"], bridge["mtu"]) == (1450, 1450)
    assert tap["addr_info"] == []
    assert [address["local"] for address in bridge["addr_info"]] == ["169.254.169.254"]
    assert tap["ifname"] not in links_outside()
    assert nic.received() == []


def links_outside() -> set[str]:
    return {link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-json", "link"]))}


async def test_a_tap_goes_with_the_process_that_holds_it(dataplane: BridgeDataplane, namespace: str) -> None:
    one = vif(network(), "10.0.0.5")
    descriptor = await dataplane.plug(one)
    guest = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import time; time.sleep(600)", pass_fds=[descriptor]
    )
    os.close(descriptor)
    assert len(await dataplane.found()) == 1
    guest.send_signal(signal.SIGKILL)
    await guest.wait()
    async with asyncio.timeout(20):
        while await dataplane.found():
            await asyncio.sleep(0.01)
    await dataplane.unplug(one.nic.port_id)
    assert (set(links(namespace)), rules(namespace)) == ({"lo"}, [])


async def test_unplugging_takes_the_tap_from_a_guest_that_holds_it(
    dataplane: BridgeDataplane, cable: Cable, namespace: str
) -> None:
    net = network()
    one, two = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    await dataplane.unplug(one.vif.nic.port_id)
    with pytest.raises(OSError, match="bad state"):
        one.send(one.ping(two))
    assert set(links(namespace)) == {"lo", tap_of(two.vif.nic.port_id), bridge_of(net.id)}
    assert not [line for line in rules(namespace) if tap_of(one.vif.nic.port_id) in line]


async def test_a_vif_on_the_wrong_bridge_is_put_right(dataplane: BridgeDataplane, cable: Cable, namespace: str) -> None:
    net = network()
    one, two = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    inside(namespace, "ip", "link", "delete", bridge_of(net.id))
    await dataplane.ensure([one.vif, two.vif])
    one.send(one.ping(two))
    assert two.received() == [one.ping(two)]
    inside(namespace, "ip", "link", "set", tap_of(one.vif.nic.port_id), "nomaster")
    inside(namespace, "ip", "link", "set", tap_of(two.vif.nic.port_id), "down")
    await dataplane.ensure([one.vif, two.vif])
    one.send(one.ping(two))
    assert two.received() == [one.ping(two)]


async def test_another_mtu_reaches_taps_in_use(dataplane: BridgeDataplane, cable: Cable, namespace: str) -> None:
    nic = await cable(vif(network(), "10.0.0.5"))
    await dataplane.ensure([replace(nic.vif, network=replace(nic.vif.network, mtu=9000))])
    assert {link["mtu"] for name, link in links(namespace).items() if name != "lo"} == {9000}


async def test_rules_that_somebody_else_took_away_come_back(
    dataplane: BridgeDataplane, cable: Cable, namespace: str
) -> None:
    net = network()
    one, two = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    before = rules(namespace)
    inside(namespace, "nft", "flush", "set", "bridge", "polyport", "macs")
    one.send(one.ping(two))
    assert two.received() == []
    await dataplane.sweep({nic.vif.nic.port_id: net.id for nic in (one, two)})
    assert rules(namespace) == before
    # A plug that runs into the same mends it on its way.
    inside(namespace, "nft", "delete", "table", "bridge", "polyport")
    three = await cable(vif(net, "10.0.0.7"))
    for nic in (one, two):
        nic.send(nic.ping(three))
    assert three.received() == [one.ping(three), two.ping(three)]
    await dataplane.unplug(three.vif.nic.port_id)
    assert rules(namespace) == before


async def test_a_port_no_plan_speaks_of_is_not_heard(dataplane: BridgeDataplane, cable: Cable, namespace: str) -> None:
    net = network()
    nic = await cable(vif(net, "10.0.0.5"))
    strange = vif(net, "10.0.0.6")
    thread = NamespaceThread(namespace)
    await thread.open()

    def attach() -> int:
        links = Links()
        tap = tap_of(strange.nic.port_id)
        descriptor = links.create_tap(tap)
        links.attach(tap, bridge_of(net.id), 1500, up=True)
        links.close()
        return descriptor

    intruder = Nic(await thread.run(attach), strange)
    intruder.send(intruder.ping(nic), intruder.shout())
    assert nic.received() == []
    assert set(await dataplane.sweep({nic.vif.nic.port_id: net.id})) == {tap_of(strange.nic.port_id)}
    intruder.close()
    await thread.close()


async def test_a_plug_that_fails_leaves_nothing(dataplane: BridgeDataplane, namespace: str) -> None:
    net = network()
    # A link of another kind has the bridge's name: the tap cannot be put on it.
    inside(namespace, "ip", "link", "add", bridge_of(net.id), "type", "veth")
    before, descriptors = links(namespace), len(open_files())
    with pytest.raises(DataplaneError):
        await dataplane.plug(vif(net, "10.0.0.5"))
    assert rules(namespace) == []
    assert set(links(namespace)) <= set(before)
    assert len(open_files()) == descriptors


@pytest.mark.parametrize("bad", [1, 4, 8])
async def test_nics_plugged_together_are_all_there_or_none(
    dataplane: BridgeDataplane, cable: Cable, namespace: str, bad: int
) -> None:
    owner, blocked = server(), network()
    net = network()
    one, two = await cable(vif(net, "10.0.0.5")), await cable(vif(net, "10.0.0.6"))
    inside(namespace, "ip", "link", "add", bridge_of(blocked.id), "type", "veth")
    before, had, descriptors = set(links(namespace)), sorted(rules(namespace)), open_files()
    nics = [vif(blocked if slot == bad else net, f"10.0.0.{10 + slot}", of=owner, slot=slot) for slot in range(1, 9)]
    with pytest.raises(DataplaneError):
        await dataplane.plug_all(nics)
    assert sorted(rules(namespace)) == had
    assert set(links(namespace)) <= before
    assert open_files() == descriptors
    # Who was there before does not notice.
    one.send(one.ping(two))
    assert two.received() == [one.ping(two)]
    bad_mac = replace(nics[3].nic, mac_address="01:00:5e:00:00:01")
    with pytest.raises(DataplaneError):
        await dataplane.plug_all([*nics[:3], replace(nics[3], nic=bad_mac, network=net)])
    assert sorted(rules(namespace)) == had


async def test_a_bridge_takes_1023_ports_and_says_so(dataplane: BridgeDataplane, namespace: str) -> None:
    net = network()
    first = vif(net, "10.0.0.5")
    descriptor = await dataplane.plug(first)
    fill = "".join(
        f"link add v{number} master {bridge_of(net.id)} type veth peer w{number}\n"
        f"link set w{number} master {bridge_of(net.id)}\n"
        for number in range(511)
    )
    subprocess.run(["ip", "-netns", namespace, "-batch", "-"], input=fill.encode(), check=True)
    with pytest.raises(BridgeFull) as raised:
        await dataplane.plug(vif(net, "10.0.0.6"))
    assert raised.value.message == "The network has 1023 ports on this host, as many as a bridge can hold."
    assert [found.tap for found in await dataplane.found()] == [tap_of(first.nic.port_id)]
    assert not [line for line in rules(namespace) if tap_of(first.nic.port_id) not in line]
    os.close(descriptor)


async def test_a_plug_nobody_waits_for_leaves_nothing(dataplane: BridgeDataplane, namespace: str) -> None:
    descriptors = len(open_files())
    plugging = asyncio.create_task(dataplane.plug(vif(network(), "10.0.0.5")))
    await asyncio.sleep(0)
    plugging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await plugging
    # What the thread told the loop meanwhile comes first.
    await dataplane.found()
    assert (set(links(namespace)), rules(namespace)) == ({"lo"}, [])
    assert len(open_files()) == descriptors


async def test_many_ports_come_and_go(dataplane: BridgeDataplane, namespace: str) -> None:
    nets = [network(), network()]
    owners = [server() for _ in range(10)]
    plans = [
        vif(nets[number % 2], f"10.0.0.{10 + number}", of=owners[number % 10], slot=1 + number // 10)
        for number in range(60)
    ]
    held = [await dataplane.plug(plan) for plan in plans]
    before = rules(namespace)
    await dataplane.ensure(plans)
    assert rules(namespace) == before
    removed = await dataplane.sweep({plan.nic.port_id: plan.network.id for plan in plans[:1]})
    assert len(removed) == 60
    await dataplane.unplug(plans[0].nic.port_id)
    assert (set(links(namespace)), rules(namespace)) == ({"lo"}, [])
    for descriptor in held:
        os.close(descriptor)


async def test_macs_two_servers_share_stay_while_one_is_there(
    dataplane: BridgeDataplane, cable: Cable, namespace: str
) -> None:
    virtual, net = "00:00:5e:00:01:07", network()
    pairs = ((virtual, "10.0.0.100"),)
    one, two = [await cable(vif(net, address, pairs=pairs)) for address in ("10.0.0.5", "10.0.0.6")]
    other = await cable(vif(net, "10.0.0.7"))
    await dataplane.unplug(one.vif.nic.port_id)
    assert virtual in inside(namespace, "nft", "list", "set", "bridge", "polyport", "known")
    two.send(udp(virtual, other.mac, "10.0.0.100", other.address))
    assert len(other.received()) == 1
    await dataplane.unplug(two.vif.nic.port_id)
    assert virtual not in inside(namespace, "nft", "list", "set", "bridge", "polyport", "known")


async def test_rules_that_are_refused_change_nothing(namespace: str, config: DataplaneConfig) -> None:
    thread = NamespaceThread(namespace)
    await thread.open()
    good = Element("macs", '"tap00000000-00" . 02:00:00:00:00:01')
    another = Element("macs", '"tap00000000-01" . 02:00:00:00:00:02')

    def story() -> None:
        ruleset = Ruleset(config)
        ruleset.open()
        ruleset.put(Counter([good]), Counter())
        before = rules(namespace)
        with pytest.raises(NftError, match="expected concatenation of"):
            ruleset.put(Counter([another, Element("macs", "nonsense")]), Counter([good]))
        assert rules(namespace) == before != []
        ruleset.put(Counter(), Counter([good]))
        assert rules(namespace) == []
        ruleset.close()

    await thread.run(story)
    await thread.close()


async def test_rules_read_back_are_what_was_written(dataplane: BridgeDataplane, cable: Cable, namespace: str) -> None:
    """Else an agent that starts anew would take each for a stranger's, and replace it."""
    pairs = (
        (None, "::/0"),
        ("02:00:00:00:00:77", "::ffff:1.2.3.4"),
        ("02:00:00:00:00:77", "::7"),
        ("02:00:00:00:00:78", "2001:db8::1:22:33"),
        (None, "0.0.0.0/0"),
        ("02:00:00:00:00:79", "10.0.0.0/31"),
        ("02:00:00:00:00:79", "2001:db8::/127"),
    )
    owner, net = server(), network()
    plans = [vif(net, f"10.0.0.{5 + slot}", of=owner, slot=slot, pairs=pairs) for slot in (1, 2, 3)]
    plans[1] = replace(plans[1], nic=replace(plans[1].nic, port_security_enabled=False))
    for plan in plans:
        await cable(plan)
    thread = NamespaceThread(namespace)
    await thread.open()

    def read() -> set[Element]:
        nft = Nft()
        held = read_elements(nft)
        nft.close()
        return held

    assert await thread.run(read) == elements_of(plans)
    await thread.close()


async def test_names_that_are_no_names_are_refused() -> None:
    for name in ("", "..", "a/b", "a\0b"):
        with pytest.raises(BadNamespaceName):
            NamespaceThread(name)
