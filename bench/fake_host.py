"""What the control plane costs: everything real but guests and frames."""

import json
import threading
import time
from typing import Any

from bench.client import Caller, p50, p99, until
from bench.table import Row
from demo.scratch import ScratchCloud

ROUNDS = 60


class Bed:
    """A cloud on the fake host with an image, a flavor and a network."""

    def __init__(self, cloud: ScratchCloud) -> None:
        self.cloud = cloud
        self.caller = Caller(cloud)
        call = self.caller.call
        self.network = call("POST", "/network/v2.0/networks", {"network": {"name": "bench"}})["network"]["id"]
        subnet = {"network_id": self.network, "ip_version": 4, "cidr": "10.0.0.0/13"}
        call("POST", "/network/v2.0/subnets", {"subnet": subnet})
        flavor = {"flavor": {"name": "bench", "ram": 64, "vcpus": 1, "disk": 0}}
        self.flavor = call("POST", "/compute/v2.1/flavors", flavor)["flavor"]["id"]
        image = call("POST", "/image/v2/images", {"name": "b", "disk_format": "raw", "container_format": "bare"})
        self.image = image["id"]
        self._upload(b"\0" * 512)

    def body(self, nics: int, **more: Any) -> dict[str, Any]:
        networks: Any = [{"uuid": self.network}] * nics if nics else "none"
        server = {"name": "b", "imageRef": self.image, "flavorRef": self.flavor, "networks": networks, **more}
        return {"server": server}

    def boot(self, nics: int, caller: Caller | None = None, **more: Any) -> tuple[str, float]:
        """(server id, milliseconds of the POST)"""
        status, content, spent = (caller or self.caller).timed("POST", "/compute/v2.1/servers", self.body(nics, **more))
        if status != 202:
            raise RuntimeError(f"POST /servers: {status} {content[:500]!r}")
        return json.loads(content)["server"]["id"], spent

    def wait_active(self, server: str, caller: Caller | None = None) -> None:
        chosen = caller or self.caller

        def active() -> bool:
            status = chosen.call("GET", f"/compute/v2.1/servers/{server}")["server"]["status"]
            if status == "ERROR":
                raise RuntimeError("the server is in ERROR")
            return bool(status == "ACTIVE")

        until(active)

    def wait_quiet(self) -> None:
        """Wait until nothing is being made, and nothing that was deleted is being cleaned up."""
        until(lambda: self.caller.call("GET", "/compute/v2.1/servers?status=BUILD&limit=1")["servers"] == [], 600, 0.05)

        def idle() -> bool:
            before = self.cloud.processor_seconds()
            time.sleep(0.05)
            return self.cloud.processor_seconds() - before < 0.002

        until(idle, 600)

    def delete(self, servers: list[str]) -> None:
        for server in servers:
            self.caller.call("DELETE", f"/compute/v2.1/servers/{server}")

    def _upload(self, content: bytes) -> None:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.cloud.port)
        headers = {"x-auth-token": self.caller.token, "content-type": "application/octet-stream"}
        connection.request("PUT", f"/image/v2/images/{self.image}/file", content, headers)
        assert connection.getresponse().status == 204
        connection.close()


def run(cloud: ScratchCloud) -> list[Row]:
    rows = [Row("idle RSS", cloud.resident_kib() / 1024, "MiB", 100)]
    bed = Bed(cloud)
    empty = posts(bed)
    rows += empty
    rows += to_active(bed)
    rows += attaches(bed)
    rows += rate(bed)
    rows += lists(bed)
    rows += stored(bed, empty)
    return rows


def posts(bed: Bed) -> list[Row]:
    """A POST as its client sees it: when the server before it is ACTIVE, and while its host still starts that."""
    rows = []
    for nics in (1, 4, 8, 16):
        targets = (3, 15) if nics == 8 else (None, None)
        rows += latency(f"POST /servers, {nics} NICs on one network", alone(bed, nics), *targets)
    made = [bed.boot(8) for _ in range(ROUNDS)]
    bed.wait_quiet()
    bed.delete([server for server, _ in made])
    return rows + latency("POST /servers, 8 NICs, back to back", [spent for _, spent in made][5:])


def alone(bed: Bed, nics: int) -> list[float]:
    """The milliseconds of POSTs, each sent when the server before it is ACTIVE."""
    bed.wait_quiet()
    made = []
    for _ in range(ROUNDS):
        made.append(bed.boot(nics))
        bed.wait_active(made[-1][0])
    bed.delete([server for server, _ in made])
    return [spent for _, spent in made][5:]


def latency(name: str, spent: list[float], median: float | None = None, worst: float | None = None) -> list[Row]:
    return [
        Row(f"{name}, p50", p50(spent), "ms", median, best=min(spent)),
        Row(f"{name}, p99", p99(spent), "ms", worst),
    ]


def to_active(bed: Bed) -> list[Row]:
    spent = []
    for _ in range(ROUNDS // 2):
        begin = time.perf_counter()
        server, _ = bed.boot(8)
        bed.wait_active(server)
        spent.append((time.perf_counter() - begin) * 1000)
        bed.delete([server])
    return [Row("POST to ACTIVE, 8 NICs, p50", p50(spent), "ms", 30, best=min(spent))]


def attaches(bed: Bed) -> list[Row]:
    found = {}
    for present in (1, 30):
        server, _ = bed.boot(present)
        bed.wait_active(server)
        spent, listed = [], []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            body = {"interfaceAttachment": {"net_id": bed.network}}
            path = f"/compute/v2.1/servers/{server}/os-interface"
            port = bed.caller.call("POST", path, body)["interfaceAttachment"]["port_id"]
            spent.append((time.perf_counter() - begin) * 1000)
            bed.caller.call("GET", f"{path}/{port}")
            listed.append((time.perf_counter() - begin) * 1000)
            bed.caller.call("DELETE", f"{path}/{port}")
        found[present] = (p50(spent), listed)
        bed.delete([server])
    return [
        Row("attach to listed, 1 NIC present, p50", p50(found[1][1]), "ms", 10, best=min(found[1][1])),
        Row("attach to listed, 30 NICs present, p50", p50(found[30][1]), "ms", None, best=min(found[30][1])),
        Row("attach with 30 NICs / with 1", found[30][0] / found[1][0], "x", 1.2),
    ]


def rate(bed: Bed, clients: int = 8, each: int = 50) -> list[Row]:
    """Servers of 4 NICs a second, from the first POST to the last server ACTIVE."""
    made: list[str] = []

    def work() -> None:
        caller = Caller(bed.cloud, bed.caller.token)
        for _ in range(each):
            made.append(bed.boot(4, caller)[0])
        caller.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bed.wait_quiet()
    spent = time.perf_counter() - begin
    bed.delete(made)
    return [Row(f"servers with 4 NICs to ACTIVE, {clients} clients", len(made) / spent, "per s", 200, more=True)]


def lists(bed: Bed) -> list[Row]:
    rows = []
    for count, target in ((50, 3), (1000, 40)):
        have = len(bed.caller.call("GET", "/compute/v2.1/servers")["servers"])
        while have < count:
            more = min(count - have, 50)
            bed.boot(4, min_count=more, max_count=more)
            have += more
        bed.wait_quiet()
        path = f"/compute/v2.1/servers/detail?limit={count}"
        spent = [bed.caller.timed("GET", path)[2] for _ in range(ROUNDS)]
        name = f"GET /servers/detail, {count} servers x 4 NICs, p50"
        rows.append(Row(name, p50(spent), "ms", target, best=min(spent)))
    return rows


def stored(bed: Bed, empty: list[Row], count: int = 10_000) -> list[Row]:
    have = 1000
    while have < count:
        bed.boot(1, min_count=100, max_count=100)
        have += 100
    bed.wait_quiet()
    full = latency(f"POST /servers, 8 NICs, {count} servers stored", alone(bed, 8))
    before = next(row.value for row in empty if row.name == "POST /servers, 8 NICs on one network, p50")
    return [
        *full,
        Row("... / the same in an empty cloud, p50", full[0].value / before, "x", 1.5),
        Row(f"RSS with {count} servers", bed.cloud.resident_kib() / 1024, "MiB", None),
    ]
