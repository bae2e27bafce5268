"""What QEMU can do wrong, and a killed agent's successor can: stories of the QEMU driver alone."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from polyport.config import HypervisorConfig
from polyport.hypervisor import GuestNic, HypervisorError
from polyport.hypervisor.qemu.command import Machine
from polyport.hypervisor.qemu.driver import EmulatorMissing, QemuHypervisor
from polyport.hypervisor.qemu.guest import RunningGuest
from polyport.hypervisor.qemu.record import encode_guest
from polyport.ids import PortId, new_id
from tests.host.houses import QemuHouse, debug, guest, netdevs, nic, open_descriptors, processes_of

pytestmark = pytest.mark.host


@pytest.fixture
def servers(tmp_path: Path) -> Path:
    """Longer than the address of a Unix socket can be."""
    servers = tmp_path / ("long" * 30) / "servers"
    servers.mkdir(parents=True)
    return servers


@pytest.fixture
async def qemu(servers: Path) -> AsyncIterator[QemuHouse]:
    house = QemuHouse(servers)
    await house.hypervisor.open(house.changes.put_nowait)
    yield house
    await house.close()


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


async def test_a_guest_without_a_directory_is_not_started(qemu: QemuHouse) -> None:
    vnf = guest()
    with pytest.raises(HypervisorError, match="could not be started"):
        await qemu.hypervisor.start(vnf, qemu.servers / vnf.id, {})
    assert await qemu.hypervisor.guests() == {}


async def test_a_record_that_cannot_be_written_lets_no_nic_in(qemu: QemuHouse) -> None:
    first, late = nic(1), nic(2)
    vnf = guest(first)
    await qemu.start(vnf)
    blocked = qemu.directory(vnf.id) / "guest.json.new"
    blocked.mkdir()
    with pytest.raises(HypervisorError, match=f"NIC {late.port_id} could not be plugged"):
        await qemu.hypervisor.plug(vnf.id, late, qemu.tap())
    blocked.rmdir()
    assert (await qemu.hypervisor.guests())[vnf.id].nics == (first,)
    await qemu.hypervisor.plug(vnf.id, late, qemu.tap())
    assert (await qemu.hypervisor.guests())[vnf.id].nics == (first, late)


@pytest.mark.parametrize("turns", [1, 2, 4, 8, 16, 32])
async def test_a_plug_that_is_cancelled_is_there_or_it_is_not(qemu: QemuHouse, turns: int) -> None:
    """Whatever QEMU had done by then, the driver soon says what is true, and the NIC can be had after all."""
    first, late = nic(1), nic(2)
    vnf = guest(first)
    await qemu.start(vnf)
    plugging = asyncio.create_task(qemu.hypervisor.plug(vnf.id, late, qemu.tap()))
    for _ in range(turns):
        await asyncio.sleep(0)
    plugging.cancel()
    await asyncio.wait([plugging])
    await qemu.hypervisor.plug(vnf.id, late, qemu.tap())
    assert (await qemu.hypervisor.guests())[vnf.id].nics == (first, late)
    assert netdevs(qemu, vnf.id) == {f"tap-1-{first.port_id}", f"tap-2-{late.port_id}"}


async def test_a_stopped_guest_leaves_nothing_but_its_logs(qemu: QemuHouse) -> None:
    vnf = guest(nic(1))
    await qemu.start(vnf)
    pid = qemu.pid(vnf.id)
    await qemu.hypervisor.stop(vnf.id)
    assert not Path(f"/proc/{pid}").exists()
    assert {path.name for path in qemu.directory(vnf.id).iterdir()} == {"qemu.log", "console.log"}


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


async def test_a_stop_overtakes_a_start(qemu: QemuHouse) -> None:
    vnf = guest(nic(1))
    starting = asyncio.create_task(qemu.start(vnf))
    while vnf.id not in await qemu.hypervisor.guests():
        await asyncio.sleep(0)
    await qemu.hypervisor.stop(vnf.id)
    with contextlib.suppress(HypervisorError):
        await starting
    assert await qemu.hypervisor.guests() == {}


async def test_a_qemu_that_is_killed_is_told_of_as_such(qemu: QemuHouse, caplog: pytest.LogCaptureFixture) -> None:
    """By the kernel, say, which had no memory left: no guest's doing."""
    killed, off = guest(), guest()
    await qemu.start(killed)
    await qemu.start(off)
    os.kill(qemu.pid(killed.id), signal.SIGKILL)
    debug(qemu, off.id, "quit")
    assert {await qemu.wait_changed(), await qemu.wait_changed()} == {killed.id, off.id}
    said = [record.getMessage() for record in caplog.records]
    assert f"end: server {killed.id} died of signal 9; QEMU said: nothing" in said
    assert f"end: server {off.id} ended by itself" in said


async def test_somebody_else_pauses_the_guest_and_the_agent_is_told(qemu: QemuHouse) -> None:
    """A guest pauses of its own too, where its disk is full."""
    vnf = guest()
    await qemu.start(vnf)
    debug(qemu, vnf.id, "stop")
    assert await qemu.wait_changed() == vnf.id
    assert (await qemu.hypervisor.guests())[vnf.id].power == "paused"


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


@pytest.mark.parametrize("moment", ["guest.json", "qemu.pid", "started"])
async def test_the_successor_of_a_killed_agent_never_starts_a_guest_twice(qemu: QemuHouse, moment: str) -> None:
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


async def test_an_emulator_that_is_not_there_is_named(servers: Path) -> None:
    hypervisor = QemuHypervisor(HypervisorConfig(emulator="qemu-system-none"), servers)
    with pytest.raises(EmulatorMissing, match="qemu-system-none"):
        await hypervisor.open(lambda _: None)


async def test_a_guest_that_breaks_out_of_its_qemu_is_nobody(qemu: QemuHouse) -> None:
    vnf = guest(nic(1))
    await qemu.start(vnf)
    status = Path(f"/proc/{qemu.pid(vnf.id)}/status").read_text()
    assert "Uid:\t65534\t65534\t65534\t65534" in status
    assert "CapEff:\t0000000000000000" in status
    await qemu.hypervisor.plug(vnf.id, nic(2), qemu.tap())
    await qemu.restart()
    assert len((await qemu.hypervisor.guests())[vnf.id].nics) == 2


async def test_qemu_keeps_its_user_where_it_is_told_to(servers: Path) -> None:
    house = QemuHouse(servers)
    house.hypervisor = QemuHypervisor(HypervisorConfig(acceleration="tcg", run_as=""), servers)
    await house.hypervisor.open(house.changes.put_nowait)
    vnf = guest(nic(1))
    await house.start(vnf)
    assert Path(f"/proc/{house.pid(vnf.id)}").stat().st_uid == 0
    await house.close()


async def test_a_nic_whose_vhost_cannot_be_had_is_not_there(qemu: QemuHouse) -> None:
    """QEMU takes the descriptor it is handed for vhost-net, and finds out that it is none."""
    vnf, late = guest(nic(1)), nic(2)
    running = RunningGuest(vnf, qemu.directory(vnf.id), lambda _: None)
    machine = Machine(emulator="qemu-system-x86_64", accelerator="tcg", run_as="65534:65534")
    await running.launch(machine, {port.port_id: qemu.tap() for port in vnf.nics})
    try:
        before = open_descriptors(qemu.pid(vnf.id))
        with pytest.raises(HypervisorError) as refused:
            await running.plug(late, qemu.tap(), qemu.null())
        assert "vhost-net requested but could not be initialized" in str(refused.value.__cause__)
        assert open_descriptors(qemu.pid(vnf.id)) == before
        await running.plug(late, qemu.tap())
        assert set(running.nics) == {nic.port_id for nic in (*vnf.nics, late)}
    finally:
        await running.end(0)
