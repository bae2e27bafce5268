"""What the host half costs: real taps, bridges and rules; and a real guest's start."""

import asyncio
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from bench.client import Caller, until
from bench.emulator import copied, own_start
from bench.ports import NICS, network, vif
from bench.table import Row
from demo.scratch import ScratchCloud
from guest.build import KERNEL_ARGUMENTS, build
from polyport.config import DataplaneConfig
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.hypervisor.qemu import record

_HEAD_START = 0.06
"""Seconds before a new server is asked after. No start is over by then, and what the answers to one impatient client
take of the cloud's process (7 % of the whole, measured) is not the start's."""


def plugs() -> list[Row]:
    return asyncio.run(_plugs())


async def _plugs() -> list[Row]:
    namespace = f"polyport-bench-{os.getpid()}"
    dataplane = BridgeDataplane(DataplaneConfig(namespace=namespace))
    await dataplane.open()
    rows = []
    try:
        for count, times in ((1, 5), (NICS, 5), (96, 1), (960, 1)):
            spent = [await _plug_servers(dataplane, count) for _ in range(times)]
            ports = f"{count} ports" + (f" of {count // NICS} servers" if count > NICS else f", best of {times}")
            target = 25 if count == NICS else None
            rows.append(Row(f"plug of {ports}, rules included", min(plug for plug, _ in spent), "ms", target))
            rows.append(Row(f"unplug of {ports}, guests gone", min(unplug for _, unplug in spent), "ms", None))
    finally:
        await dataplane.close()
        subprocess.run(["ip", "netns", "delete", namespace], check=False)
    return rows


async def _plug_servers(dataplane: BridgeDataplane, count: int) -> tuple[float, float]:
    """Milliseconds to plug so many ports, and to unplug them, server by server as the agent does it."""
    net = network()
    vifs = [vif(net, number) for number in range(count)]
    servers = [vifs[start : start + NICS] for start in range(0, count, NICS)]
    taps: list[int] = []
    begin = time.perf_counter()
    for server in servers:
        taps += await dataplane.plug_all(server)
    plugged = time.perf_counter() - begin
    # Taps go with the guest that holds them.
    for tap in taps:
        os.close(tap)
    begin = time.perf_counter()
    for server in servers:
        await dataplane.unplug(*(each.nic.port_id for each in server))
    return plugged * 1000, (time.perf_counter() - begin) * 1000


def guest_start(cloud: ScratchCloud) -> list[Row]:
    """POST until QEMU runs the guest's CPUs, 8 NICs: what the platform adds to the guest's own boot."""
    files = build(say=lambda text: None)
    caller = Caller(cloud)
    images = {}
    for name, kind in (("vmlinuz", "aki"), ("initrd", "ari")):
        images[name] = _image(caller, {"name": name, "disk_format": kind, "container_format": kind}, files / name)
    extra = {"kernel_id": images["vmlinuz"], "ramdisk_id": images["initrd"], "os_command_line": KERNEL_ARGUMENTS}
    body = {"name": "vnf", "disk_format": "qcow2", "container_format": "bare", **extra}
    image = _image(caller, body, files / "disk.qcow2")
    network_id = caller.call("POST", "/network/v2.0/networks", {"network": {"name": "n"}})["network"]["id"]
    subnet = {"network_id": network_id, "ip_version": 4, "cidr": "10.9.0.0/16"}
    caller.call("POST", "/network/v2.0/subnets", {"subnet": subnet})
    flavor = {"flavor": {"name": "g", "ram": 160, "vcpus": 1, "disk": 0}}
    flavor_id = caller.call("POST", "/compute/v2.1/flavors", flavor)["flavor"]["id"]
    spent, own, deleted = [], [], []
    for _ in range(5):
        server = {"name": "g", "imageRef": image, "flavorRef": flavor_id, "networks": [{"uuid": network_id}] * NICS}
        begin = time.perf_counter()
        made = caller.call("POST", "/compute/v2.1/servers", {"server": server})["server"]["id"]
        path = f"/compute/v2.1/servers/{made}"
        time.sleep(_HEAD_START)
        until(lambda path=path: caller.call("GET", path)["server"]["status"] == "ACTIVE", 60, 0.002)  # type: ignore[misc]
        spent.append((time.perf_counter() - begin) * 1000)
        running = record.read_guest(cloud.server_directory(made))
        assert running is not None
        with tempfile.TemporaryDirectory(prefix="polyport-") as directory:
            guest = copied(running, Path(directory))
            begin = time.perf_counter()
            caller.call("DELETE", path)
            # The end of one server must not take time of the next one's start.
            until(lambda made=made: not cloud.server_directory(made).exists(), 60, 0.005)  # type: ignore[misc]
            deleted.append((time.perf_counter() - begin) * 1000)
            own.append(own_start(guest, Path(directory), f"{cloud.namespace}-own"))
    return [
        Row(f"real guest, POST to running, {NICS} NICs, best of 5", min(spent), "ms", 150),
        Row("what of this the emulator takes when started by hand, best of 5", min(own), "ms", None),
        Row("what of this is the platform's own: one less the other", min(spent) - min(own), "ms", None),
        Row(f"real guest, DELETE to all gone, {NICS} NICs, best of 5", min(deleted), "ms", None),
    ]


def _image(caller: Caller, body: dict[str, str], file: os.PathLike[str]) -> str:
    import http.client

    made: str = caller.call("POST", "/image/v2/images", body)["id"]
    connection = http.client.HTTPConnection("127.0.0.1", caller.cloud.port)
    headers = {"x-auth-token": caller.token, "content-type": "application/octet-stream"}
    connection.request("PUT", f"/image/v2/images/{made}/file", Path(file).read_bytes(), headers)
    answer = connection.getresponse()
    if answer.status != 204:
        raise RuntimeError(f"upload: {answer.status} {json.dumps(answer.read().decode())}")
    connection.close()
    return made
