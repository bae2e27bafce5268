"""Quotas: shown to a project, set by administrators."""

from pathlib import Path
from typing import Any

import pytest

from polyport.config import Limits
from tests.api.client import Client, TestCloud

OF_NETWORKS = {"floating_ips", "fixed_ips", "security_groups", "security_group_rules"}
OF_FILES = {"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"}


async def quotas(client: Client, project_id: str, version: str | None = None, more: str = "") -> dict[str, Any]:
    answer = await client.get(f"/compute/os-quota-sets/{project_id}{more}", version)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["quota_set"]
    return found


async def test_a_project_sees_its_own_quotas(client: Client, other: Client) -> None:
    found = await quotas(client, client.project_id)
    assert found["id"] == client.project_id
    assert (found["instances"], found["cores"], found["server_groups"]) == (10000, 40000, 10)
    assert await quotas(client, client.project_id, more="/defaults") == found
    assert (await client.get(f"/compute/os-quota-sets/{other.project_id}")).status_code == 403


async def test_names_go_with_the_versions(client: Client) -> None:
    first = await quotas(client, client.project_id, "2.1")
    middle = await quotas(client, client.project_id, "2.36")
    last = await quotas(client, client.project_id, "2.57")
    assert first.keys() - middle.keys() == OF_NETWORKS
    assert middle.keys() - last.keys() == OF_FILES


async def test_an_administrator_sets_and_resets_them(client: Client, admin: Client) -> None:
    path = f"/compute/os-quota-sets/{client.project_id}"
    answer = await admin.put(path, {"quota_set": {"instances": 3, "cores": "-1"}})
    assert answer.status_code == 200
    assert (answer.json()["quota_set"]["instances"], answer.json()["quota_set"]["cores"]) == (3, -1)
    assert "id" not in answer.json()["quota_set"]
    assert (await quotas(client, client.project_id))["instances"] == 3
    assert (await quotas(admin, admin.project_id))["instances"] == 10000
    assert (await client.put(path, {"quota_set": {"instances": 9}})).status_code == 403
    assert (await admin.delete(path)).status_code == 202
    assert (await quotas(client, client.project_id))["instances"] == 10000


async def test_use_is_shown_and_cannot_be_undercut_but_by_force(client: Client, admin: Client) -> None:
    for name in ("one", "two"):
        body = {"server_group": {"name": name, "policies": ["affinity"]}}
        await client.made("/compute/os-server-groups", body)
    detail = await quotas(client, client.project_id, more="/detail")
    assert detail["server_groups"] == {"limit": 10, "in_use": 2, "reserved": 0}
    path = f"/compute/os-quota-sets/{client.project_id}"
    refused = await admin.put(path, {"quota_set": {"server_groups": 1, "cores": 5}})
    assert refused.status_code == 400
    assert "server_groups" in refused.json()["badRequest"]["message"]
    assert (await quotas(client, client.project_id))["cores"] == 40000
    forced = await admin.put(path, {"quota_set": {"server_groups": 1, "force": True}})
    assert forced.json()["quota_set"]["server_groups"] == 1


@pytest.mark.parametrize(
    "wanted",
    [
        {"instances": -2},
        {"instances": "x"},
        {"instances": None},
        {"instances": 1.5},
        {"instances": 2**31},
        {"instances": True},
        {"instances": "-" + "9" * 10},
        {"zzz": 1},
        {"force": "perhaps"},
        [],
        None,
    ],
)
async def test_bad_limits_are_refused(client: Client, admin: Client, wanted: Any) -> None:
    before = await quotas(client, client.project_id)
    answer = await admin.put(f"/compute/os-quota-sets/{client.project_id}", {"quota_set": wanted})
    assert answer.status_code == 400
    assert await quotas(client, client.project_id) == before


async def test_names_that_are_gone_are_refused(client: Client, admin: Client) -> None:
    path = f"/compute/os-quota-sets/{client.project_id}"
    assert (await admin.put(path, {"quota_set": {"floating_ips": 5}}, "2.35")).status_code == 200
    assert (await admin.put(path, {"quota_set": {"floating_ips": 5}}, "2.36")).status_code == 400
    assert (await admin.put(path, {"quota_set": {"injected_files": 5}}, "2.57")).status_code == 400


async def test_a_project_that_is_not_there_gets_no_limits(admin: Client) -> None:
    answer = await admin.put("/compute/os-quota-sets/nobody", {"quota_set": {"cores": 1}})
    assert answer.status_code == 400
    assert (await quotas(admin, "nobody"))["cores"] == 40000


async def test_quotas_of_single_users_are_not_there(client: Client, admin: Client) -> None:
    before = await quotas(client, client.project_id)
    path = f"/compute/os-quota-sets/{client.project_id}?user_id=x"
    assert (await admin.put(path, {"quota_set": {"cores": 1}})).status_code == 400
    assert (await admin.delete(path)).status_code == 400
    assert await quotas(client, client.project_id) == before


async def test_the_default_class_keeps_limits_of_networks_longer_than_projects_do(admin: Client) -> None:
    path = "/compute/os-quota-class-sets/default"
    of_networks = {"floating_ips", "fixed_ips", "security_groups", "security_group_rules"}
    for version, shown in (("2.35", of_networks), ("2.36", of_networks), ("2.49", of_networks), ("2.50", set())):
        assert (await admin.get(path, version)).json()["quota_class_set"].keys() & of_networks == shown
        answer = await admin.put(path, {"quota_class_set": {"security_groups": 7}}, version)
        assert answer.status_code == (200 if shown else 400), version
        if shown:
            assert answer.json()["quota_class_set"]["security_groups"] == 7


async def test_the_default_class_is_everybodys(client: Client, admin: Client) -> None:
    path = "/compute/os-quota-class-sets/default"
    before = (await admin.get(path)).json()["quota_class_set"]
    assert (before["id"], before["instances"], "server_groups" in before) == ("default", 10000, False)
    assert "server_groups" in (await admin.get(path, "2.50")).json()["quota_class_set"]
    answer = await admin.put(path, {"quota_class_set": {"instances": 2}})
    assert answer.json()["quota_class_set"]["instances"] == 2
    assert (await quotas(client, client.project_id))["instances"] == 2
    assert (await admin.get("/compute/os-quota-class-sets/gold")).status_code == 404
    assert (await client.get(path)).status_code == 403


async def test_limits_for_everybody_outlive_a_restart_until_the_configuration_changes(tmp_path: Path) -> None:
    path = "/compute/os-quota-class-sets/default"
    for configured, change, seen in (
        (Limits(), {"instances": 2}, (10000, 40000)),
        (Limits(), {}, (2, 40000)),
        (Limits(cores=7), {}, (2, 7)),
        (Limits(cores=7, instances=3), {"cores": 8}, (3, 7)),
        (Limits(cores=7, instances=3), {}, (3, 8)),
    ):
        async with TestCloud(tmp_path, limits=configured) as cloud:
            admin = await cloud.client("admin", "admin")
            limits = (await admin.get(path)).json()["quota_class_set"]
            assert (limits["instances"], limits["cores"]) == seen
            await admin.put(path, {"quota_class_set": change})
            assert (await admin.get("/network/quotas")).json() == {"quotas": []}
