"""Hosts as administrators see them: hypervisors, services, availability zones."""

from typing import Any

import pytest

from tests.api.client import Client

USAGE = {"vcpus", "memory_mb", "local_gb", "vcpus_used", "free_ram_mb", "running_vms", "cpu_info"}


async def the_hypervisor(admin: Client, version: str | None = None) -> dict[str, Any]:
    answer = await admin.until(
        "/compute/os-hypervisors/detail", lambda seen: bool(seen.json()["hypervisors"][0]["vcpus"])
    )
    assert answer.status_code == 200
    (found,) = (await admin.get("/compute/os-hypervisors/detail", version)).json()["hypervisors"]
    return dict(found)


async def test_a_host_is_a_hypervisor(admin: Client, client: Client) -> None:
    old = await the_hypervisor(admin)
    assert (old["hypervisor_hostname"], old["state"], old["status"]) == ("localhost", "up", "enabled")
    assert old.keys() > USAGE
    assert isinstance(old["cpu_info"], str)
    assert isinstance(old["id"], int)
    assert (await admin.get(f"/compute/os-hypervisors/{old['id']}")).json()["hypervisor"] == old
    assert (await client.get("/compute/os-hypervisors")).status_code == 403


async def test_its_view_changes_with_the_versions(admin: Client) -> None:
    assert (await the_hypervisor(admin, "2.28"))["cpu_info"] == {}
    new = await the_hypervisor(admin, "2.53")
    assert len(new["id"]) == len(new["service"]["id"]) == 36
    path = f"/compute/os-hypervisors/{new['id']}"
    assert (await admin.get(path, "2.53")).json()["hypervisor"] == new
    assert (await admin.get("/compute/os-hypervisors/1", "2.53")).status_code == 404
    slim = (await admin.get(path, "2.88")).json()["hypervisor"]
    assert not slim.keys() & USAGE
    assert slim["uptime"] is None


async def test_statistics_and_searches_of_old_clients(admin: Client) -> None:
    host = await the_hypervisor(admin)
    sums = (await admin.get("/compute/os-hypervisors/statistics", "2.87")).json()["hypervisor_statistics"]
    assert (sums["count"], sums["vcpus"]) == (1, host["vcpus"])
    assert (await admin.get("/compute/os-hypervisors/statistics", "2.88")).status_code == 404
    for path in ("search", "servers"):
        found = await admin.get(f"/compute/os-hypervisors/local/{path}", "2.52")
        assert [entry["hypervisor_hostname"] for entry in found.json()["hypervisors"]] == ["localhost"]
        assert (await admin.get(f"/compute/os-hypervisors/local/{path}", "2.53")).status_code == 404
        assert (await admin.get(f"/compute/os-hypervisors/zzz/{path}", "2.52")).status_code == 404


async def test_uptime_is_not_known_and_says_so_as_old_clients_expect(admin: Client, client: Client) -> None:
    for version, status in (("2.1", 501), ("2.53", 501), ("2.87", 501), ("2.88", 404)):
        host = await the_hypervisor(admin, version)
        assert (await admin.get(f"/compute/os-hypervisors/{host['id']}/uptime", version)).status_code == status
    assert (await admin.get("/compute/os-hypervisors/zzz/uptime")).status_code == 404
    assert (await client.get("/compute/os-hypervisors/1/uptime")).status_code == 403


async def test_patterns_and_pages(admin: Client) -> None:
    async def count(query: str, version: str = "2.53") -> int:
        answer = await admin.get(f"/compute/os-hypervisors{query}", version)
        assert answer.status_code == 200, answer.text
        return len(answer.json()["hypervisors"])

    (entry,) = (await admin.get("/compute/os-hypervisors", "2.53")).json()["hypervisors"]
    assert await count("?hypervisor_hostname_pattern=local") == 1
    assert await count("?limit=1") == 1
    assert await count(f"?marker={entry['id']}") == 0
    assert await count("?with_servers=true") == 1
    for query in ("?hypervisor_hostname_pattern=local&limit=1", "?marker=zzz", "?limit=-1"):
        assert (await admin.get(f"/compute/os-hypervisors{query}", "2.53")).status_code == 400
    missing = await admin.get("/compute/os-hypervisors?hypervisor_hostname_pattern=zzz", "2.53")
    assert missing.status_code == 404


async def test_a_service_is_disabled_for_a_reason(admin: Client, client: Client) -> None:
    (service,) = (await admin.get("/compute/os-services", "2.53")).json()["services"]
    assert (service["binary"], service["host"], service["status"]) == ("nova-compute", "localhost", "enabled")
    path = f"/compute/os-services/{service['id']}"
    answer = await admin.put(path, {"status": "disabled", "disabled_reason": "new disk"}, "2.53")
    changed = answer.json()["service"]
    assert (changed["status"], changed["disabled_reason"]) == ("disabled", "new disk")
    (zone,) = (await client.get("/compute/os-availability-zone")).json()["availabilityZoneInfo"]
    assert zone["zoneState"] == {"available": False}
    enabled = (await admin.put(path, {"status": "enabled"}, "2.53")).json()["service"]
    assert (enabled["status"], enabled["disabled_reason"]) == ("enabled", None)
    down = (await admin.put(path, {"forced_down": True}, "2.53")).json()["service"]
    assert (down["forced_down"], down["state"]) == (True, "down")
    assert (await client.get("/compute/os-services")).status_code == 403
    assert (await client.put(path, {"status": "enabled"}, "2.53")).status_code == 403


async def test_services_as_old_clients_change_them(admin: Client) -> None:
    body = {"host": "localhost", "binary": "nova-compute"}
    answer = await admin.put("/compute/os-services/disable", body)
    assert answer.json() == {"service": {**body, "status": "disabled"}}
    reason = await admin.put("/compute/os-services/disable-log-reason", {**body, "disabled_reason": "why"})
    assert reason.json()["service"]["disabled_reason"] == "why"
    assert (await admin.put("/compute/os-services/enable", body)).json()["service"]["status"] == "enabled"
    forced = {**body, "forced_down": False}
    assert (await admin.put("/compute/os-services/force-down", forced, "2.10")).status_code == 404
    assert (await admin.put("/compute/os-services/force-down", forced, "2.11")).status_code == 200
    assert (await admin.put("/compute/os-services/explode", body)).status_code == 404
    unknown = await admin.put("/compute/os-services/enable", {**body, "host": "elsewhere"})
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    "body", [{}, {"disabled_reason": "x"}, {"status": "on"}, {"status": "enabled", "disabled_reason": "x"}, []]
)
async def test_bad_changes_are_refused(admin: Client, body: Any) -> None:
    (service,) = (await admin.get("/compute/os-services", "2.53")).json()["services"]
    assert (await admin.put(f"/compute/os-services/{service['id']}", body, "2.53")).status_code == 400
    (after,) = (await admin.get("/compute/os-services", "2.53")).json()["services"]
    assert [after[name] for name in ("status", "disabled_reason")] == ["enabled", None]


async def test_there_is_one_zone(client: Client, admin: Client) -> None:
    zones = (await client.get("/compute/os-availability-zone")).json()["availabilityZoneInfo"]
    assert zones == [{"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}]
    assert (await client.get("/compute/os-availability-zone/detail")).status_code == 403
    (zone,) = (await admin.get("/compute/os-availability-zone/detail")).json()["availabilityZoneInfo"]
    assert zone["hosts"]["localhost"]["nova-compute"]["active"] is True


async def test_hosts_are_in_no_aggregate(admin: Client, client: Client) -> None:
    assert (await admin.get("/compute/os-aggregates")).json() == {"aggregates": []}
    assert (await admin.get("/compute/os-aggregates/1")).status_code == 404
    assert (await client.get("/compute/os-aggregates")).status_code == 403
