"""What every hypervisor driver keeps to: one set of stories, told of the fake and of QEMU.

QEMU's guests have no disk and no kernel here: the firmware alone runs, and lets no NIC go. Taps live in network
namespaces without a name, each gone with its last descriptor.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from polyport.config import HypervisorConfig
from polyport.hypervisor import (
    Guest,
    GuestNic,
    Hypervisor,
    HypervisorError,
    NotRunning,
    OtherBoot,
    UnplugRefused,
)
from polyport.hypervisor.fake import FakeHost, FakeHypervisor
from polyport.hypervisor.nics import NicsRefused
from polyport.hypervisor.qemu.driver import EmulatorMissing, QemuHypervisor
from polyport.ids import PortId, ServerId, new_id

PATIENCE = 60.0
"""Seconds a busy machine may take; a test that passes waits for much less."""


class House:
    """A host with its agent's driver. `hypervisor` is the driver of now; `restart` brings its successor."""

    def __init__(self, servers: Path) -> None:
        self.servers = servers
        self.changes: asyncio.Queue[ServerId] = asyncio.Queue()
        self.hypervisor: Hypervisor
        self._descriptors: list[int] = []

    def make(self) -> Hypervisor:
        raise AssertionError("a house is of one kind or the other")

    def crash(self, server_id: ServerId) -> None:
        raise AssertionError("a house is of one kind or the other")

    def harden(self, server_id: ServerId) -> None:
        """Make the guest keep its NICs."""

    def tap(self) -> int:
        descriptor = os.open("/dev/null", os.O_RDWR)
        self._descriptors.append(descriptor)
        return descriptor

    def directory(self, server_id: ServerId) -> Path:
        directory = self.servers / server_id
        directory.mkdir(exist_ok=True)
        return directory

    async def start(self, guest: Guest) -> None:
        taps = {nic.port_id: self.tap() for nic in guest.nics}
        await self.hypervisor.start(guest, self.directory(guest.id), taps)

    async def restart(self) -> None:
        await self.hypervisor.close()
        self.hypervisor = self.make()
        await self.hypervisor.open(self.changes.put_nowait)

    async def wait_changed(self) -> ServerId:
        return await asyncio.wait_for(self.changes.get(), PATIENCE)

    async def close(self) -> None:
        for server_id in await self.hypervisor.guests():
            await self.hypervisor.stop(server_id)
        await self.hypervisor.close()
        for descriptor in self._descriptors:
            os.close(descriptor)


class FakeHouse(House):
    def __init__(self, servers: Path) -> None:
        super().__init__(servers)
        self.host = FakeHost()
        self.hypervisor: FakeHypervisor = self.make()

    def make(self) -> FakeHypervisor:
        return FakeHypervisor(host=self.host)

    def crash(self, server_id: ServerId) -> None:
        self.hypervisor.crash(server_id)

    def harden(self, server_id: ServerId) -> None:
        self.host.stubborn.add(server_id)


class QemuHouse(House):
    def __init__(self, servers: Path) -> None:
        super().__init__(servers)
        self.hypervisor: QemuHypervisor = self.make()

    def make(self) -> QemuHypervisor:
        return QemuHypervisor(HypervisorConfig(acceleration="tcg"), self.servers, unplug_seconds=1.5)

    def pid(self, server_id: ServerId) -> int:
        return int((self.servers / server_id / "qemu.pid").read_text())

    def crash(self, server_id: ServerId) -> None:
        os.kill(self.pid(server_id), signal.SIGKILL)

    def tap(self) -> int:
        descriptor = open_tap()
        self._descriptors.append(descriptor)
        return descriptor

    def null(self) -> int:
        """A descriptor that is no tap."""
        return super().tap()


def open_tap() -> int:
    """A tap in a network namespace of its own."""
    descriptors: list[int] = []

    def in_a_thread() -> None:
        assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0  # CLONE_NEWNET
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        # TUNSETIFF with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", b"tap0", 0x0002 | 0x1000 | 0x4000))
        descriptors.append(descriptor)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    return descriptors[0]


def nic(slot: int, *, mtu: int = 1500) -> GuestNic:
    return GuestNic(port_id=PortId(new_id()), slot=slot, mac_address=f"fa:16:3e:00:00:{slot:02x}", mtu=mtu)


def guest(*nics: GuestNic, boot: int = 1, vcpus: int = 1, nic_slots: int = 31) -> Guest:
    return Guest(
        id=ServerId(new_id()),
        name="a name, with 'things' in it",
        boot=boot,
        vcpus=vcpus,
        memory_mb=32,
        nic_slots=nic_slots,
        nics=nics,
    )


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


@pytest.fixture
async def qemu(servers: Path) -> AsyncIterator[QemuHouse]:
    house = QemuHouse(servers)
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


# --- QEMU alone


@pytest.mark.host
async def test_a_plug_that_fails_leaves_nothing(qemu: QemuHouse) -> None:
    first, late = nic(1), nic(2)
    vnf = guest(first)
    await qemu.start(vnf)
    with pytest.raises(HypervisorError, match=f"NIC {late.port_id} could not be plugged"):
        await qemu.hypervisor.plug(vnf.id, late, qemu.null())
    assert (await qemu.hypervisor.guests())[vnf.id].nics == (first,)
    assert netdevs(qemu, vnf.id) == {f"tap-1-{first.port_id}"}
    await qemu.hypervisor.plug(vnf.id, late, qemu.tap())
    assert (await qemu.hypervisor.guests())[vnf.id].nics == (first, late)
    assert netdevs(qemu, vnf.id) == {f"tap-1-{first.port_id}", f"tap-2-{late.port_id}"}


@pytest.mark.host
async def test_a_nic_qemu_itself_refuses_leaves_its_tap_free(qemu: QemuHouse) -> None:
    vnf = guest()
    await qemu.start(vnf)
    bad = GuestNic(port_id=PortId(new_id()), slot=1, mac_address="not a MAC")
    before = open_descriptors(qemu.pid(vnf.id))
    with pytest.raises(HypervisorError):
        await qemu.hypervisor.plug(vnf.id, bad, qemu.tap())
    assert open_descriptors(qemu.pid(vnf.id)) == before
    assert netdevs(qemu, vnf.id) == set()
    assert "not a MAC" not in (qemu.servers / vnf.id / "guest.json").read_text()


@pytest.mark.host
async def test_a_start_that_fails_leaves_nothing_but_the_log(qemu: QemuHouse) -> None:
    broken = guest(only := nic(1))
    directory = qemu.directory(broken.id)
    with pytest.raises(HypervisorError, match=f"server {broken.id} could not be started"):
        await qemu.hypervisor.start(broken, directory, {only.port_id: qemu.null()})
    assert await qemu.hypervisor.guests() == {}
    assert {path.name for path in directory.iterdir()} <= {"qemu.log", "console.log"}
    assert "tap-1-" in (directory / "qemu.log").read_text()
    assert qemu.changes.empty()
    await qemu.start(broken)
    assert set(await qemu.hypervisor.guests()) == {broken.id}


@pytest.mark.host
async def test_a_stopped_guest_leaves_nothing_but_its_logs(qemu: QemuHouse) -> None:
    vnf = guest(nic(1))
    await qemu.start(vnf)
    pid = qemu.pid(vnf.id)
    await qemu.hypervisor.stop(vnf.id)
    assert not Path(f"/proc/{pid}").exists()
    assert {path.name for path in qemu.directory(vnf.id).iterdir()} == {"qemu.log", "console.log"}


@pytest.mark.host
async def test_a_start_that_is_cancelled_leaves_nothing(qemu: QemuHouse) -> None:
    vnf = guest(nic(1))
    starting = asyncio.create_task(qemu.start(vnf))
    while not (qemu.servers / vnf.id / "guest.json").exists():
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert await qemu.hypervisor.guests() == {}
    assert {path.name for path in qemu.directory(vnf.id).iterdir()} <= {"qemu.log", "console.log"}


@pytest.mark.host
async def test_a_stop_overtakes_a_start(qemu: QemuHouse) -> None:
    vnf = guest(nic(1))
    starting = asyncio.create_task(qemu.start(vnf))
    while vnf.id not in await qemu.hypervisor.guests():
        await asyncio.sleep(0)
    await qemu.hypervisor.stop(vnf.id)
    with contextlib.suppress(HypervisorError):
        await starting
    assert await qemu.hypervisor.guests() == {}


@pytest.mark.host
async def test_somebody_else_pauses_the_guest_and_the_agent_is_told(qemu: QemuHouse) -> None:
    """A guest pauses of its own too, where its disk is full."""
    vnf = guest()
    await qemu.start(vnf)
    debug(qemu, vnf.id, "stop")
    assert await qemu.wait_changed() == vnf.id
    assert (await qemu.hypervisor.guests())[vnf.id].power == "paused"


@pytest.mark.host
async def test_a_stale_pid_is_not_taken_for_a_guest(qemu: QemuHouse) -> None:
    vnf = guest()
    await qemu.start(vnf)
    record = (qemu.servers / vnf.id / "guest.json").read_bytes()
    await qemu.hypervisor.stop(vnf.id)
    with subprocess.Popen(["sleep", "600"]) as bystander:
        (qemu.servers / vnf.id / "guest.json").write_bytes(record)
        (qemu.servers / vnf.id / "qemu.pid").write_text(f"{bystander.pid}\n")
        await qemu.restart()
        assert await qemu.hypervisor.guests() == {}
        assert bystander.poll() is None
        bystander.kill()


AGENT = """
import asyncio, os, sys
from pathlib import Path
from polyport.config import HypervisorConfig
from polyport.hypervisor.qemu.driver import QemuHypervisor
from polyport.hypervisor.qemu.record import decode_guest

async def main(servers, guest, tap):
    hypervisor = QemuHypervisor(HypervisorConfig(acceleration="tcg"), servers)
    await hypervisor.open(lambda _: None)
    await hypervisor.start(guest, servers / guest.id, {guest.nics[0].port_id: tap})
    print("started", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(Path(sys.argv[1]), decode_guest(sys.argv[2].encode()), int(sys.argv[3])))
"""


@pytest.mark.host
@pytest.mark.parametrize("moment", ["guest.json", "qemu.pid", "started"])
async def test_the_successor_of_a_killed_agent_never_starts_a_guest_twice(qemu: QemuHouse, moment: str) -> None:
    from polyport.hypervisor.qemu.record import encode_guest

    only = nic(1)
    vnf = guest(only, boot=5)
    directory, tap = qemu.directory(vnf.id), qemu.tap()
    await qemu.hypervisor.close()
    words = [sys.executable, "-c", AGENT, str(qemu.servers), encode_guest(vnf).decode(), str(tap)]
    with subprocess.Popen(words, pass_fds=[tap], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout
        if moment == "started":
            assert await asyncio.to_thread(agent.stdout.readline) == "started\n"
        else:
            while not (directory / moment).exists():
                await asyncio.sleep(0)
        agent.kill()
    qemu.hypervisor = qemu.make()
    await qemu.hypervisor.open(qemu.changes.put_nowait)
    adopted = await qemu.hypervisor.guests()
    if moment != "guest.json":
        assert adopted[vnf.id].nics == (only,)
    await qemu.start(vnf)
    assert set(await qemu.hypervisor.guests()) == {vnf.id}
    assert len(processes_of(vnf.id)) == 1


@pytest.mark.host
async def test_an_emulator_that_is_not_there_is_named(servers: Path) -> None:
    hypervisor = QemuHypervisor(HypervisorConfig(emulator="qemu-system-none"), servers)
    with pytest.raises(EmulatorMissing, match="qemu-system-none"):
        await hypervisor.open(lambda _: None)


@pytest.mark.host
async def test_qemu_drops_to_the_user_it_is_told(servers: Path) -> None:
    house = QemuHouse(servers)
    config = HypervisorConfig(acceleration="tcg", run_as="65534:65534")
    house.hypervisor = QemuHypervisor(config, servers)
    await house.hypervisor.open(house.changes.put_nowait)
    vnf = guest(nic(1))
    await house.start(vnf)
    assert Path(f"/proc/{house.pid(vnf.id)}").stat().st_uid == 65534
    await house.hypervisor.plug(vnf.id, nic(2), house.tap())
    await house.restart()
    assert len((await house.hypervisor.guests())[vnf.id].nics) == 2
    await house.close()


def processes_of(server_id: ServerId) -> list[int]:
    """The QEMU processes whose arguments name this server."""

    def lives() -> Iterator[int]:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if b"-uuid" in words and words[words.index(b"-uuid") + 1] == server_id.encode():
                    yield int(process.name)

    return list(lives())


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def debug(house: QemuHouse, server_id: ServerId, command: str, **arguments: object) -> object:
    """Speak to QEMU as a person who debugs it does, on the second socket."""
    import socket

    directory = os.open(house.servers / server_id, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(f"/proc/self/fd/{directory}/qmp-debug.sock")
            with stream.makefile("rw") as lines:
                json.loads(lines.readline())
                for words in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    lines.write(json.dumps(words) + "\n")
                    lines.flush()
                    while "event" in (answer := json.loads(lines.readline())):
                        pass
                return answer["return"]
    finally:
        os.close(directory)


def netdevs(house: QemuHouse, server_id: ServerId) -> set[str]:
    """The ids of the host sides of NICs QEMU has."""
    told = debug(house, server_id, "human-monitor-command", **{"command-line": "info network"})
    words = str(told).replace("\\", " ").replace(":", " ").split()
    return {word for word in words if word.startswith("tap-")}
