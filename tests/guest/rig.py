"""What the stories of real guests share: a cloud, a client, and servers one can talk with."""

import signal
import time
from typing import Any

from demo.scratch import ScratchCloud
from guest.channel import Guest, GuestNic, Sent

Counters = dict[str, tuple[int, int]]


class Rig:
    """A running cloud and an outside client of it."""

    def __init__(self, cloud: ScratchCloud, client: Any, image: Any, flavor: Any) -> None:
        self.cloud = cloud
        self.client = client
        self.image = image
        self.flavor = flavor

    def boot(self, networks: list[Any], **more: Any) -> "Server":
        made = self.client.compute.create_server(
            name="guest",
            image_id=self.image.id,
            flavor_id=more.pop("flavor", self.flavor).id,
            networks=networks,
            **more,
        )
        self.client.compute.wait_for_server(made, wait=60, interval=0.1)
        return Server(self, made.id)

    def kill_and_restart(self) -> None:
        """The cloud's process is killed while guests run, and started again."""
        self.cloud.stop(signal.SIGKILL)
        self.cloud.start()

    def until(self, holds: Any, what: str, seconds: float = 60.0) -> Any:
        """Call `holds` until it gives something true, and return that."""
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.05)
        return found


class Server:
    """A server and its guest."""

    def __init__(self, rig: Rig, server_id: str) -> None:
        self.rig = rig
        self.id = server_id
        self.guest = Guest(rig.cloud.server_directory(server_id))
        self.boot_id: str | None = None

    @property
    def compute(self) -> Any:
        return self.rig.client.compute

    def view(self) -> Any:
        return self.compute.get_server(self.id)

    def ready(self) -> None:
        """Wait for the guest's system, one that was started since the last time."""
        self.boot_id = self.guest.wait_ready(90, unlike=self.boot_id).boot_id

    def ports(self) -> list[Any]:
        """The server's ports in the order of `os-interface`."""
        return [self.rig.client.network.get_port(nic.port_id) for nic in self.compute.server_interfaces(self.id)]

    def nics(self, *slots: int) -> tuple[GuestNic, ...]:
        """The guest's NICs, once they are in exactly these slots and have their addresses."""
        return self.guest.wait_nics(*slots)

    def attach(self, **what: Any) -> Any:
        made = self.compute.create_server_interface(self.id, **what)
        self.rig.until(lambda: made.mac_addr in self.macs(), "the guest sees the new NIC")
        return made

    def detach(self, port_id: str) -> None:
        mac = self.rig.client.network.get_port(port_id).mac_address
        self.compute.delete_server_interface(port_id, server=self.id)
        self.rig.until(lambda: mac not in self.macs(), "the guest let go of the NIC")

    def macs(self) -> set[str]:
        """The MACs of the guest's NICs."""
        return {nic.mac for nic in self.guest.nics()}

    def stop(self) -> None:
        self.compute.stop_server(self.id)
        self.compute.wait_for_server(self.view(), status="SHUTOFF", wait=60, interval=0.1)

    def start(self) -> None:
        self.compute.start_server(self.id)
        self.compute.wait_for_server(self.view(), wait=60, interval=0.1)
        self.ready()

    def reboot(self, kind: str) -> None:
        self.compute.reboot_server(self.id, kind)
        self.ready()
        self.compute.wait_for_server(self.view(), wait=60, interval=0.1)

    def tap(self, slot: int) -> str:
        port = self.ports()[[nic.slot for nic in self.guest.nics()].index(slot)]
        return "tap" + port.id[:11]

    def send(self, source: int, target: int, count: int = 5) -> tuple[Sent, Counters]:
        """Ping from NIC to NIC; how often each tap of the host was passed: tap -> (from the guest, to the guest)."""
        before = self.rig.cloud.devices()
        sent = self.guest.send(source, target, count)
        after = self.rig.cloud.devices()
        passed = {
            name: (after[name][0] - before[name][0], after[name][1] - before[name][1])
            for name in after
            if name in before
        }
        return sent, passed

    def delete(self) -> None:
        self.guest.close()
        found = self.compute.find_server(self.id)
        if found is not None:
            self.compute.delete_server(self.id, ignore_missing=True)
            self.compute.wait_for_delete(found, interval=0.1, wait=30)
        directory = self.rig.cloud.server_directory(self.id)
        self.rig.until(lambda: not directory.exists(), "the host has cleaned up")
