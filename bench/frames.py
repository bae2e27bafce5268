"""What a frame costs on its way from guest to guest: ratios between lanes that take turns in one run.

    namespace a --veth-- tap.. [ bridge, rules ] tap.. --veth-- namespace b

A lane is a network namespace of its own with a bridge and two ports. The namespaces at both ends stand in for guests:
once the driver has plugged their ports, a veth of the same name takes the place of the tap, so that frames are made and
taken by the kernel and the lane itself is what is measured. Rules know ports by name, and so apply as they are.

What has arrived is shown as it came, and divided by the processor time of both ends, in which the kernel does the
lane's work too: other work on the machine takes time from a round, and hardly changes what a frame costs.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec.structs import replace

from bench.client import p50
from bench.ports import NICS, network, vif
from bench.table import Row
from polyport.config import DataplaneConfig
from polyport.dataplane import VifPlan
from polyport.dataplane.bridge.driver import BridgeDataplane
from polyport.dataplane.bridge.groups import STATES, TABLE_PREFIX
from polyport.dataplane.bridge.namespace import NamespaceThread
from polyport.dataplane.bridge.nft import Nft
from polyport.ids import SecurityGroupId, new_id
from polyport.names import bridge_of, tap_of
from polyport.plan import RulePlan, SecurityGroupPlan

ROUNDS = 7
_TCP = ("-t", "1")
_UDP = ("-t", "1", "-u", "-b", "0", "-l", "64")

DEFAULT_ID = SecurityGroupId(new_id())
DEFAULT = SecurityGroupPlan(
    id=DEFAULT_ID,
    rules=(
        RulePlan(id=new_id(), direction="egress", ethertype="IPv4"),
        RulePlan(id=new_id(), direction="egress", ethertype="IPv6"),
        RulePlan(id=new_id(), direction="ingress", ethertype="IPv4", remote_group_id=DEFAULT_ID),
        RulePlan(id=new_id(), direction="ingress", ethertype="IPv6", remote_group_id=DEFAULT_ID),
    ),
)
"""The group a project begins with: out to everybody, in from its own members."""


class Lane:
    """Two guests and what is between them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.namespace = f"polyport-bench-{os.getpid()}-{name}"
        self.guests = (f"{self.namespace}-a", f"{self.namespace}-b")
        self.stream: list[float] = []
        """Bits of TCP that arrived in a second, by round."""
        self.tcp: list[float] = []
        """Bits that arrived for each second of processor time, by round."""
        self.udp: list[float] = []
        """The same of datagrams of 64 octets."""
        self._server: asyncio.subprocess.Process | None = None

    def join(self, bridge: str, ends: tuple[tuple[str, str, str], tuple[str, str, str]]) -> None:
        """Put guests on the bridge. An end is the name of the port, and the MAC and address of its guest."""
        for guest, (port, mac, address) in zip(self.guests, ends, strict=True):
            _ip("netns", "add", guest)
            _ip("-n", guest, "link", "add", "eth0", "address", mac, "type", "veth",
                "peer", "name", port, "netns", self.namespace)  # fmt: skip
            _ip("-n", guest, "address", "add", f"{address}/16", "dev", "eth0")
            _ip("-n", guest, "link", "set", "eth0", "up")
            _ip("-n", self.namespace, "link", "set", port, "master", bridge, "up")
        self._address = ends[1][2]

    async def serve(self) -> None:
        """Let guest b answer."""
        self._server = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", self.guests[1], "iperf3", "-s", "--forceflush"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._server.stdout is not None
        await self._server.stdout.readuntil(b"listening")

    async def measure(self) -> None:
        stream = await self._run(*_TCP)
        self.stream.append(stream["sum_received"]["bits_per_second"])
        self.tcp.append(self.stream[-1] / _processors(stream))
        datagrams = await self._run(*_UDP)
        told = datagrams["sum"]
        self.udp.append((told["packets"] - told["lost_packets"]) / told["seconds"] / _processors(datagrams))

    async def close(self) -> None:
        if self._server is not None:
            self._server.terminate()
            await self._server.wait()
        for name in (*self.guests, self.namespace):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)

    async def _run(self, *options: str) -> dict[str, dict[str, float]]:
        process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", self.guests[0], "iperf3", "-J", "-c", self._address, *options),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        told = json.loads(output)
        if process.returncode != 0:
            raise RuntimeError(f"iperf3 in lane {self.name}: {told.get('error')}")
        end: dict[str, dict[str, float]] = told["end"]
        return end


def _processors(told: dict[str, dict[str, float]]) -> float:
    """How many processors both ends have used."""
    used = told["cpu_utilization_percent"]
    return (used["host_total"] + used["remote_total"]) / 100


def run() -> list[Row]:
    if shutil.which("iperf3") is None:
        raise SystemExit("frames are measured with iperf3, which is not here (tools/install iperf3)")
    return asyncio.run(_run())


async def _run() -> list[Row]:
    async with contextlib.AsyncExitStack() as stack:
        plain = await stack.enter_async_context(_plain())
        guarded, _, _ = await stack.enter_async_context(_guarded("guarded", 10))
        await _forget_groups(guarded.namespace)
        few, _, _ = await stack.enter_async_context(_guarded("few", 10))
        many, dataplane, vifs = await stack.enter_async_context(_guarded("many", 1000))
        lanes = (plain, guarded, few, many)
        for lane in lanes:
            await lane.serve()
        for _ in range(ROUNDS):
            for lane in lanes:
                await lane.measure()
        return [*_throughput(*lanes), *await _changes(dataplane, vifs)]


@contextlib.asynccontextmanager
async def _plain() -> AsyncIterator[Lane]:
    """A bridge and nothing else."""
    lane = Lane("plain")
    try:
        _ip("netns", "add", lane.namespace)
        _ip("-n", lane.namespace, "link", "add", "bridge", "type", "bridge")
        _ip("-n", lane.namespace, "link", "set", "bridge", "up")
        ends = [(f"port{each}", f"fa:16:3e:00:00:0{each}", f"10.8.0.{each}") for each in (1, 2)]
        lane.join("bridge", (ends[0], ends[1]))
        yield lane
    finally:
        await lane.close()


@contextlib.asynccontextmanager
async def _guarded(name: str, count: int) -> AsyncIterator[tuple[Lane, BridgeDataplane, list[VifPlan]]]:
    """A bridge of polyport's with everything on and so many ports, of servers with eight NICs each; the guests have the
    first ports of two servers."""
    lane = Lane(name)
    dataplane = BridgeDataplane(DataplaneConfig(namespace=lane.namespace))
    await dataplane.open()
    taps: dict[str, int] = {}
    try:
        await dataplane.ensure_groups([DEFAULT])
        net = network()
        vifs = [vif(net, number, groups=(DEFAULT_ID,)) for number in range(count)]
        for each in vifs:
            taps[tap_of(each.nic.port_id)] = await dataplane.plug(each)
        ends = []
        for each in (vifs[0], vifs[NICS]):
            port = tap_of(each.nic.port_id)
            os.close(taps.pop(port))
            ends.append((port, each.nic.mac_address, each.nic.fixed_ips[0].ip_address))
        lane.join(bridge_of(net.id), (ends[0], ends[1]))
        yield lane, dataplane, vifs
    finally:
        for descriptor in taps.values():
            os.close(descriptor)
        await dataplane.close()
        await lane.close()


async def _forget_groups(namespace: str) -> None:
    """Take away what security groups have put in: port security and the storm guard remain."""

    def forget() -> None:
        nft = Nft()
        for entry in nft.read("list tables"):
            table = entry.get("table", {})
            if table.get("name", "").startswith((TABLE_PREFIX, STATES)):
                nft.run(f"delete table {table['family']} {table['name']}\n")
        nft.close()
        for switch in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
            switch.write_text("0")

    thread = NamespaceThread(namespace)
    await thread.open()
    await thread.run(forget)
    await thread.close()


def _throughput(plain: Lane, guarded: Lane, few: Lane, many: Lane) -> list[Row]:
    rows = [
        Row("TCP through a plain bridge, p50", p50(plain.stream) / 1e9, "Gb/s", None),
        Row("TCP through a plain bridge, for each CPU second, p50", p50(plain.tcp) / 1e9, "Gb", None),
        Row("64-octet UDP through a plain bridge, for each CPU second, p50", p50(plain.udp) / 1e3, "k", None),
    ]
    for name, lane, base, target in (
        ("port security and storm guard / plain bridge", guarded, plain, None),
        ("everything on, 10 ports / plain bridge", few, plain, 0.80),
        ("everything on, 1000 ports / plain bridge", many, plain, 0.80),
        ("everything on, 1000 ports / 10 ports", many, few, 0.95),
    ):
        rows += [
            Row(f"TCP, {name}", p50(lane.stream) / p50(base.stream), "x", target, more=True),
            Row(f"TCP for each CPU second, {name}", p50(lane.tcp) / p50(base.tcp), "x", None, more=True),
            Row(f"64-octet UDP for each CPU second, {name}", p50(lane.udp) / p50(base.udp), "x", None, more=True),
        ]
    return rows


async def _changes(dataplane: BridgeDataplane, vifs: list[VifPlan]) -> list[Row]:
    """Until a change is in force in the kernel, with everything that was allowed before and no more is cut."""
    rule = RulePlan(id=new_id(), direction="ingress", ethertype="IPv4", protocol=6, port_range_min=22)
    more = replace(DEFAULT, rules=(*DEFAULT.rules, rule))
    spent: dict[str, list[float]] = {"add": [], "remove": [], "port security": []}
    for _ in range(ROUNDS):
        for name, group in (("add", more), ("remove", DEFAULT)):
            begin = time.perf_counter()
            await dataplane.ensure_groups([group])
            spent[name].append((time.perf_counter() - begin) * 1000)
        nic = vifs[1].nic
        for changed in (replace(nic, port_security_enabled=False, security_groups=()), nic):
            begin = time.perf_counter()
            await dataplane.ensure([replace(vifs[1], nic=changed)])
            spent["port security"].append((time.perf_counter() - begin) * 1000)
    return [
        Row("security group rule added, 1000 ports in the group", p50(spent["add"]), "ms", 1000),
        Row("security group rule removed, 1000 ports in the group", p50(spent["remove"]), "ms", 1000),
        Row("port security of a port switched, 1000 ports", p50(spent["port security"]), "ms", 100),
    ]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
