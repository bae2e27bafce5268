"""What an agent finds, what comes to pass beside it, and what it makes of it."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from polyport.hypervisor import FoundGuest
from polyport.ids import ServerId, new_id
from polyport.names import tap_of
from polyport.plan import ServerPlan
from tests.unwind.world import NETWORK, Broken, Counted, World, nic, server, until


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def server_active(world: World) -> ServerPlan:
    """A server whose agent is not there any more."""
    async with world.agent():
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan)
    return plan


# What is found


async def test_a_guest_that_runs_is_adopted_and_its_vifs_brought_to_their_plan(
    world: World, server_active: ServerPlan
) -> None:
    world.networks.plans.clear()
    world.cloud.reports.clear()
    counted = Counted()
    async with world.agent(counted):
        await world.cloud.carried_out(server_active)
        world.assert_as_planned(server_active)
    assert {"start", "stop", "plug", "plug_all", "unplug"}.isdisjoint(counted.calls)
    assert set(world.networks.plans) == {tap_of(each.port_id) for each in server_active.nics}


async def test_thousand_adopted_guests_cost_few_calls(world: World) -> None:
    async with world.agent():
        plans = [world.cloud.put(server(nics=1)) for _ in range(1000)]
        for plan in plans:
            await world.cloud.carried_out(plan)
    world.cloud.reports.clear()
    world.config = replace(world.config, timer=60.0)
    counted = Counted()
    async with world.agent(counted):
        for plan in plans:
            await world.cloud.carried_out(plan)
    assert counted.calls.count("guests") == 1
    assert counted.calls.count("ensure") < 30
    assert counted.calls.count("report") < 30


async def test_a_restart_of_the_machine_brings_servers_back_in_the_same_slots(
    world: World, server_active: ServerPlan
) -> None:
    async with world.agent():
        gap = world.cloud.put(replace(server_active, nics=(server_active.nics[0], server_active.nics[2], nic(9))))
        await world.cloud.carried_out(gap)
        stopped = world.cloud.put(server(wanted="stopped"))
        ended = world.cloud.put(server())
        await world.cloud.carried_out(ended)
        ended = world.cloud.put(replace(ended, wanted="stopped"))
        await world.cloud.carried_out(ended)
    world.restart_machine()
    world.cloud.reports.clear()
    async with world.agent():
        for plan in (gap, stopped, ended):
            await world.cloud.carried_out(plan)
        assert world.nics_of(gap) == [(each.slot, each.port_id) for each in gap.nics]
        assert set(world.guests.guests) == {gap.id}
        assert world.cloud.reports[gap.id].power == "running"


async def test_a_start_that_fails_after_a_restart_of_the_machine_is_tried_again(
    world: World, server_active: ServerPlan
) -> None:
    world.restart_machine()
    broken = asyncio.Event()

    async def until_mended(name: str) -> None:
        if name == "start" and not broken.is_set():
            raise Broken("the disk is not there yet")

    async with world.agent(until_mended):
        report = await world.cloud.carried_out(server_active, error=True)
        assert (report.power, report.boot) == ("stopped", 1)
        broken.set()
        await world.cloud.carried_out(server_active)
        world.assert_as_planned(server_active)


async def test_what_no_plan_knows_is_removed(world: World, server_active: ServerPlan) -> None:
    stays = world.cloud.put(server())
    world.cloud.servers.pop(server_active.id)
    directory = world.config.servers / new_id()
    (directory / "deep").mkdir(parents=True)
    (world.config.servers / "not-a-server").mkdir()
    async with world.agent():
        await world.cloud.carried_out(stays)
        (world.config.servers / "not-a-server").rmdir()
        await until(lambda: world.directories == {stays.id})
        world.assert_as_planned(stays)


async def test_a_record_that_cannot_be_read_does_not_hinder(world: World, server_active: ServerPlan) -> None:
    (world.config.servers / server_active.id / "record.json").write_text("{")
    world.cloud.reports.clear()
    async with world.agent():
        await world.cloud.carried_out(server_active)
        world.assert_as_planned(server_active)
        assert len(world.starts_of(server_active)) == 1


# What comes to pass


async def test_a_guest_that_ends_by_itself_is_reported_and_stays_down(world: World) -> None:
    async with world.agent() as hypervisor:
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan)
        hypervisor.crash(plan.id)
        await world.cloud.until(lambda: world.cloud.reports[plan.id].power == "stopped")
        await until(lambda: not world.vifs())
        assert world.cloud.reports[plan.id].error is None
    world.cloud.reports.clear()
    async with world.agent():
        report = await world.cloud.carried_out(plan)
        assert report.power == "stopped"
        assert len(world.starts_of(plan)) == 1
        again = world.cloud.put(replace(plan, boot=2))
        assert (await world.cloud.carried_out(again)).power == "running"
        world.assert_as_planned(again)


async def test_a_guest_that_ended_while_nobody_looked_stays_down(world: World, server_active: ServerPlan) -> None:
    world.drivers()[0].crash(server_active.id)
    world.cloud.reports.clear()
    async with world.agent():
        report = await world.cloud.carried_out(server_active)
        assert report.power == "stopped"
        world.assert_as_planned(replace(server_active, wanted="stopped"))


async def test_a_change_that_nobody_told_is_found_by_the_slow_look(world: World) -> None:
    async with world.agent():
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan)
        world.guests.guests.pop(plan.id)
        await world.cloud.until(lambda: world.cloud.reports[plan.id].power == "stopped")


async def test_a_guest_nobody_planned_is_ended_by_the_slow_look(world: World) -> None:
    async with world.agent():
        await world.cloud.carried_out(world.cloud.put(server()))
        stray = ServerId(new_id())
        world.guests.guests[stray] = FoundGuest(id=stray, power="running", boot=1, nic_slots=1, nics=())
        await until(lambda: stray not in world.guests.guests)


async def test_a_tap_nobody_planned_is_swept(world: World) -> None:
    async with world.agent():
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan)
        world.networks.taps["tapstray"] = "brqstray"
        await until(lambda: "tapstray" not in world.networks.taps)
        world.assert_as_planned(plan)


async def test_nothing_is_plugged_while_the_host_is_swept(world: World) -> None:
    sweeping, go_on = asyncio.Event(), asyncio.Event()
    seen: list[set[str]] = []
    counted = Counted()

    async def before(name: str) -> None:
        await counted(name)
        if name == "sweep":
            sweeping.set()
            await go_on.wait()

    async def after(name: str) -> None:
        if name == "sweep":
            seen.append(world.vifs())

    async with world.agent(before, after):
        await sweeping.wait()
        plan = world.cloud.put(server())
        read = counted.calls.count("plan")
        await until(lambda: counted.calls.count("plan") > read + 1)
        go_on.set()
        await world.cloud.carried_out(plan)
        assert seen[0] == set()
        world.assert_as_planned(plan)


async def test_a_guest_that_ends_just_when_its_plan_changes_is_looked_at_first(world: World) -> None:
    async with world.agent() as hypervisor:
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan)
    world.config = replace(world.config, timer=60.0)
    world.cloud.round_trips.clear()
    attach = replace(plan, nics=(*plan.nics, nic(4)))

    async def end_now(name: str) -> None:
        """Between the plan's arrival and the first work on it."""
        if name == "wait" and world.cloud.revision > plan.revision and plan.id in world.guests.guests:
            hypervisor.crash(plan.id)

    async with world.agent(end_now) as hypervisor:
        await until(lambda: any(trip.facts for trip in world.cloud.round_trips))
        attach = world.cloud.put(attach)
        report = await world.cloud.carried_out(attach)
        assert report.power == "stopped"
        assert not any(each.error for trip in world.cloud.round_trips for each in trip.servers)


async def test_a_server_deleted_while_it_waits_for_its_turn_is_never_started(world: World) -> None:
    go_on = asyncio.Event()
    counted = Counted()

    async def slow_start(name: str) -> None:
        await counted(name)
        if name == "start":
            await go_on.wait()

    async with world.agent(slow_start, at_once=1):
        first = world.cloud.put(server())
        await until(lambda: "start" in counted.calls)
        second = world.cloud.put(server())
        read = counted.calls.count("plan")
        await until(lambda: counted.calls.count("plan") > read + 1)
        second = world.cloud.put(replace(second, wanted="gone"))
        await until(lambda: counted.calls.count("plan") > read + 3)
        go_on.set()
        await world.cloud.carried_out(first)
        await world.cloud.carried_out(second)
        assert world.starts_of(second) == []
        world.assert_as_planned(first)


async def test_a_changed_network_reaches_the_vifs_on_it(world: World) -> None:
    async with world.agent():
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan)
        world.cloud.put_network(replace(NETWORK, mtu=1400))
        await until(lambda: {vif.network.mtu for vif in world.networks.plans.values()} == {1400})


async def test_one_vif_that_cannot_be_updated_does_not_hinder_others(world: World) -> None:
    async with world.agent():
        bad, good = (world.cloud.put(server(nics=1)) for _ in range(2))
        await world.cloud.carried_out(bad)
        await world.cloud.carried_out(good)

    poisoned = tap_of(bad.nics[0].port_id)

    class Picky:
        def __init__(self, real: object) -> None:
            self._real = real

        def __getattr__(self, name: str) -> object:
            call = getattr(self._real, name)
            if name != "ensure":
                return call

            async def ensure(vifs: list[object]) -> None:
                vifs = list(vifs)
                if any(tap_of(vif.nic.port_id) == poisoned for vif in vifs):  # type: ignore[attr-defined]
                    raise Broken("this one not")
                await call(vifs)

            return ensure

    world.cloud.reports.clear()
    world.networks.plans.clear()
    async with world.agent(wire=Picky):
        assert (await world.cloud.carried_out(bad, error=True)).power == "running"
        await world.cloud.carried_out(good)
        assert set(world.networks.plans) == {tap_of(good.nics[0].port_id)}


async def test_a_quarantined_port_is_reported_and_so_is_its_recovery(world: World) -> None:
    async with world.agent():
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan)
        other = world.cloud.put(server())
        await world.cloud.carried_out(other)

        def told() -> list[bool]:
            return [nic.quarantined for nic in world.cloud.reports[plan.id].nics]

        world.networks.quarantine(plan.nics[1].port_id)
        await world.cloud.until(lambda: told() == [False, True, False])
    world.cloud.reports.clear()
    async with world.agent():
        await world.cloud.until(lambda: plan.id in world.cloud.reports and told() == [False, True, False])
        world.networks.quarantine()
        await world.cloud.until(lambda: told() == [False, False, False])
        assert not any(nic.quarantined for nic in world.cloud.reports[other.id].nics)
