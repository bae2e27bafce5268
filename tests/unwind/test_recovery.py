"""What an agent finds, what comes to pass beside it, and what it makes of it."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from polyport.hypervisor import FoundGuest, HypervisorFacts
from polyport.ids import ImageId, ServerId, new_id
from polyport.names import tap_of
from polyport.plan import HostReport, ImagePlan, ServerPlan
from tests.unwind.world import NETWORK, Broken, Fuse, Wired, World, nic, open_files, server


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


class Counted:
    """A wire that counts calls by name."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def __call__(self, name: str) -> None:
        self.calls.append(name)


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
    assert {"start", "stop", "plug", "unplug"}.isdisjoint(counted.calls)
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


# What fails for a while


async def test_a_boot_that_failed_is_told_once_and_not_tried_again(world: World) -> None:
    fuse = Counted()

    async def never(name: str) -> None:
        await fuse(name)
        if name == "start":
            raise Broken("no")

    async with world.agent(never):
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan, error=True)
        looks = fuse.calls.count("guests")
        await until(lambda: fuse.calls.count("guests") > looks + 3)
        assert fuse.calls.count("start") == 1
        told = [each for trip in world.cloud.round_trips for each in trip.servers if each.id == plan.id]
        assert [(each.power, each.error) for each in told] == [("stopped", "The host failed.")]
        world.assert_clean()


async def test_a_guest_that_does_not_let_go_of_a_nic_is_asked_again(world: World) -> None:
    # Long enough that the next slow look, ten timers away, is not what helps.
    world.config = replace(world.config, timer=0.3)
    counted = Counted()
    async with world.agent(counted):
        before = world.cloud.put(server())
        await world.cloud.carried_out(before)
        world.guests.stubborn.add(before.id)
        first, second, third = before.nics
        # The first port shall go and come back in another slot; the fourth has nothing to do with that.
        after = world.cloud.put(replace(before, nics=(second, third, nic(4), replace(first, slot=5))))
        report = await world.cloud.carried_out(after, error=True)
        assert "does not let go" in str(report.error)
        assert {each.port_id: each.plugged for each in report.nics} == {
            each.port_id: True for each in (first, second, third, after.nics[2])
        }
        assert world.nics_of(before)[0] == (1, first.port_id)
        assert tap_of(first.port_id) in world.vifs()
        world.guests.stubborn.clear()
        await world.cloud.carried_out(after)
        world.assert_as_planned(after)
        assert counted.calls.count("sweep") == 1


async def test_after_a_failure_the_guest_is_looked_at_before_the_next_attempt(world: World) -> None:
    world.config = replace(world.config, timer=0.3)
    counted = Counted()
    async with world.agent(counted):
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan)
        world.guests.guests.pop(plan.id)
        attach = world.cloud.put(replace(plan, nics=(*plan.nics, nic(4))))
        assert "does not run" in str((await world.cloud.carried_out(attach, error=True)).error)
        await world.cloud.until(lambda: world.cloud.reports[plan.id].power == "stopped")
        assert counted.calls.count("sweep") == 1


async def test_a_start_that_cannot_be_written_down_is_undone(world: World) -> None:
    in_the_way = Path()

    async def obstruct(name: str) -> None:
        if name == "start":
            in_the_way.mkdir()

    async with world.agent(after=obstruct):
        plan = server()
        in_the_way = world.config.servers / plan.id / "record.json.part"
        plan = world.cloud.put(plan)
        assert (await world.cloud.carried_out(plan, error=True)).power == "stopped"
        assert len(world.starts_of(plan)) == 1
        world.assert_clean()


async def test_a_tap_is_let_go_before_its_vif_is_removed(world: World) -> None:
    """A bridge goes with its last tap, and a tap lives as long as somebody holds it."""
    held: list[str] = []

    class NoStart(Wired):
        async def plug(self, *arguments: object) -> object:
            result = await self._real.plug(*arguments)  # type: ignore[attr-defined]
            if isinstance(result, int):
                held.append(f"{result}")
            return result

        async def unplug(self, *arguments: object) -> None:
            assert held.pop() not in open_files()
            await self._real.unplug(*arguments)  # type: ignore[attr-defined]

    async def never(name: str) -> None:
        if name == "start":
            raise Broken("no")

    async with world.agent(wire=lambda real: NoStart(real, never)):
        await world.cloud.carried_out(world.cloud.put(server()), error=True)
        world.assert_clean()
    assert not held


async def test_reports_are_sent_again_until_they_arrive(world: World) -> None:
    refusals = 3

    async def refuse(name: str) -> None:
        nonlocal refusals
        if name == "report" and refusals:
            refusals -= 1
            raise Broken("the database is locked")

    async with world.agent(refuse):
        plan = world.cloud.put(server())
        assert (await world.cloud.carried_out(plan)).power == "running"
    assert refusals == 0


async def test_a_report_the_cloud_half_cannot_take_does_not_hold_up_others(world: World) -> None:
    poison = server(nics=1)
    gate = asyncio.Event()

    class Choosy(Wired):
        async def report(self, report: HostReport) -> None:
            await gate.wait()
            if any(each.id == poison.id for each in report.servers):
                raise Broken("not this one")
            await world.cloud.report(report)

    async with world.agent(wire=lambda real: Choosy(real, Counted()) if real is world.cloud else real):
        world.cloud.put(poison)
        others = [world.cloud.put(server(nics=1)) for _ in range(20)]
        await until(lambda: len(world.guests.guests) == 21)
        gate.set()
        for each in others:
            await world.cloud.carried_out(each)
        assert poison.id not in world.cloud.reports


async def test_a_plan_that_makes_no_sense_is_an_error_of_that_server_alone(world: World) -> None:
    strange = replace(NETWORK, id=type(NETWORK.id)(new_id()))
    async with world.agent():
        bad = world.cloud.put(replace(server(), nics=(nic(1, network=strange),)))
        good = world.cloud.put(server())
        assert strange.id in str((await world.cloud.carried_out(bad, error=True)).error)
        await world.cloud.carried_out(good)
        world.cloud.put_network(strange)
        await world.cloud.carried_out(bad)
        world.assert_as_planned(bad, good)


async def test_the_round_goes_on_when_plans_cannot_be_had(world: World) -> None:
    fuse = Fuse(0)
    async with world.agent(fuse):
        await world.cloud.carried_out(world.cloud.put(server()))
        fuse.lit = True
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan)
    assert fuse.calls[0] == "plan"


# What is in a hurry


class PatientGuests:
    """Guests that take their time to power off, for ever."""

    def __init__(self, real: object) -> None:
        self._real = real
        self.asked = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    async def stop(self, server_id: ServerId, *, grace: float = 0.0) -> None:
        if grace > 0:
            self.asked.set()
            await asyncio.Event().wait()
        await self._real.stop(server_id)  # type: ignore[attr-defined]

    async def open(self, changed: Callable[[ServerId], None]) -> HypervisorFacts:
        facts: HypervisorFacts = await self._real.open(changed)  # type: ignore[attr-defined]
        return facts


@pytest.mark.parametrize("hurry", [{"wanted": "gone"}, {"wanted": "running", "restart": "hard", "boot": 2}])
async def test_a_gentle_stop_does_not_hold_up_a_hard_one(world: World, hurry: dict[str, object]) -> None:
    patient: list[PatientGuests] = []

    def wire(real: object) -> object:
        if not hasattr(real, "guests"):
            return real
        patient.append(PatientGuests(real))
        return patient[0]

    async with world.agent(wire=wire, grace=60.0):
        plan = world.cloud.put(server())
        await world.cloud.carried_out(plan)
        world.cloud.put(replace(plan, wanted="stopped"))
        await patient[0].asked.wait()
        after = world.cloud.put(replace(plan, **hurry))
        await world.cloud.carried_out(after)
        world.assert_as_planned(*([after] if after.wanted == "running" else []))


async def test_gentle_stops_do_not_hold_up_other_servers(world: World) -> None:
    async with world.agent(wire=lambda real: PatientGuests(real) if hasattr(real, "guests") else real, grace=60.0):
        plans = [world.cloud.put(server(nics=1)) for _ in range(100)]
        for plan in plans:
            await world.cloud.carried_out(plan)
        for plan in plans:
            world.cloud.put(replace(plan, wanted="stopped"))
        other = world.cloud.put(server())
        await world.cloud.carried_out(other)


# Many


async def test_many_servers_flow_through_in_few_round_trips(world: World) -> None:
    world.config = replace(world.config, timer=60.0)
    async with world.agent():
        plans = [world.cloud.put(server(nics=4)) for _ in range(300)]
        for plan in plans:
            await world.cloud.carried_out(plan)
        world.assert_as_planned(*plans)
        trips = len(world.cloud.round_trips)
        assert trips < 100
        for plan in plans:
            world.cloud.put(replace(plan, wanted="gone"))
        await world.cloud.until(lambda: not world.cloud.servers)
        world.assert_clean()


async def test_an_image_is_fetched_once_for_all_and_deleted_when_nobody_needs_it(tmp_path: Path) -> None:
    world = World(tmp_path, disks=True)
    content = b"\0" * 4096
    image = ImagePlan(id=ImageId(new_id()), file_format="raw", size=len(content))
    world.cloud.images[image.id] = content
    counted = Counted()
    cached = world.config.state / "cache" / image.id
    async with world.agent(counted):
        plans = [world.cloud.put(server(nics=1, image=image)) for _ in range(5)]
        for plan in plans:
            await world.cloud.carried_out(plan)
        assert counted.calls.count("image") == 1
        assert cached.read_bytes() == content
        for plan in plans:
            world.cloud.put(replace(plan, wanted="gone"))
        await world.cloud.until(lambda: not world.cloud.servers)
        await until(lambda: not cached.exists())
        world.assert_clean()


async def test_log_lines_have_an_action_and_ids(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "polyport.agent"):
        async with world.agent():
            plan = world.cloud.put(server())
            await world.cloud.carried_out(plan)
    started = [record for record in caplog.records if getattr(record, "action", None) == "start"]
    assert [record.server for record in started] == [plan.id]  # type: ignore[attr-defined]
    assert all(hasattr(record, "action") for record in caplog.records)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something on the host that no report tells."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
