"""Figures for Prometheus."""

from tests.api.client import Client
from tests.api.test_plans import Host, boot, host

__all__ = ["host"]


async def test_servers_and_ports_are_counted(client: Client, admin: Client) -> None:
    server_id = await boot(client, nics=2)
    await client.until(f"/compute/servers/{server_id}", lambda got: got.json()["server"]["status"] == "ACTIVE")
    answer = await admin.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'polyport_servers{status="ACTIVE"} 1' in lines
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
