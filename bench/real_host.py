"""What the host half costs: real taps, bridges and rules; and a real guest's start."""

import asyncio
import contextlib
import json
import os
import time

from bench.client import Caller, until
from bench.ports import network, vif
from bench.table import Row
from demo.scratch import ScratchCloud
from guest.build import KERNEL_ARGUMENTS, build
from polyport.config import DataplaneConfig
from polyport.dataplane.bridge.driver import BridgeDataplane


def plugs() -> list[Row]:
    return asyncio.run(_plugs())


async def _plugs() -> list[Row]:
    namespace = f"polyport-bench-{os.getpid()}"
    dataplane = BridgeDataplane(DataplaneConfig(namespace=namespace))
    await dataplane.open()
    rows = []
    try:
        for count in (1, 8, 100, 1000):
            net = network()
            vifs = [vif(net, number) for number in range(count)]
            taps = []
            begin = time.perf_counter()
            for each in vifs:
                taps.append(await dataplane.plug(each))
            spent = (time.perf_counter() - begin) * 1000
            target = 25 if count == 8 else None
            rows.append(Row(f"plug of {count} ports, rules included, in all", spent, "ms", target))
            for tap in taps:
                os.close(tap)
            await dataplane.sweep({})
    finally:
        await dataplane.close()
        from pyroute2 import netns

        with contextlib.suppress(OSError):
            netns.remove(namespace)
    return rows


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
    network = caller.call("POST", "/network/v2.0/networks", {"network": {"name": "n"}})["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.9.0.0/16"}
    caller.call("POST", "/network/v2.0/subnets", {"subnet": subnet})
    flavor = {"flavor": {"name": "g", "ram": 160, "vcpus": 1, "disk": 0}}
    flavor_id = caller.call("POST", "/compute/v2.1/flavors", flavor)["flavor"]["id"]
    spent = []
    for _ in range(5):
        server = {"name": "g", "imageRef": image, "flavorRef": flavor_id, "networks": [{"uuid": network}] * 8}
        begin = time.perf_counter()
        made = caller.call("POST", "/compute/v2.1/servers", {"server": server})["server"]["id"]
        path = f"/compute/v2.1/servers/{made}"
        until(lambda path=path: caller.call("GET", path)["server"]["status"] == "ACTIVE", 60, 0.002)  # type: ignore[misc]
        spent.append((time.perf_counter() - begin) * 1000)
        caller.call("DELETE", path)
        until(lambda: not cloud.guests(), 60, 0.02)
    return [Row("real guest, POST to running, 8 NICs, best of 5", min(spent), "ms", 150)]


def _image(caller: Caller, body: dict[str, str], file: os.PathLike[str]) -> str:
    import http.client
    from pathlib import Path

    made: str = caller.call("POST", "/image/v2/images", body)["id"]
    connection = http.client.HTTPConnection("127.0.0.1", caller.cloud.port)
    headers = {"x-auth-token": caller.token, "content-type": "application/octet-stream"}
    connection.request("PUT", f"/image/v2/images/{made}/file", Path(file).read_bytes(), headers)
    answer = connection.getresponse()
    if answer.status != 204:
        raise RuntimeError(f"upload: {answer.status} {json.dumps(answer.read().decode())}")
    connection.close()
    return made
