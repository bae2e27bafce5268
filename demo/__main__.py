"""`python -m demo`: the main job of polyport, from an empty directory to an empty directory, with proofs.

Ends with status 0 only if every proof held.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import openstack

from demo.scratch import ScratchCloud
from demo.terminal import ProofFailed, prove, say, step, table
from guest.build import KERNEL_ARGUMENTS, build
from guest.channel import Guest, GuestNic

FRAMES = 5


def main() -> int:
    with step("building the small guest image"):
        image = build(say=lambda text: None)
    with ScratchCloud() as cloud:
        try:
            show(cloud, image)
        except ProofFailed as failed:
            say(f"\nnot proven: {failed}\n{cloud.log.read_text()[-3000:]}")
            return 1
    say("\nevery proof held")
    return 0


def show(cloud: ScratchCloud, files: Path) -> None:
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(cloud.clouds)
    client: Any = openstack.connect(cloud="polyport")
    say(f"          a cloud serves http://127.0.0.1:{cloud.port}/identity; the client is openstacksdk")
    with step("uploading the image: kernel, ramdisk, disk"):
        kernel = upload(client, "vnf-kernel", files / "vmlinuz", "aki", "aki")
        ramdisk = upload(client, "vnf-ramdisk", files / "initrd", "ari", "ari")
        image = upload(
            client, "vnf", files / "disk.qcow2", "qcow2", "bare",
            kernel_id=kernel.id, ramdisk_id=ramdisk.id, os_command_line=KERNEL_ARGUMENTS,
        )  # fmt: skip
    with step("one network, one subnet, one port made beforehand"):
        network = client.network.create_network(name="net1")
        client.network.create_subnet(network_id=network.id, name="net1-v4", ip_version=4, cidr="10.77.0.0/24")
        brought = client.network.create_port(network_id=network.id, name="brought-along")
        flavor = client.compute.create_flavor(name="vnf", ram=160, vcpus=1, disk=0)
    networks = [{"uuid": network.id}, {"port": brought.id}, {"uuid": network.id}]
    with step("POST /servers with three NICs on that one network, until ACTIVE"):
        server = client.compute.create_server(
            name="vnf", image_id=image.id, flavor_id=flavor.id, networks=networks, config_drive=True
        )
        server = client.compute.wait_for_server(server, wait=60, interval=0.2)
    ports = in_order(client, server)
    prove(ports[1].id == brought.id and len(ports) == 3, "os-interface lists the NICs in the order asked for")
    with Guest(cloud.server_directory(server.id)) as guest:
        with step("waiting for the guest's system"):
            guest.wait_ready(90)
            seen = guest.wait_nics(1, 2, 3)
        show_nics(ports, seen)
        prove_same(ports, seen)
        addresses = [entry["addr"] for entry in client.compute.get_server(server.id).addresses["net1"]]
        prove(addresses == [port.fixed_ips[0]["ip_address"] for port in ports], "addresses are in that order too")
        for source, target in ((1, 2), (2, 3)):
            prove_traffic(cloud, guest, ports, source, target)

        with step("attaching a fourth NIC on the same network to the running guest"):
            client.compute.create_server_interface(server, net_id=network.id)
            seen = guest.wait_nics(1, 2, 3, 4)
        ports = in_order(client, server)
        show_nics(ports, seen)
        prove_same(ports, seen)
        prove_traffic(cloud, guest, ports, 3, 4)
        prove_traffic(cloud, guest, ports, 4, 1)

        with step("detaching the second"):
            client.compute.delete_server_interface(brought.id, server=server)
            kept = guest.wait_nics(1, 3, 4)
        prove(
            facts(kept) == facts(nic for nic in seen if nic.slot != 2), "the others kept slot, name, PCI place and MAC"
        )
        ports = in_order(client, server)
        prove_same(ports, kept)
        prove(client.network.get_port(brought.id).device_id == "", "the port that was brought along is free again")
        prove_traffic(cloud, guest, {1: ports[0], 3: ports[1], 4: ports[2]}, 1, 4)

        with step("rebooting hard"):
            boot = guest.wait_ready(10).boot_id
            client.compute.reboot_server(server, "HARD")
            guest.wait_ready(90, unlike=boot)
            again = guest.wait_nics(1, 3, 4)
        show_nics(ports, again)
        prove(facts(again) == facts(kept), "after the reboot each NIC has the slot, name, PCI place and MAC it had")
        prove_traffic(cloud, guest, {1: ports[0], 3: ports[1], 4: ports[2]}, 4, 3)

    with step("deleting everything"):
        client.compute.delete_server(server)
        client.compute.wait_for_delete(server, interval=0.1, wait=30)
        client.network.delete_port(brought)
        client.network.delete_network(network)
        for upload_ in (image, ramdisk, kernel):
            client.image.delete_image(upload_)
        client.compute.delete_flavor(flavor)
        wait_until_empty(cloud)
    prove(cloud.devices() == {}, "no tap and no bridge is left")
    prove(cloud.guests() == [], "no guest process is left")
    prove(not list((cloud.state / "servers").iterdir()), "no server directory is left")
    left = cloud.rows()
    prove(not any(left.values()), f"no row is left: {left}")
    client.close()


def upload(client: Any, name: str, file: Path, disk: str, container: str, **properties: str) -> Any:
    """An image made and filled; Glance's own checksum is compared by the client."""
    return client.create_image(
        name, data=file.read_bytes(), disk_format=disk, container_format=container, wait=True, **properties
    )


def in_order(client: Any, server: Any) -> list[Any]:
    """The server's ports in the order `os-interface` lists them."""
    return [client.network.get_port(nic.port_id) for nic in client.compute.server_interfaces(server)]


def show_nics(ports: list[Any], seen: tuple[GuestNic, ...]) -> None:
    rows = []
    for port, nic in zip(ports, seen, strict=True):
        wanted = port.fixed_ips[0]["ip_address"]
        inside = ", ".join(address for address in nic.addresses if not address.startswith("fe80"))
        rows.append((nic.slot, port.id, port.mac_address, wanted, nic.name, nic.pci, nic.slot, nic.mac, inside))
    heads = ("slot", "port", "MAC", "address", "in the guest", "PCI address", "acpi-index", "MAC", "address")
    table(heads, rows)


def prove_same(ports: list[Any], seen: tuple[GuestNic, ...]) -> None:
    prove(
        [port.mac_address for port in ports] == [nic.mac for nic in seen],
        "the guest's NICs, by PCI address, are the API's NICs in the API's order",
    )
    prove(
        all(
            port.fixed_ips[0]["ip_address"] in {address.split("/")[0] for address in nic.addresses}
            for port, nic in zip(ports, seen, strict=True)
        ),
        "each NIC has its own address",
    )


def facts(nics: Any) -> list[tuple[object, ...]]:
    return [(nic.slot, nic.name, nic.pci, nic.mac) for nic in nics]


def prove_traffic(cloud: ScratchCloud, guest: Guest, ports: Any, source: int, target: int) -> None:
    """Ping from NIC to NIC of the guest, and read the counters of both taps on the host."""
    by_slot = ports if isinstance(ports, dict) else dict(enumerate(ports, 1))
    taps = ["tap" + by_slot[slot].id[:11] for slot in (source, target)]
    before = cloud.devices()
    sent = guest.send(source, target, FRAMES)
    after = cloud.devices()
    (out_in, out_out), (in_in, in_out) = (
        (after[tap][0] - before[tap][0], after[tap][1] - before[tap][1]) for tap in taps
    )
    prove(
        sent.crossed and out_in >= FRAMES and in_out >= FRAMES and in_in >= FRAMES and out_out >= FRAMES,
        f"NIC {source} -> NIC {target}: {sent.received}/{sent.sent} pings answered; {taps[0]} took {out_in} frames from"
        f" the guest and gave it {out_out}, {taps[1]} gave it {in_out} and took {in_in}",
    )


def wait_until_empty(cloud: ScratchCloud) -> None:
    """The API is free of a server at once; the host cleans up behind it."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not cloud.devices() and not cloud.guests() and not any((cloud.state / "servers").iterdir()):
            return
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
