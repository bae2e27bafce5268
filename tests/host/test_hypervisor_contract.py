"""What every hypervisor driver keeps to: one set of stories, told of the fake and of QEMU."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyport.hypervisor import Guest, GuestNic, NotRunning, OtherBoot, UnplugRefused
from polyport.hypervisor.nics import NicsRefused
from polyport.ids import PortId, ServerId, new_id
from tests.host.houses import PATIENCE, FakeHouse, House, QemuHouse, guest, nic


@pytest.fixture
def servers(tmp_path: Path) -> Path:
    """Longer than the address of a Unix socket can be."""
    servers = tmp_path / ("long" * 30) / "servers"
    servers.mkdir(parents=True)
    return servers


@pytest.fixture(params=[FakeHouse, pytest.param(QemuHouse, marks=pytest.mark.host)], ids=["fake", "qemu"])
async def house(request: pytest.FixtureRequest, servers: Path) -> AsyncIterator[House]:
    house = request.param(servers)
    await house.hypervisor.open(house.changes.put_nowait)
    yield house
    await house.close()


# --- start and stop


async def test_a_guest_is_found_as_it_was_started(house: House) -> None:
    one, two, ten = nic(1), nic(2, mtu=1450), nic(10)
    vnf = guest(two, ten, one, boot=7)
    await house.start(vnf)
    found = (await house.hypervisor.guests())[vnf.id]
    assert found.id == vnf.id
    assert found.power == "running"
    assert found.boot == 7
    assert found.nic_slots == 31
    assert found.nics == (one, two, ten)


async def test_a_guest_that_runs_is_not_started_again(house: House) -> None:
    vnf = guest(nic(1))
    await house.start(vnf)
    await house.hypervisor.pause(vnf.id)
    await house.start(vnf)
    assert (await house.hypervisor.guests())[vnf.id].power == "paused"


async def test_a_guest_is_stopped_before_its_next_boot(house: House) -> None:
    first = guest(nic(1), boot=1)
    again = Guest(id=first.id, name="x", boot=2, vcpus=1, memory_mb=32, nic_slots=31)
    await house.start(first)
    with pytest.raises(OtherBoot, match="boot number 1"):
        await house.start(again)
    await house.hypervisor.stop(first.id)
    await house.start(again)
    found = (await house.hypervisor.guests())[first.id]
    assert (found.boot, found.nics) == (2, ())


async def test_a_stopped_guest_is_gone_and_nobody_is_told(house: House) -> None:
    vnf, other = guest(nic(1)), guest(nic(1))
    await house.start(vnf)
    await house.start(other)
    await house.hypervisor.stop(vnf.id)
    assert set(await house.hypervisor.guests()) == {other.id}
    await house.hypervisor.stop(vnf.id)
    assert house.changes.empty()


async def test_a_guest_that_ignores_the_power_button_is_stopped_all_the_same(house: House) -> None:
    vnf = guest()
    await house.start(vnf)
    await house.hypervisor.stop(vnf.id, grace=0.2)
    assert await house.hypervisor.guests() == {}
    assert house.changes.empty()


async def test_a_guest_without_nics_and_without_places_for_them_runs(house: House) -> None:
    vnf = guest(nic_slots=0)
    await house.start(vnf)
    assert (await house.hypervisor.guests())[vnf.id].nics == ()
    with pytest.raises(NicsRefused):
        await house.hypervisor.plug(vnf.id, nic(1), house.tap())


async def test_guests_start_side_by_side(house: House) -> None:
    guests = [guest(nic(1), nic(2)) for _ in range(4)]
    await asyncio.gather(*(house.start(each) for each in guests))
    assert set(await house.hypervisor.guests()) == {each.id for each in guests}


async def test_the_callers_taps_stay_the_callers(house: House) -> None:
    first, second = nic(1), nic(2)
    vnf = guest(first)
    taps = [house.tap(), house.tap()]
    await house.hypervisor.start(vnf, house.directory(vnf.id), {first.port_id: taps[0]})
    await house.hypervisor.plug(vnf.id, second, taps[1])
    for tap in taps:
        os.fstat(tap)


async def test_a_start_that_cannot_be_leaves_nothing(house: House) -> None:
    impossible = guest(*(nic(slot) for slot in range(1, 50)), nic_slots=62)
    with pytest.raises(NicsRefused, match="49 NICs need more than its 1 vCPUs"):
        await house.start(impossible)
    forgotten = guest(nic(1))
    with pytest.raises(NicsRefused, match="no tap came"):
        await house.hypervisor.start(forgotten, house.directory(forgotten.id), {})
    assert await house.hypervisor.guests() == {}
    assert list(house.directory(impossible.id).iterdir()) == []
    assert list(house.directory(forgotten.id).iterdir()) == []


# --- pause and resume


async def test_a_paused_guest_resumes(house: House) -> None:
    vnf = guest(nic(1))
    await house.start(vnf)
    for _ in range(2):
        await house.hypervisor.pause(vnf.id)
        assert (await house.hypervisor.guests())[vnf.id].power == "paused"
    for _ in range(2):
        await house.hypervisor.resume(vnf.id)
        assert (await house.hypervisor.guests())[vnf.id].power == "running"
    assert house.changes.empty()


async def test_what_does_not_run_is_said_not_to_run(house: House) -> None:
    nobody = ServerId(new_id())
    with pytest.raises(NotRunning, match=nobody):
        await house.hypervisor.pause(nobody)
    with pytest.raises(NotRunning, match=nobody):
        await house.hypervisor.resume(nobody)
    with pytest.raises(NotRunning, match=nobody):
        await house.hypervisor.plug(nobody, nic(1), house.tap())
    await house.hypervisor.unplug(nobody, PortId(new_id()))
    await house.hypervisor.stop(nobody)


# --- NICs that come and go


async def test_a_nic_is_plugged_once(house: House) -> None:
    first, second, third = nic(1), nic(30), nic(5, mtu=9000)
    vnf = guest(first)
    await house.start(vnf)
    for new in (second, third, second):
        await house.hypervisor.plug(vnf.id, new, house.tap())
    assert (await house.hypervisor.guests())[vnf.id].nics == (first, third, second)


async def test_a_nic_is_plugged_into_a_paused_guest(house: House) -> None:
    vnf = guest()
    await house.start(vnf)
    await house.hypervisor.pause(vnf.id)
    await house.hypervisor.plug(vnf.id, late := nic(1), house.tap())
    found = (await house.hypervisor.guests())[vnf.id]
    assert (found.power, found.nics) == ("paused", (late,))


async def test_every_slot_of_every_bridge_takes_a_nic(house: House) -> None:
    nics = [nic(slot) for slot in (1, 31, 32, 62, 63, 124)]
    vnf = guest(*nics[:3], nic_slots=124)
    await house.start(vnf)
    for late in nics[3:]:
        await house.hypervisor.plug(vnf.id, late, house.tap())
    assert (await house.hypervisor.guests())[vnf.id].nics == tuple(nics)


async def test_a_nic_that_has_no_place_is_refused_and_the_rest_stays(house: House) -> None:
    first = nic(1)
    vnf = guest(first)
    await house.start(vnf)
    with pytest.raises(NicsRefused, match="slot 1 is taken"):
        await house.hypervisor.plug(vnf.id, nic(1), house.tap())
    with pytest.raises(NicsRefused, match="slot 32 is not one of its 31"):
        await house.hypervisor.plug(vnf.id, nic(32), house.tap())
    moved = GuestNic(port_id=first.port_id, slot=2, mac_address=first.mac_address)
    with pytest.raises(NicsRefused, match=f"port {first.port_id} is there already"):
        await house.hypervisor.plug(vnf.id, moved, house.tap())
    assert (await house.hypervisor.guests())[vnf.id].nics == (first,)


async def test_a_nic_the_guest_keeps_stays_whole(house: House) -> None:
    kept = nic(3)
    vnf = guest(kept)
    await house.start(vnf)
    house.harden(vnf.id)
    with pytest.raises(UnplugRefused, match=kept.port_id):
        await house.hypervisor.unplug(vnf.id, kept.port_id)
    assert (await house.hypervisor.guests())[vnf.id].nics == (kept,)
    await house.restart()
    assert (await house.hypervisor.guests())[vnf.id].nics == (kept,)


async def test_a_paused_guest_cannot_agree_to_let_a_nic_go(house: House) -> None:
    kept = nic(1)
    vnf = guest(kept)
    await house.start(vnf)
    await house.hypervisor.pause(vnf.id)
    with pytest.raises(UnplugRefused, match="it is paused"):
        await house.hypervisor.unplug(vnf.id, kept.port_id)
    assert (await house.hypervisor.guests())[vnf.id].nics == (kept,)


async def test_a_nic_that_is_not_there_is_unplugged_at_once(house: House) -> None:
    vnf = guest(nic(1))
    await house.start(vnf)
    await house.hypervisor.unplug(vnf.id, PortId(new_id()))
    assert len((await house.hypervisor.guests())[vnf.id].nics) == 1


# --- ends that nobody asked for, and agents that come and go


async def test_a_guest_that_ends_by_itself_is_noticed(house: House) -> None:
    vnf, other = guest(nic(1)), guest()
    await house.start(vnf)
    await house.start(other)
    house.crash(vnf.id)
    assert await house.wait_changed() == vnf.id
    assert set(await house.hypervisor.guests()) == {other.id}
    await house.start(vnf)
    assert set(await house.hypervisor.guests()) == {vnf.id, other.id}


async def test_the_next_agent_finds_the_guests(house: House) -> None:
    first, late = nic(1), nic(9, mtu=1450)
    vnf, paused = guest(first, boot=3), guest(boot=4)
    await house.start(vnf)
    await house.start(paused)
    await house.hypervisor.plug(vnf.id, late, house.tap())
    await house.hypervisor.pause(paused.id)
    before = await house.hypervisor.guests()
    await house.restart()
    assert await house.hypervisor.guests() == before
    assert before[vnf.id].nics == (first, late)
    assert before[paused.id].power == "paused"
    await house.start(vnf)
    await house.hypervisor.resume(paused.id)
    await house.hypervisor.plug(vnf.id, nic(2), house.tap())
    house.crash(vnf.id)
    assert await house.wait_changed() == vnf.id


async def test_a_guest_that_ended_while_no_agent_was_there_is_not_found(house: House) -> None:
    gone, alive = guest(nic(1)), guest()
    await house.start(gone)
    await house.start(alive)
    await house.hypervisor.close()
    house.crash(gone.id)
    await wait_until_gone(house.servers / gone.id)
    house.hypervisor = house.make()
    await house.hypervisor.open(house.changes.put_nowait)
    assert set(await house.hypervisor.guests()) == {alive.id}
    await house.start(gone)
    assert set(await house.hypervisor.guests()) == {gone.id, alive.id}


async def test_the_console_is_kept_through_all_starts(house: House) -> None:
    vnf = guest()
    directory = house.directory(vnf.id)
    assert await house.hypervisor.console_log(vnf.id, directory, 1000) == b""
    await house.start(vnf)
    first = await wait_for_console(house, vnf.id, 1)
    await house.hypervisor.stop(vnf.id)
    assert await house.hypervisor.console_log(vnf.id, directory, 1 << 20) == first
    await house.start(vnf)
    both = await wait_for_console(house, vnf.id, 2)
    assert both.startswith(first)
    assert await house.hypervisor.console_log(vnf.id, directory, 10) == both[-10:]


async def wait_for_console(house: House, server_id: ServerId, starts: int) -> bytes:
    """The console once its guest has told its id in this many starts and has no more to say."""
    directory = house.directory(server_id)
    async with asyncio.timeout(PATIENCE):
        while True:
            log = await house.hypervisor.console_log(server_id, directory, 1 << 20)
            said_all = isinstance(house, FakeHouse) or log.count(b"No bootable device.\r\n") == starts
            if log.count(server_id.encode()) == starts and said_all:
                return log
            await asyncio.sleep(0.02)


async def wait_until_gone(directory: Path) -> None:
    """Wait until no process holds the lock of a directory (the fake has none)."""
    if not (directory / "running.lock").exists():
        return
    with (directory / "running.lock").open() as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
