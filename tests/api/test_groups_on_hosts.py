"""Security groups on their way from the API to the host."""

import asyncio
from collections.abc import Callable

from polyport.dataplane.fake import FakeDataplane, FakeNetworks
from polyport.ids import SecurityGroupId
from polyport.plan import HostReport, RefusedGroup, RulePlan, SecurityGroupPlan
from tests.api.client import Client, TestCloud
from tests.api.stock import make_network, make_server
from tests.api.test_plans import Host, host

__all__ = ["host"]


def host_of(cloud: TestCloud) -> FakeNetworks:
    dataplane = cloud.cloud.dataplane
    assert isinstance(dataplane, FakeDataplane)
    return dataplane.networks


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


async def add_rule(client: Client, group_id: str, **rule: object) -> str:
    body = {"security_group_id": group_id, "direction": "ingress", **rule}
    rule_id: str = (await client.made("/network/security-group-rules", {"security_group_rule": body}))["id"]
    return rule_id


async def make_group(client: Client, name: str) -> SecurityGroupId:
    group_id: SecurityGroupId = (await client.made("/network/security-groups", {"security_group": {"name": name}}))[
        "id"
    ]
    return group_id


def meaning(plan: SecurityGroupPlan) -> set[tuple[object, ...]]:
    def said(rule: RulePlan) -> tuple[object, ...]:
        span = (rule.port_range_min, rule.port_range_max)
        return rule.direction, rule.ethertype, rule.protocol, *span, rule.remote_ip_prefix or rule.remote_group_id

    return {said(rule) for rule in plan.rules}


OUT = {("egress", "IPv4", None, None, None, None), ("egress", "IPv6", None, None, None, None)}


async def test_a_server_brings_its_default_group_along(client: Client, cloud: TestCloud) -> None:
    await make_server(client, nics=2)
    default: SecurityGroupId = (await client.get("/network/security-groups")).json()["security_groups"][0]["id"]
    host = host_of(cloud)
    assert [vif.nic.security_groups for vif in host.plans.values()] == [(default,)] * 2
    inward = {("ingress", version, None, None, None, default) for version in ("IPv4", "IPv6")}
    assert meaning(host.groups[default]) == OUT | inward


async def test_a_rule_reaches_the_host_of_a_running_server_and_leaves_it(client: Client, cloud: TestCloud) -> None:
    web, peers, unused = [await make_group(client, name) for name in ("web", "peers", "unused")]
    server = await make_server(client, nics=1, security_groups=[{"name": "web"}])
    host = host_of(cloud)
    assert meaning(host.groups[web]) == OUT
    assert unused not in host.groups
    plans = dict(host.plans)
    rule = await add_rule(client, web, protocol="tcp", port_range_min=80, port_range_max=90)
    await until(lambda: ("ingress", "IPv4", 6, 80, 90, None) in meaning(host.groups[web]))
    await add_rule(client, web, protocol="icmp", ethertype="IPv6", port_range_min=128)
    await add_rule(client, web, protocol="ip", remote_ip_prefix="192.0.2.0/24")
    await add_rule(client, web, remote_group_id=peers)
    more = {
        ("ingress", "IPv6", 58, 128, None, None),
        ("ingress", "IPv4", None, None, None, "192.0.2.0/24"),
        ("ingress", "IPv4", None, None, None, peers),
    }
    await until(lambda: meaning(host.groups[web]) == OUT | more | {("ingress", "IPv4", 6, 80, 90, None)})
    assert meaning(host.groups[peers]) == OUT
    assert (await client.delete(f"/network/security-group-rules/{rule}")).status_code == 204
    await until(lambda: meaning(host.groups[web]) == OUT | more)
    assert (await client.delete(f"/network/security-groups/{peers}")).status_code == 204
    await until(lambda: meaning(host.groups[web]) == OUT | more - {("ingress", "IPv4", None, None, None, peers)})
    assert host.plans == plans, "no vif was touched for all that"
    assert (await client.get(f"/compute/servers/{server['id']}")).json()["server"]["status"] == "ACTIVE"


async def test_a_port_in_use_changes_its_groups(client: Client, cloud: TestCloud) -> None:
    web = await make_group(client, "web")
    await add_rule(client, web, protocol="udp", port_range_min=53, port_range_max=53)
    server = await make_server(client, nics=1)
    host = host_of(cloud)
    port = (await client.get(f"/network/ports?device_id={server['id']}")).json()["ports"][0]["id"]
    assert web not in host.groups
    answer = await client.put(f"/network/ports/{port}", {"port": {"security_groups": [web]}})
    assert answer.status_code == 200, answer.text
    await until(lambda: [vif.nic.security_groups for vif in host.plans.values()] == [(web,)])
    assert ("ingress", "IPv4", 17, 53, 53, None) in meaning(host.groups[web])


async def test_a_port_without_a_word_is_in_the_default_group(client: Client) -> None:
    network_id = await make_network(client)
    default: SecurityGroupId = (await client.get("/network/security-groups")).json()["security_groups"][0]["id"]
    for said, groups in (({}, [default]), ({"security_groups": []}, []), ({"port_security_enabled": False}, [])):
        port = await client.made("/network/ports", {"port": {"network_id": network_id, **said}})
        assert port["security_groups"] == groups


async def test_refused_rules_never_reach_the_host(client: Client, cloud: TestCloud) -> None:
    await make_server(client, nics=1)
    default: SecurityGroupId = (await client.get("/network/security-groups")).json()["security_groups"][0]["id"]
    before = host_of(cloud).groups[default]
    good = {"security_group_id": default, "direction": "ingress", "protocol": "tcp"}
    bad = {**good, "port_range_min": 90, "port_range_max": 80}
    body = {"security_group_rules": [{**good, "port_range_min": 1, "port_range_max": 2}, bad]}
    answer = await client.post("/network/security-group-rules", body)
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (400, "SecurityGroupInvalidPortRange")
    stateless = await client.post("/network/security-groups", {"security_group": {"name": "x", "stateful": False}})
    assert stateless.status_code == 400
    assert "tateless" in stateless.json()["NeutronError"]["message"]
    await add_rule(client, default, protocol="tcp", port_range_min=7, port_range_max=7)
    host = host_of(cloud)
    await until(lambda: host.groups[default] != before)
    assert meaning(host.groups[default]) - meaning(before) == {("ingress", "IPv4", 6, 7, 7, None)}


async def test_a_group_that_its_host_refuses_says_so_until_it_is_had(
    client: Client, other: Client, admin: Client, cloud: TestCloud
) -> None:
    web, _ = [await make_group(client, name) for name in ("web", "fine")]
    await make_server(client, nics=1, security_groups=[{"name": "web"}, {"name": "fine"}])
    path = f"/network/security-groups/{web}"
    assert (await client.get(path)).json()["security_group"]["polyport:refused"] is None
    host_of(cloud).refused.add(web)
    await add_rule(client, web, protocol="tcp", port_range_min=80, port_range_max=90)
    await client.until(path, lambda answer: answer.json()["security_group"]["polyport:refused"] is not None)
    listed = (await client.get("/network/security-groups")).json()["security_groups"]
    assert {group["id"] for group in listed if group["polyport:refused"] is not None} == {web}
    assert "polyport_security_groups_refused 1" in (await admin.get("/metrics")).text.splitlines()
    host_of(cloud).refused.clear()
    await client.until(path, lambda answer: answer.json()["security_group"]["polyport:refused"] is None)
    assert "polyport_security_groups_refused 0" in (await admin.get("/metrics")).text.splitlines()
    assert ("ingress", "IPv4", 6, 80, 90, None) in meaning(host_of(cloud).groups[web])


async def test_a_refused_group_can_be_deleted(client: Client, host: Host) -> None:
    web = await make_group(client, "web")
    refused = RefusedGroup(id=web, reason="Because.")
    for _ in range(2):
        await host.send(HostReport(host=host.name, refused_groups=(refused,)))
    assert (await client.get(f"/network/security-groups/{web}")).json()["security_group"]["polyport:refused"] == (
        "Because."
    )
    assert (await client.delete(f"/network/security-groups/{web}")).status_code == 204
    await host.send(HostReport(host=host.name, refused_groups=(refused,)))
    assert (await client.get("/network/extensions/polyport-refused-groups")).status_code == 200
