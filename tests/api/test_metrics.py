"""Figures for Prometheus."""

import re
from pathlib import Path

from tests.api.client import Client, TestCloud
from tests.api.stock import make_server
from tests.api.test_groups_on_hosts import host_of
from tests.api.test_plans import Host, boot, host
from tests.api.test_port_counters import busy

__all__ = ["host"]


async def test_servers_and_ports_are_counted(client: Client, admin: Client) -> None:
    server_id = await boot(client, nics=2)
    await client.until(f"/compute/servers/{server_id}", lambda got: got.json()["server"]["status"] == "ACTIVE")
    answer = await admin.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'polyport_servers{status="ACTIVE"} 1' in lines
    assert 'polyport_guests{power="running"} 1' in lines
    for port in (await client.get(f"/network/v2.0/ports?device_id={server_id}")).json()["ports"]:
        mine = [line for line in lines if f'port="{port["id"]}"' in line]
        assert sum("_total{" in line for line in mine) == 4
        assert sum(line.startswith("polyport_port_quarantined{") and line.endswith("} 0") for line in mine) == 1
        assert all(f'server="{server_id}"' in line and f'network="{port["network_id"]}"' in line for line in mine)


async def test_a_quarantined_port_is_a_figure(client: Client, admin: Client, host: Host) -> None:
    await boot(client, nics=2)
    plan = await host.one()
    await host.report(plan, quarantined=(2,))
    lines = [line for line in (await admin.get("/metrics")).text.splitlines() if "quarantined{" in line]
    assert [line[-1] for line in lines] == ["0", "1"]
    assert 'slot="2"' in lines[1]


async def test_they_are_for_administrators(client: Client) -> None:
    assert (await client.get("/metrics")).status_code == 403


async def test_drops_are_told_by_cause(client: Client, admin: Client, cloud: TestCloud) -> None:
    await make_server(client, nics=2)
    counters = host_of(cloud).counters
    counters[list(counters)[1]] = busy()
    lines = [line for line in (await admin.get("/metrics")).text.splitlines() if "dropped_packets_total{" in line]
    told = {re.sub(r".*slot", "slot", line) for line in lines}
    assert told == {
        'slot="2",direction="ingress",cause="security_group"} 3',
        'slot="2",direction="egress",cause="spoofed_mac"} 9',
    }


async def test_quarantines_are_counted_however_short(client: Client, admin: Client, cloud: TestCloud) -> None:
    server = await make_server(client, nics=2)
    ports = (await client.get(f"/network/v2.0/ports?device_id={server['id']}")).json()["ports"]
    for _ in range(3):
        host_of(cloud).quarantine(ports[1]["id"])
        host_of(cloud).quarantine()
    host_of(cloud).quarantine(*(port["id"] for port in ports))
    lines = (await admin.get("/metrics")).text.splitlines()
    assert "polyport_quarantines_total 5" in lines
    assert "polyport_recoveries_total 3" in lines


async def test_requests_are_counted_and_timed(client: Client, admin: Client) -> None:
    for method in ("GET", "BREW", "MILK"):
        await client.call(method, "/network/networks")
    await client.get("/network/networks/nothing")
    lines = (await admin.get("/metrics")).text.splitlines()
    counted = {line for line in lines if 'requests_total{service="network"' in line}
    assert counted == {
        'polyport_api_requests_total{service="network",method="GET",status="200"} 1',
        'polyport_api_requests_total{service="network",method="GET",status="404"} 1',
        'polyport_api_requests_total{service="network",method="other",status="405"} 2',
    }
    of_network = [line for line in lines if line.startswith("polyport_api_request_duration_seconds")]
    of_network = [line for line in of_network if 'service="network"' in line]
    counts = [float(line.rpartition(" ")[2]) for line in of_network if "_bucket{" in line]
    assert counts == sorted(counts)
    assert 'polyport_api_request_duration_seconds_bucket{service="network",le="+Inf"} 4' in of_network
    assert 'polyport_api_request_duration_seconds_count{service="network"} 4' in of_network


async def test_the_agent_says_when_it_last_was_well(client: Client, admin: Client) -> None:
    async def last() -> float:
        name = "polyport_agent_last_round_timestamp_seconds "
        found = [line for line in (await admin.get("/metrics")).text.splitlines() if line.startswith(name)]
        return float(found[0].removeprefix(name)) if found else 0.0

    before = await last()
    await make_server(client, nics=1)
    assert await last() > before


async def test_every_figure_is_described(client: Client, admin: Client) -> None:
    await make_server(client, nics=1)
    text = (await admin.get("/metrics")).text
    described = set(re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", text, re.MULTILINE))
    assert set(re.findall(r"^# HELP (\S+) .", text, re.MULTILINE)) == described
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"^(\w+)[{ ]", text, re.MULTILINE)}
    assert used <= described
    page = (Path(__file__).parents[2] / "docs" / "figures.md").read_text()
    assert set(re.findall(r"`(polyport_\w+)", page)) == described
