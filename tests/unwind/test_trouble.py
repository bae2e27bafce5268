"""What fails for a while, what is in a hurry, and what comes in numbers."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from polyport.hypervisor import HypervisorFacts
from polyport.ids import ImageId, ServerId, new_id
from polyport.names import tap_of
from polyport.plan import HostReport, ImagePlan
from tests.unwind.world import NETWORK, Broken, Counted, Fuse, Wired, World, nic, open_files, server, until


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


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
        async def plug_all(self, *arguments: object) -> object:
            result = await self._real.plug_all(*arguments)  # type: ignore[attr-defined]
            held.extend(map(str, result))
            return result

        async def unplug(self, *arguments: object) -> None:
            assert held
            while held:
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
