"""What every dataplane promises, told of each of them."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from polyport.config import DataplaneConfig
from polyport.dataplane import EGRESS_CAUSES, INGRESS_CAUSES, Dataplane, FoundVif
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.fake import FakeDataplane, FakeNetworks
from polyport.ids import PortId, new_id
from polyport.names import bridge_of, tap_of
from tests.host.plans import OPEN, network, server, vif

Agent = Callable[[], Awaitable[Dataplane]]


@pytest.fixture(params=["fake", pytest.param("bridge", marks=pytest.mark.host)])
async def agent(request: pytest.FixtureRequest, config: DataplaneConfig) -> AsyncIterator[Agent]:
    """Starts an agent's dataplane; the one before is as good as killed (its taps are held by guests)."""
    networks = FakeNetworks()
    running: list[Dataplane] = []

    async def start() -> Dataplane:
        if running:
            await running.pop().close()
        driver: Dataplane = (
            FakeDataplane(config, networks=networks) if request.param == "fake" else BridgeDataplane(config)
        )
        await driver.open()
        await driver.ensure_groups([OPEN])
        running.append(driver)
        return driver

    yield start
    for driver in running:
        await driver.close()


@pytest.fixture
def hold() -> Iterator[Callable[[int], int]]:
    """Holds descriptors as a guest would, until the test is over."""
    held: list[int] = []

    def keep(descriptor: int) -> int:
        held.append(descriptor)
        return descriptor

    yield keep
    for descriptor in held:
        os.close(descriptor)


Hold = Callable[[int], int]


async def test_a_vif_is_found_while_it_is_plugged(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    assert await dataplane.found() == ()
    net = network()
    one = vif(net, "10.0.0.5")
    hold(await dataplane.plug(one))
    assert await dataplane.found() == (
        FoundVif(
            port_id_prefix=one.nic.port_id[:11],
            tap=tap_of(one.nic.port_id),
            network_id_prefix=net.id[:11],
        ),
    )
    await dataplane.unplug(one.nic.port_id)
    assert await dataplane.found() == ()
    assert await dataplane.sweep({}) == ()


async def test_unplugging_what_is_not_there_is_no_error(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    await dataplane.unplug(PortId(new_id()))
    one = vif(network(), "10.0.0.5")
    hold(await dataplane.plug(one))
    await dataplane.unplug(one.nic.port_id)
    await dataplane.unplug(one.nic.port_id)
    assert await dataplane.found() == ()


async def test_a_server_has_many_nics_on_one_network(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    net, owner = network(), server()
    nics = [vif(net, f"10.0.0.{10 + slot}", of=owner, slot=slot) for slot in range(1, 9)]
    for nic in nics:
        hold(await dataplane.plug(nic))
    assert {found.tap for found in await dataplane.found()} == {tap_of(nic.nic.port_id) for nic in nics}
    assert {found.network_id_prefix for found in await dataplane.found()} == {net.id[:11]}
    await dataplane.unplug(nics[3].nic.port_id)
    assert len(await dataplane.found()) == 7
    assert await dataplane.sweep({nic.nic.port_id: net.id for nic in nics}) == ()


async def test_the_nics_of_a_server_are_plugged_and_unplugged_in_one_go(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    nets, owner = (network(), network()), server()
    nics = [vif(nets[slot % 2], f"10.0.0.{10 + slot}", of=owner, slot=slot) for slot in range(1, 9)]
    hold(await dataplane.plug(bystander := vif(nets[0], "10.0.0.5")))
    left_over = nics[2]
    hold(await dataplane.plug(left_over))
    descriptors = await dataplane.plug_all(nics)
    assert len({hold(descriptor) for descriptor in descriptors}) == 8
    found = {each.tap: each.network_id_prefix for each in await dataplane.found()}
    assert found == {tap_of(nic.nic.port_id): nic.network.id[:11] for nic in (*nics, bystander)}
    assert all([await dataplane.counters(nic.nic.port_id) for nic in nics])
    await dataplane.unplug(PortId(new_id()), *(nic.nic.port_id for nic in nics))
    assert [each.tap for each in await dataplane.found()] == [tap_of(bystander.nic.port_id)]
    # Also the bridge that has lost its last.
    assert await dataplane.sweep({bystander.nic.port_id: nets[0].id}) == ()


async def test_no_nics_are_plugged_and_unplugged_without_complaint(agent: Agent) -> None:
    dataplane = await agent()
    assert await dataplane.plug_all([]) == ()
    await dataplane.unplug()
    assert await dataplane.found() == ()


async def test_a_vif_that_was_left_over_is_replaced(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    one = vif(network(), "10.0.0.5")
    hold(await dataplane.plug(one))
    hold(await dataplane.plug(one))
    assert len(await dataplane.found()) == 1


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_the_caller_owns_the_descriptor(agent: Agent) -> None:
    dataplane = await agent()
    before = open_files()
    one = vif(network(), "10.0.0.5")
    descriptor = await dataplane.plug(one)
    os.close(descriptor)
    await dataplane.unplug(one.nic.port_id)
    # Whatever serves the network may come and go a turn of the loop later.
    assert open_files() <= before | {str(descriptor)}


async def test_a_sweep_removes_what_nobody_keeps(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    net, other = network(), network()
    kept, lost, alone = vif(net, "10.0.0.5"), vif(net, "10.0.0.6"), vif(other, "10.0.0.5")
    for each in (kept, lost, alone):
        hold(await dataplane.plug(each))
    removed = await dataplane.sweep({kept.nic.port_id: net.id})
    assert set(removed) == {tap_of(lost.nic.port_id), tap_of(alone.nic.port_id), bridge_of(other.id)}
    assert [found.tap for found in await dataplane.found()] == [tap_of(kept.nic.port_id)]
    assert await dataplane.sweep({kept.nic.port_id: net.id}) == ()
    assert set(await dataplane.sweep({})) == {tap_of(kept.nic.port_id), bridge_of(net.id)}


async def test_an_agent_finds_what_the_last_one_left(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    net = network()
    one, two = vif(net, "10.0.0.5"), vif(net, "10.0.0.6")
    for each in (one, two):
        hold(await dataplane.plug(each))
    dataplane = await agent()
    assert len(await dataplane.found()) == 2
    await dataplane.unplug(one.nic.port_id)
    await dataplane.ensure([two])
    assert [found.tap for found in await dataplane.found()] == [tap_of(two.nic.port_id)]
    await dataplane.unplug(two.nic.port_id)
    assert await dataplane.found() == ()
    assert await dataplane.sweep({}) == ()


async def test_ensuring_makes_no_vif(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    net = network()
    there, gone = vif(net, "10.0.0.5"), vif(net, "10.0.0.6")
    hold(await dataplane.plug(there))
    await dataplane.ensure([replace(there, hostname="other"), gone])
    assert [found.tap for found in await dataplane.found()] == [tap_of(there.nic.port_id)]


async def test_only_vifs_that_exist_are_counted(agent: Agent, hold: Hold) -> None:
    dataplane = await agent()
    one = vif(network(), "10.0.0.5")
    assert await dataplane.counters(one.nic.port_id) is None
    hold(await dataplane.plug(one))
    counters = await dataplane.counters(one.nic.port_id)
    assert counters is not None
    assert counters.egress.packets == 0
    assert counters.egress.dropped == dict.fromkeys(EGRESS_CAUSES, 0)
    assert counters.ingress.dropped == dict.fromkeys(INGRESS_CAUSES, 0)
    await dataplane.unplug(one.nic.port_id)
    assert await dataplane.counters(one.nic.port_id) is None
