"""Break every call to the host in turn: the slate is clean, or exactly as before, and the next attempt succeeds.

Every life of a server is lived once to count its calls to the drivers and to the cloud half; then once more for each of
them, with that call broken, or with the agent killed there.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from polyport.agent.reconcile import Seen, decide
from polyport.agent.servers import Server, carry_out
from polyport.agent.vifs import vif_plans
from polyport.ids import ImageId, new_id
from polyport.plan import ImagePlan, ServerPlan
from tests.unwind.world import NETWORK, Death, Fuse, Twice, World, nic, open_files, server

Change = Callable[[ServerPlan], ServerPlan]


def boot(plan: ServerPlan) -> ServerPlan:
    return plan


def attach(plan: ServerPlan) -> ServerPlan:
    return replace(plan, nics=(*plan.nics, nic(7)))


def attach_two(plan: ServerPlan) -> ServerPlan:
    return replace(plan, nics=(*plan.nics, nic(7), nic(8)))


def detach(plan: ServerPlan) -> ServerPlan:
    return replace(plan, nics=(plan.nics[0], plan.nics[2]))


def exchange(plan: ServerPlan) -> ServerPlan:
    """The first port leaves and comes back in a new slot, before the agent looked."""
    return replace(plan, nics=(plan.nics[1], plan.nics[2], replace(plan.nics[0], slot=4)))


def secure(plan: ServerPlan) -> ServerPlan:
    return replace(plan, nics=tuple(replace(each, port_security_enabled=False) for each in plan.nics))


def delete(plan: ServerPlan) -> ServerPlan:
    return replace(plan, wanted="gone")


def stop(plan: ServerPlan) -> ServerPlan:
    return replace(plan, wanted="stopped")


def pause(plan: ServerPlan) -> ServerPlan:
    return replace(plan, wanted="paused")


def reboot(plan: ServerPlan) -> ServerPlan:
    return replace(plan, boot=plan.boot + 1)


def reboot_softly(plan: ServerPlan) -> ServerPlan:
    return replace(plan, boot=plan.boot + 1, restart="soft")


def rebuild(plan: ServerPlan) -> ServerPlan:
    nics = tuple(replace(each, slot=slot) for slot, each in enumerate(reversed(plan.nics), start=1))
    return replace(plan, boot=plan.boot + 1, disk=plan.disk + 1, nics=nics)


ON_A_RUNNING_SERVER = [
    attach,
    attach_two,
    detach,
    exchange,
    secure,
    delete,
    stop,
    pause,
    reboot,
    reboot_softly,
    rebuild,
]


async def settled(world: World, plan: ServerPlan) -> None:
    """Wait until a plan is carried out, and assert that it is, and that the host has nothing else."""
    report = await world.cloud.carried_out(plan)
    assert report.power == {"gone": "gone"}.get(plan.wanted, plan.wanted)
    if plan.wanted == "gone":
        world.assert_clean()
    else:
        world.assert_as_planned(plan)
        assert report.boot == plan.boot
        plugged = plan.wanted in ("running", "paused")
        assert [(each.port_id, each.plugged) for each in report.nics] == [(each.port_id, plugged) for each in plan.nics]


async def live(world: World, change: Change, fuse: Fuse) -> tuple[ServerPlan, ServerPlan]:
    """The server before the change, and the change asked for with the fuse lit."""
    before = server()
    if change is not boot:
        before = world.cloud.put(before)
        await settled(world, before)
        await world.cloud.until(lambda: any(each.facts for each in world.cloud.round_trips))
    fuse.lit = True
    return before, world.cloud.put(change(before))


async def calls_of(path: Path, change: Change) -> list[str]:
    fuse = Fuse()
    # A timer that does not run out: no call but those this life needs.
    world = World(path, timer=60.0)
    async with world.agent(fuse):
        _, after = await live(world, change, fuse)
        await settled(world, after)
        return list(fuse.calls)


@pytest.mark.parametrize("change", [boot, *ON_A_RUNNING_SERVER])
async def test_every_call_broken_once(change: Change, tmp_path: Path) -> None:
    """The error is told or mended; what is left is what was there before, or what is wanted; nothing is half done."""
    calls = await calls_of(tmp_path / "count", change)
    assert len(calls) >= 3
    for number in range(len(calls)):
        files = open_files()
        world, fuse = World(tmp_path / str(number)), Fuse(number)
        async with world.agent(fuse):
            before, after = await live(world, change, fuse)
            report = await world.cloud.reported(after)
            if report.error and change is boot:
                world.assert_clean()
                assert report.power == "stopped"
                after = world.cloud.put(after)
            elif report.error and change in (reboot, reboot_softly, rebuild):
                assert report.power in ("running", "stopped")
                world.assert_as_planned(before if report.power == "running" else replace(before, wanted="stopped"))
                after = world.cloud.put(after)
            # Everything else is mended without being asked for.
            await settled(world, after)
            assert world.starts_of(after) == [
                f"guest {after.id} started, boot {number}" for number in range(1, after.boot + 1)
            ]
        assert len(fuse.calls) > number, "nothing was broken"
        assert open_files() == files, f"descriptors are left after call {number}, {calls[number]}"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("change", [boot, *ON_A_RUNNING_SERVER])
async def test_agent_killed_at_every_call(change: Change, moment: str, tmp_path: Path) -> None:
    """The next agent finds what is there, finishes it, starts nothing twice and leaves nothing over."""
    calls = await calls_of(tmp_path / "count", change)
    for number in range(len(calls)):
        world, death = World(tmp_path / str(number)), Death(number)
        first = world.agent(death) if moment == "before" else world.agent(after=death)
        async with first:
            _, after = await live(world, change, death)  # type: ignore[arg-type]
            async with asyncio.timeout(20):
                await death.died.wait()
            async with world.agent():
                await settled(world, world.cloud.put(after))
                assert world.starts_of(after) == [
                    f"guest {after.id} started, boot {boot}" for boot in range(1, after.boot + 1)
                ]
            death.over.set()


@pytest.mark.parametrize("change", [boot, *ON_A_RUNNING_SERVER])
async def test_agent_stopped_cleanly_at_every_call(change: Change, tmp_path: Path) -> None:
    """A clean stop in the middle of something undoes it or ends it; guests keep running."""
    calls = await calls_of(tmp_path / "count", change)
    for number in range(len(calls)):
        files = open_files()
        world = World(tmp_path / str(number))
        reached, go_on = asyncio.Event(), asyncio.Event()
        count = Fuse()

        async def stop_here(
            name: str,
            count: Fuse = count,
            number: int = number,
            reached: asyncio.Event = reached,
            go_on: asyncio.Event = go_on,
        ) -> None:
            await count(name)
            if len(count.calls) == number + 1:
                reached.set()
                await go_on.wait()

        async with world.agent(stop_here):
            _, after = await live(world, change, count)
            await reached.wait()
            asyncio.get_running_loop().call_later(0.01, go_on.set)
        assert open_files() == files
        async with world.agent():
            await settled(world, world.cloud.put(after))


@pytest.mark.parametrize("change", [boot, *ON_A_RUNNING_SERVER])
async def test_every_call_made_twice(change: Change, tmp_path: Path) -> None:
    """As by somebody who has lost the first answer."""
    files = open_files()
    world = World(tmp_path)
    async with world.agent(wire=Twice):
        _, after = await live(world, change, Fuse())
        await settled(world, after)
    assert open_files() == files


@pytest.mark.parametrize("change", [boot, *ON_A_RUNNING_SERVER])
async def test_every_step_made_twice(change: Change, tmp_path: Path) -> None:
    world = World(tmp_path)
    before = server()
    after = change(before)
    async with world.host() as host:
        one = Server(before.id, Seen())
        for plan in (before, after):
            vifs = vif_plans(plan, {NETWORK.id: NETWORK}) if plan.wanted != "gone" else ()
            for step in decide(plan, vifs, one.seen, machine=host.machine, grace=0.0):
                await carry_out(host, one, plan, vifs, (step,))
                once = one.seen
                await carry_out(host, one, plan, vifs, (step,))
                assert one.seen == once
            assert decide(plan, vifs, one.seen, machine=host.machine, grace=0.0) == ()
    world.assert_as_planned(*([after] if after.wanted != "gone" else []))


# With real disks


def image(world: World, content: bytes = b"\0" * 4096) -> ImagePlan:
    one = ImagePlan(id=ImageId(new_id()), file_format="raw", size=len(content))
    world.cloud.images[one.id] = content
    return one


def disks_of(world: World, plan: ServerPlan) -> set[str]:
    return {path.name for path in (world.config.servers / plan.id).iterdir()}


async def test_every_call_of_a_boot_with_a_disk_broken_once(tmp_path: Path) -> None:
    fuse = Fuse()
    count = World(tmp_path / "count", disks=True, timer=60.0)
    async with count.agent(fuse):
        fuse.lit = True
        await settled(count, count.cloud.put(server(image=image(count), kernel=image(count))))
        assert fuse.calls.count("image") == 2
    for number in range(len(fuse.calls)):
        broken = Fuse(number)
        world = World(tmp_path / str(number), disks=True)
        async with world.agent(broken):
            broken.lit = True
            plan = world.cloud.put(server(image=image(world), kernel=image(world)))
            if (await world.cloud.reported(plan)).error:
                world.assert_clean()
                plan = world.cloud.put(plan)
            await settled(world, plan)
            assert disks_of(world, plan) == {"root-1.qcow2", "config.iso", "record.json"}
            assert not list((world.config.state / "cache").glob("*.part"))


async def test_every_call_of_a_rebuild_with_a_disk_broken_once(tmp_path: Path) -> None:
    """The old disk stays until the guest runs on the new one; another disk than these two there never is."""
    for number in range(100):
        fuse = Fuse(number)
        world = World(tmp_path / str(number), disks=True)
        async with world.agent(fuse):
            before = world.cloud.put(server(image=image(world)))
            await settled(world, before)
            fuse.lit = True
            after = world.cloud.put(replace(rebuild(before), image=image(world)))
            report = await world.cloud.reported(after)
            if report.error:
                assert disks_of(world, after) == {"root-1.qcow2", "config.iso", "record.json"}
                after = world.cloud.put(after)
            await settled(world, after)
            assert disks_of(world, after) == {"root-2.qcow2", "config.iso", "record.json"}
        if "report" in fuse.calls[:number]:
            break
    assert number >= 5
