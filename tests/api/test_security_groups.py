"""Security groups and their rules, through HTTP."""

from typing import Any

import httpx
import pytest

from tests.api.client import Client
from tests.api.stock import make_network

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["NeutronError"]["type"]


async def make_group(client: Client, name: str = "web") -> str:
    group_id: str = (await client.made("/network/security-groups", {"security_group": {"name": name}}))["id"]
    return group_id


async def add_rule(client: Client, group_id: str, **rule: Any) -> httpx.Response:
    body = {"security_group_id": group_id, "direction": "ingress", **rule}
    return await client.post("/network/security-group-rules", {"security_group_rule": body})


async def test_every_project_has_a_default_group_from_its_first_look(client: Client, other: Client) -> None:
    for caller in (client, other):
        groups = (await caller.get("/network/security-groups")).json()["security_groups"]
        assert [group["name"] for group in groups] == ["default"]
        assert groups[0]["project_id"] == caller.project_id
        rules = {
            (rule["direction"], rule["ethertype"], rule["remote_group_id"])
            for rule in groups[0]["security_group_rules"]
        }
        mine = groups[0]["id"]
        assert rules == {
            ("egress", "IPv4", None),
            ("egress", "IPv6", None),
            ("ingress", "IPv4", mine),
            ("ingress", "IPv6", mine),
        }
    assert len((await client.get("/network/security-groups?name=default")).json()["security_groups"]) == 1


async def test_the_default_group_is_neither_renamed_nor_deleted_nor_made(client: Client, admin: Client) -> None:
    default = (await client.get("/network/security-groups")).json()["security_groups"][0]["id"]
    path = f"/network/security-groups/{default}"
    renamed = await client.put(path, {"security_group": {"name": "x"}})
    assert error(renamed) == (409, "SecurityGroupCannotUpdateDefault")
    assert (await client.put(path, {"security_group": {"description": "x"}})).status_code == 200
    assert error(await client.delete(path)) == (409, "SecurityGroupCannotRemoveDefault")
    again = await client.post("/network/security-groups", {"security_group": {"name": "default"}})
    assert error(again) == (409, "SecurityGroupDefaultAlreadyExists")
    assert (await admin.delete(path)).status_code == 204


async def test_a_group_from_its_beginning_to_its_end(client: Client) -> None:
    made = await client.post("/network/security-groups", {"security_group": {"name": "web", "description": "d"}})
    assert made.status_code == 201
    group = made.json()["security_group"]
    assert group["stateful"] is True
    assert [rule["direction"] for rule in group["security_group_rules"]] == ["egress", "egress"]
    path = f"/network/security-groups/{group['id']}"
    assert (await client.get(path)).json()["security_group"] == group
    changed = (await client.put(path, {"security_group": {"name": "www"}})).json()["security_group"]
    assert changed["name"] == "www"
    assert (await client.delete(path)).status_code == 204
    assert error(await client.get(path)) == (404, "SecurityGroupNotFound")
    assert (await client.get(f"/network/security-group-rules?security_group_id={group['id']}")).json() == {
        "security_group_rules": []
    }


async def test_a_group_that_ports_have_stays(client: Client) -> None:
    network, group = await make_network(client), await make_group(client)
    body = {"network_id": network, "security_groups": [group, group]}
    assert error(await client.post("/network/ports", {"port": body})) == (400, "InvalidInput")
    body = {"network_id": network, "security_groups": [group]}
    port = await client.made("/network/ports", {"port": body})
    assert port["security_groups"] == [group]
    found = (await client.get(f"/network/ports?security_groups={group}")).json()["ports"]
    assert [entry["id"] for entry in found] == [port["id"]]
    assert error(await client.delete(f"/network/security-groups/{group}")) == (409, "SecurityGroupInUse")
    assert (await client.put(f"/network/ports/{port['id']}", {"port": {"security_groups": []}})).status_code == 200
    assert (await client.delete(f"/network/security-groups/{group}")).status_code == 204


async def test_a_rule_from_its_beginning_to_its_end(client: Client) -> None:
    group = await make_group(client)
    made = await add_rule(
        client, group, protocol="TCP", port_range_min=22, port_range_max="22", remote_ip_prefix="10.1.2.3/16"
    )
    assert made.status_code == 201
    rule = made.json()["security_group_rule"]
    assert (rule["protocol"], rule["port_range_min"], rule["port_range_max"]) == ("tcp", 22, 22)
    assert rule["remote_ip_prefix"] == "10.1.0.0/16"
    assert rule["ethertype"] == "IPv4"
    path = f"/network/security-group-rules/{rule['id']}"
    assert (await client.get(path)).json()["security_group_rule"] == rule
    again = await add_rule(
        client, group, protocol="6", port_range_min=22, port_range_max=22, remote_ip_prefix="10.1.0.0/16"
    )
    assert error(again) == (409, "SecurityGroupRuleExists")
    assert rule["id"] in again.json()["NeutronError"]["message"]
    assert (await client.delete(path)).status_code == 204
    assert error(await client.get(path)) == (404, "SecurityGroupRuleNotFound")


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"protocol": "any", "ethertype": "ipv6"},
        {"protocol": 132, "port_range_min": 1, "port_range_max": 65535},
        {"protocol": "icmp", "port_range_min": 8, "port_range_max": 0},
        {"protocol": "icmp", "port_range_min": 8},
        {"protocol": "icmp", "ethertype": "IPv6"},
        {"protocol": "vrrp", "direction": "egress"},
        {"remote_ip_prefix": "2001:db8::/32", "ethertype": "IPv6"},
        {"remote_ip_prefix": "192.0.2.1"},
    ],
)
async def test_rules_that_are_good(client: Client, rule: dict[str, Any]) -> None:
    answer = await add_rule(client, await make_group(client), **rule)
    assert answer.status_code == 201, answer.text
    made = answer.json()["security_group_rule"]
    listed = (await client.get(f"/network/security-group-rules?id={made['id']}")).json()["security_group_rules"]
    assert listed == [made]
    for name, unset in (("direction", "ingress"), ("port_range_min", None), ("port_range_max", None)):
        assert made[name] == rule.get(name, unset)


@pytest.mark.parametrize(
    ("rule", "refusal"),
    [
        ({"protocol": "tcp", "port_range_min": 9, "port_range_max": 8}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_min": 9}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_min": 0, "port_range_max": 9}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "udp", "port_range_min": 1, "port_range_max": 65536}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "udp", "port_range_min": "x", "port_range_max": 9}, "SecurityGroupInvalidPortValue"),
        ({"port_range_min": 1, "port_range_max": 9}, "SecurityGroupProtocolRequiredWithPorts"),
        ({"protocol": "gre", "port_range_min": 1, "port_range_max": 9}, "SecurityGroupInvalidProtocolForPort"),
        ({"protocol": "icmp", "port_range_max": 0}, "SecurityGroupMissingIcmpType"),
        ({"protocol": "icmp", "port_range_min": 256}, "SecurityGroupInvalidIcmpValue"),
        ({"protocol": "nonsense"}, "SecurityGroupInvalidProtocol"),
        ({"protocol": 256}, "SecurityGroupInvalidProtocol"),
        ({"protocol": -1}, "SecurityGroupInvalidProtocol"),
        ({"ethertype": "IPX"}, "SecurityGroupRuleInvalidEtherType"),
        ({"protocol": "ipv6-icmp"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"remote_ip_prefix": "2001:db8::/32"}, "SecurityGroupRuleParameterConflict"),
        ({"remote_ip_prefix": "nonsense"}, "InvalidInput"),
        ({"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": UNKNOWN}, "SecurityGroupRemoteGroupAndRemoteIpPrefix"),
        ({"direction": "sideways"}, "InvalidInput"),
        ({"colour": "blue"}, "HTTPBadRequest"),
    ],
)
async def test_rules_that_cannot_be(client: Client, rule: dict[str, Any], refusal: str) -> None:
    group = await make_group(client)
    assert error(await add_rule(client, group, **rule)) == (400, refusal)
    rules = (await client.get(f"/network/security-groups/{group}")).json()["security_group"]["security_group_rules"]
    assert len(rules) == 2


async def test_groups_of_others_are_not_there(client: Client, other: Client) -> None:
    group = await make_group(client)
    path = f"/network/security-groups/{group}"
    assert (await other.get(path)).status_code == 404
    assert (await other.put(path, {"security_group": {"name": "x"}})).status_code == 404
    assert (await other.delete(path)).status_code == 404
    assert error(await add_rule(other, group)) == (404, "SecurityGroupNotFound")
    theirs = await make_group(other)
    assert error(await add_rule(other, theirs, remote_group_id=group)) == (404, "SecurityGroupNotFound")
    rule = (await add_rule(client, group)).json()["security_group_rule"]["id"]
    assert (await other.get(f"/network/security-group-rules/{rule}")).status_code == 404
    assert (await other.delete(f"/network/security-group-rules/{rule}")).status_code == 404


async def test_a_rule_that_names_a_group_goes_with_it(client: Client) -> None:
    web, db = await make_group(client, "web"), await make_group(client, "db")
    assert (await add_rule(client, db, remote_group_id=web, protocol="tcp")).status_code == 201
    assert (await client.delete(f"/network/security-groups/{web}")).status_code == 204
    rules = (await client.get(f"/network/security-groups/{db}")).json()["security_group"]["security_group_rules"]
    assert [rule["direction"] for rule in rules] == ["egress", "egress"]


async def test_stateless_groups_are_refused_and_not_pretended(client: Client) -> None:
    body = {"security_group": {"name": "x", "stateful": False}}
    assert error(await client.post("/network/security-groups", body)) == (400, "InvalidInput")
    group = await make_group(client)
    answer = await client.put(f"/network/security-groups/{group}", {"security_group": {"stateful": False}})
    assert answer.status_code == 400


async def test_many_rules_in_one_request_or_none(client: Client) -> None:
    group = await make_group(client)
    rules = [
        {
            "security_group_id": group,
            "direction": "ingress",
            "protocol": "tcp",
            "port_range_min": n,
            "port_range_max": n,
        }
        for n in (80, 443)
    ]
    made = await client.post("/network/security-group-rules", {"security_group_rules": rules})
    assert [rule["port_range_min"] for rule in made.json()["security_group_rules"]] == [80, 443]
    more = [{**rules[0], "port_range_min": 22, "port_range_max": 22}, rules[1]]
    refused = await client.post("/network/security-group-rules", {"security_group_rules": more})
    assert error(refused) == (409, "SecurityGroupRuleExists")
    left = (await client.get(f"/network/security-group-rules?security_group_id={group}&protocol=tcp")).json()
    assert len(left["security_group_rules"]) == 2


async def test_as_many_rules_as_the_quota_has_room_for_and_not_one_more(client: Client, admin: Client) -> None:
    group, other = await make_group(client), await make_group(client, "db")
    quota = f"/network/quotas/{client.project_id}"
    used = (await client.get(f"{quota}/details.json")).json()["quota"]["security_group_rule"]["used"]
    await admin.put(quota, {"quota": {"security_group_rule": used + 3}})
    rules = [
        {"security_group_id": group, "direction": "ingress", "protocol": "tcp", "remote_ip_prefix": f"192.0.2.{n}"}
        for n in range(3)
    ]
    rules[2]["security_group_id"] = other
    twice = await client.post("/network/security-group-rules", {"security_group_rules": [*rules[:2], rules[0]]})
    assert error(twice) == (409, "SecurityGroupRuleExists")
    one_more = {**rules[0], "remote_ip_prefix": "192.0.2.3"}
    refused = await client.post("/network/security-group-rules", {"security_group_rules": [*rules, one_more]})
    assert error(refused) == (409, "OverQuota")
    assert (await client.get("/network/security-group-rules?protocol=tcp")).json()["security_group_rules"] == []
    made = await client.post("/network/security-group-rules", {"security_group_rules": rules})
    found = made.json()["security_group_rules"]
    assert [rule["remote_ip_prefix"] for rule in found] == [f"192.0.2.{n}/32" for n in range(3)]
    assert [rule["security_group_id"] for rule in found] == [group, group, other]
    assert (await client.get(f"{quota}/details.json")).json()["quota"]["security_group_rule"]["used"] == used + 3
