"""Plans and reports: the tests play the host, step by step, in place of the agent."""

import asyncio
import contextlib
from typing import Any, Literal

import httpx
import pytest
from msgspec.structs import replace

from polyport.compute import plans, reports
from polyport.ids import HostName
from polyport.plan import HostFacts, HostPlan, HostReport, NicReport, ServerPlan, ServerReport
from tests.api.client import Client, TestCloud
from tests.api.stock import make_image, make_network

FACTS = HostFacts(
    hypervisor="fake",
    hypervisor_version="1",
    accelerator="none",
    dataplane="fake",
    cpus=4,
    memory_mb=16384,
    disk_gb=100,
)


class Host:
    """A host played by a test: it asks for plans, and reports what it is told to."""

    def __init__(self, cloud: TestCloud) -> None:
        self._database = cloud.cloud.database
        self.name = HostName(cloud.config.host)
        self.revision = 0
        self._kept = plans.Kept()

    async def plan(self, since: int | None = None) -> HostPlan:
        """What changed since the last plan."""
        known = self.revision if since is None else since
        plan = await self._database.read(lambda tx: plans.plan_for(tx, self.name, known, self._kept))
        self.revision = plan.revision
        return plan

    async def one(self) -> ServerPlan:
        plan = await self.plan()
        assert len(plan.servers) == 1
        return plan.servers[0]

    async def report(
        self,
        plan: ServerPlan,
        power: Literal["running", "paused", "stopped", "crashed", "gone"] = "running",
        *,
        error: str | None = None,
        plugged: bool | None = None,
        revision: int | None = None,
        boot: int | None = None,
        quarantined: tuple[int, ...] = (),
    ) -> None:
        """`quarantined`: slots."""
        inside = power in ("running", "paused") if plugged is None else plugged
        report = ServerReport(
            id=plan.id,
            revision=plan.revision if revision is None else revision,
            power=power,
            boot=plan.boot if boot is None else boot,
            nics=tuple(
                NicReport(port_id=nic.port_id, plugged=inside, quarantined=nic.slot in quarantined) for nic in plan.nics
            ),
            error=error,
        )
        await self.send(HostReport(host=self.name, servers=(report,)))

    async def send(self, report: HostReport) -> None:
        await self._database.write(lambda tx: reports.record(tx, report))


@pytest.fixture
async def host(cloud: TestCloud) -> Host:
    """The host of a cloud whose agent has been sent away."""
    cloud.cloud.agent.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await cloud.cloud.agent
    played = Host(cloud)
    await played.send(HostReport(host=played.name, facts=FACTS))
    return played


async def boot(client: Client, nics: int = 2, **more: Any) -> str:
    network_id = await make_network(client)
    body = {
        "name": "vnf",
        "flavorRef": "42",
        "imageRef": await make_image(client),
        "networks": [{"uuid": network_id, "tag": f"t{at}"} for at in range(nics)],
        **more,
    }
    made = await client.made("/compute/servers", {"server": body}, "2.90")
    return str(made["id"])


async def seen(client: Client, server_id: str) -> dict[str, Any]:
    server: dict[str, Any] = (await client.get(f"/compute/servers/{server_id}")).json()["server"]
    return server


async def last_action(client: Client, server_id: str) -> dict[str, Any]:
    path = f"/compute/servers/{server_id}/os-instance-actions"
    newest = (await client.get(path, "2.84")).json()["instanceActions"][0]
    action: dict[str, Any] = (await client.get(f"{path}/{newest['request_id']}", "2.84")).json()["instanceAction"]
    return action


async def port_states(client: Client, server_id: str) -> list[str]:
    nics = (await client.get(f"/compute/servers/{server_id}/os-interface")).json()["interfaceAttachments"]
    return [nic["port_state"] for nic in nics]


async def test_a_plan_holds_all_a_host_needs(client: Client, host: Host) -> None:
    await client.made("/compute/os-keypairs", {"keypair": {"name": "mine"}})
    server_id = await boot(client, 3, key_name="mine", user_data="aGk=", metadata={"a": "b"}, adminPass="word")
    plan = await host.plan()
    assert plan.whole
    server = plan.servers[0]
    assert (server.id, server.wanted, server.boot, server.disk) == (server_id, "running", 1, 1)
    assert (server.vcpus, server.memory_mb, server.root_gb, server.nic_slots) == (1, 128, 1, 62)
    assert [(nic.slot, nic.tag) for nic in server.nics] == [(1, "t0"), (2, "t1"), (3, "t2")]
    listed = (await client.get(f"/compute/servers/{server_id}/os-interface")).json()["interfaceAttachments"]
    assert [(nic.port_id, nic.mac_address) for nic in server.nics] == [
        (nic["port_id"], nic["mac_addr"]) for nic in listed
    ]
    assert [nic.fixed_ips[0].ip_address for nic in server.nics] == [nic["fixed_ips"][0]["ip_address"] for nic in listed]
    assert server.image is not None
    assert server.image.size == 4096
    assert (server.user_data, server.metadata, server.admin_password) == ("aGk=", (("a", "b"),), "word")
    assert server.public_keys[0][0] == "mine"
    assert [network.name for network in plan.networks] == ["net1"]
    assert plan.networks[0].subnets[0].cidr == "10.0.0.0/24"


async def test_a_plan_holds_only_what_changed(client: Client, host: Host) -> None:
    first = await boot(client)
    second = await client.made(
        "/compute/servers",
        {"server": {"name": "b", "flavorRef": "42", "imageRef": await make_image(client), "networks": "none"}},
        "2.90",
    )
    whole = await host.plan()
    assert {server.id for server in whole.servers} == {first, second["id"]}
    for server in whole.servers:
        await host.report(server)
    assert await host.plan() == HostPlan(revision=whole.revision, whole=False)
    await client.post(f"/compute/servers/{second['id']}/action", {"os-stop": None})
    changed = await host.plan()
    assert [(server.id, server.wanted) for server in changed.servers] == [(second["id"], "stopped")]
    assert not changed.whole
    nic = whole.servers[0].nics[0] if whole.servers[0].nics else whole.servers[1].nics[0]
    old = next(server for server in whole.servers if server.id == first)
    await client.put(f"/network/ports/{nic.port_id}", {"port": {"admin_state_up": False}})
    changed = await host.plan()
    assert [server.id for server in changed.servers] == [first]
    assert [nic.admin_state_up for nic in changed.servers[0].nics] == [False, True]
    assert changed.servers[0].revision > old.revision
    await client.put(f"/network/networks/{nic.network_id}", {"network": {"mtu": 1400}})
    changed = await host.plan()
    assert [network.mtu for network in changed.networks] == [1400]
    assert {server.id for server in (await host.plan(0)).servers} == {first, second["id"]}


async def test_a_boot_that_fails_is_an_error_with_its_words(client: Client, host: Host) -> None:
    server_id = await boot(client)
    await host.report(await host.one(), "stopped", error="The disk is full.", boot=0)
    server = await seen(client, server_id)
    assert server["status"] == "ERROR"
    assert server["fault"]["message"] == "The disk is full."
    assert server["fault"]["code"] == 500
    assert await port_states(client, server_id) == ["DOWN", "DOWN"]
    action = await last_action(client, server_id)
    assert (action["action"], action["message"]) == ("create", "Error")
    assert (action["events"][0]["result"], action["events"][0]["details"]) == ("Error", "The disk is full.")


async def test_a_boot_that_fails_and_is_repaired_by_the_host(client: Client, host: Host) -> None:
    server_id = await boot(client)
    plan = await host.one()
    await host.report(plan, "stopped", error="The disk is full.", boot=0)
    await host.report(plan)
    server = await seen(client, server_id)
    assert server["status"] == "ACTIVE"
    assert "fault" not in server
    assert server["OS-SRV-USG:launched_at"] is not None


async def test_a_rebuild_of_a_stopped_server_that_fails_is_an_error_until_it_is_repaired(
    client: Client, host: Host
) -> None:
    server_id = await boot(client, 1)
    await host.report(await host.one())
    path = f"/compute/servers/{server_id}"
    assert (await client.post(f"{path}/action", {"os-stop": None})).status_code == 202
    await host.report(await host.one(), "stopped")
    image = (await seen(client, server_id))["image"]["id"]
    assert (await client.post(f"{path}/action", {"rebuild": {"imageRef": image}})).status_code == 202
    plan = await host.one()
    for _ in range(2):
        # The host tries again and says so each time.
        await host.report(plan, "stopped", error="The disk cannot be made.")
        server = await seen(client, server_id)
        assert (server["status"], server["OS-EXT-STS:vm_state"]) == ("ERROR", "error")
        assert (server["fault"]["code"], server["fault"]["message"]) == (500, "The disk cannot be made.")
    action = await last_action(client, server_id)
    assert (action["action"], action["events"][0]["result"]) == ("rebuild", "Error")
    await host.report(plan, "stopped")
    server = await seen(client, server_id)
    assert server["status"] == "SHUTOFF"
    assert "fault" not in server


async def test_an_attach_that_fails_leaves_the_wish_and_says_why(client: Client, host: Host) -> None:
    server_id = await boot(client)
    await host.report(await host.one())
    await client.made(f"/compute/servers/{server_id}/os-interface", {})
    plan = await host.one()
    assert [nic.slot for nic in plan.nics] == [1, 2, 3]
    nics = tuple(NicReport(port_id=nic.port_id, plugged=nic.slot < 3) for nic in plan.nics)
    said = ServerReport(
        id=plan.id, revision=plan.revision, power="running", boot=1, nics=nics, error="No place in the guest."
    )
    await host.send(HostReport(host=host.name, servers=(said,)))
    assert (await seen(client, server_id))["status"] == "ACTIVE"
    assert await port_states(client, server_id) == ["ACTIVE", "ACTIVE", "DOWN"]
    action = await last_action(client, server_id)
    assert (action["action"], action["events"][0]["result"]) == ("attach_interface", "Error")
    assert action["events"][0]["details"] == "No place in the guest."
    await host.report(plan)
    assert await port_states(client, server_id) == ["ACTIVE", "ACTIVE", "ACTIVE"]


async def test_each_action_ends_when_its_own_plan_is_carried_out(client: Client, host: Host) -> None:
    server_id = await boot(client, 1)
    await host.report(await host.one())
    path = f"/compute/servers/{server_id}"
    attached = await client.post(f"{path}/os-interface", {})
    first = await host.one()
    rebooted = await client.post(f"{path}/action", {"reboot": {"type": "HARD"}})
    assert (attached.status_code, rebooted.status_code) == (200, 202)
    second = await host.one()

    async def result(answer: httpx.Response) -> str | None:
        request_id = answer.headers["x-openstack-request-id"]
        shown = (await client.get(f"{path}/os-instance-actions/{request_id}", "2.84")).json()["instanceAction"]
        outcome: str | None = shown["events"][0]["result"]
        return outcome

    assert [await result(attached), await result(rebooted)] == [None, None]
    await host.report(first)
    assert [await result(attached), await result(rebooted)] == ["Success", None]
    await host.report(second, "stopped", error="No memory.")
    assert [await result(attached), await result(rebooted)] == ["Success", "Error"]


async def test_old_news_change_nothing_but_power(client: Client, host: Host) -> None:
    server_id = await boot(client)
    first = await host.one()
    await host.report(first)
    await client.post(f"/compute/servers/{server_id}/action", {"os-stop": None})
    await host.report(first)
    server = await seen(client, server_id)
    assert (server["status"], server["OS-EXT-STS:task_state"]) == ("ACTIVE", "powering-off")
    second = await host.one()
    assert second.wanted == "stopped"
    await host.report(second, "stopped")
    server = await seen(client, server_id)
    assert (server["status"], server["OS-EXT-STS:power_state"]) == ("SHUTOFF", 4)
    assert await port_states(client, server_id) == ["DOWN", "DOWN"]


async def test_a_guest_that_ends_by_itself_stays_down(client: Client, host: Host) -> None:
    server_id = await boot(client)
    plan = await host.one()
    await host.report(plan)
    await host.report(plan, "stopped")
    server = await seen(client, server_id)
    assert server["status"] == "SHUTOFF"
    assert (await host.plan(0)).servers[0].wanted == "stopped"
    assert (await last_action(client, server_id))["action"] == "stopped_by_guest"
    await client.post(f"/compute/servers/{server_id}/action", {"os-start": None})
    again = await host.one()
    assert (again.wanted, again.boot) == ("running", 2)
    # The host has not started it yet: that the guest is down is old news.
    await host.report(again, "stopped", boot=1)
    assert (await seen(client, server_id))["OS-EXT-STS:task_state"] == "powering-on"
    await host.report(again)
    assert (await seen(client, server_id))["status"] == "ACTIVE"


async def test_a_deleted_server_is_in_plans_until_it_is_gone(client: Client, host: Host) -> None:
    server_id = await boot(client)
    first = await host.one()
    await host.report(first)
    await client.delete(f"/compute/servers/{server_id}")
    gone = await host.one()
    assert (gone.wanted, gone.nics, gone.admin_password) == ("gone", (), None)
    await host.report(first)
    await host.report(gone, "running")
    assert [server.wanted for server in (await host.plan(0)).servers] == ["gone"]
    await host.report(gone, "gone")
    assert (await host.plan(0)).servers == ()
    await host.report(gone, "running")
    assert (await host.plan(0)).servers == ()


async def test_a_server_that_is_deleted_while_it_is_built(client: Client, host: Host) -> None:
    server_id = await boot(client)
    first = await host.one()
    assert (await client.delete(f"/compute/servers/{server_id}")).status_code == 204
    await host.report(first)
    assert (await client.get(f"/compute/servers/{server_id}")).status_code == 404
    assert (await host.one()).wanted == "gone"


async def test_what_a_host_does_not_have_is_left_out(client: Client, host: Host) -> None:
    server_id = await boot(client)
    plan = await host.one()
    stranger = replace(plan, id="00000000-0000-4000-8000-000000000000")
    await host.report(stranger)
    nics = (NicReport(port_id=plan.nics[0].port_id, plugged=True),)
    other = ServerReport(id=stranger.id, revision=plan.revision, power="running", boot=1, nics=nics)
    await host.send(HostReport(host=host.name, servers=(other,)))
    elsewhere = ServerReport(id=plan.id, revision=plan.revision, power="running", boot=1, nics=nics)
    await host.send(HostReport(host=HostName("elsewhere"), servers=(elsewhere,)))
    assert (await seen(client, server_id))["status"] == "BUILD"
    assert await port_states(client, server_id) == ["DOWN", "DOWN"]


async def test_a_quarantined_nic_is_down(client: Client, host: Host) -> None:
    server_id = await boot(client)
    plan = await host.one()
    nics = (
        NicReport(port_id=plan.nics[0].port_id, plugged=True, quarantined=True),
        NicReport(port_id=plan.nics[1].port_id, plugged=True),
    )
    said = ServerReport(id=plan.id, revision=plan.revision, power="running", boot=1, nics=nics)
    await host.send(HostReport(host=host.name, servers=(said,)))
    assert await port_states(client, server_id) == ["DOWN", "ACTIVE"]


async def test_a_quarantined_nic_is_seen_and_so_is_its_recovery(client: Client, host: Host) -> None:
    server_id = await boot(client, nics=3)
    plan = await host.one()
    await host.report(plan)
    await host.report(plan, quarantined=(2,))
    assert await port_states(client, server_id) == ["ACTIVE", "DOWN", "ACTIVE"]
    ports = (await client.get(f"/network/v2.0/ports?device_id={server_id}")).json()["ports"]
    assert [port["polyport:quarantined"] for port in ports] == [False, True, False]
    action = await last_action(client, server_id)
    assert action["action"] == "nic_quarantine"
    assert f"NIC 2 (port {ports[1]['id']})" in action["message"]
    assert f"NIC 2 (port {ports[1]['id']})" in action["events"][0]["details"]
    revision = ports[1]["revision_number"]
    await host.report(plan, quarantined=(2,))
    told_twice = (await client.get(f"/network/v2.0/ports/{ports[1]['id']}")).json()["port"]
    assert told_twice["revision_number"] == revision, "old news change nothing"
    await host.report(plan)
    assert await port_states(client, server_id) == ["ACTIVE", "ACTIVE", "ACTIVE"]
    action = await last_action(client, server_id)
    assert action["action"] == "nic_recover"
    assert "NIC 2" in action["message"]
    ports = (await client.get(f"/network/v2.0/ports?device_id={server_id}")).json()["ports"]
    assert not any(port["polyport:quarantined"] for port in ports)


async def test_nobody_sets_a_quarantine_through_the_api(client: Client, host: Host) -> None:
    server_id = await boot(client, nics=1)
    port = (await client.get(f"/network/v2.0/ports?device_id={server_id}")).json()["ports"][0]
    refused = await client.put(f"/network/v2.0/ports/{port['id']}", {"port": {"polyport:quarantined": False}})
    assert refused.status_code == 400


async def test_of_what_has_not_changed_a_plan_has_what_was_read_before(client: Client, host: Host) -> None:
    server_id = await boot(client, 3)
    before = await host.plan()
    await host.report(before.servers[0])
    port = before.servers[0].nics[1].port_id
    await client.put(f"/network/v2.0/ports/{port}", {"port": {"port_security_enabled": False, "security_groups": []}})
    changed = await host.one()
    assert changed.nics[0] is before.servers[0].nics[0]
    assert changed.nics[2] is before.servers[0].nics[2]
    assert not changed.nics[1].port_security_enabled
    network_id = changed.nics[0].network_id
    await client.put(f"/network/v2.0/networks/{network_id}", {"network": {"mtu": 1400}})
    await client.post(f"/compute/servers/{server_id}/os-interface", {"interfaceAttachment": {"net_id": network_id}})
    after = await host.plan()
    assert after.servers[0].nics[:3] == changed.nics
    assert after.networks[0].mtu == 1400
    assert after.security_groups == before.security_groups
    whole = await host.plan(0)
    assert whole.servers == after.servers
    assert whole.servers[0].nics[0] is not after.servers[0].nics[0]


async def test_one_report_ends_what_was_asked_of_many_servers_each_as_it_went(client: Client, host: Host) -> None:
    names = [await boot(client, 1) for _ in range(4)]
    plans_of = {plan.id: plan for plan in (await host.plan()).servers}
    errors = {names[0]: None, names[1]: "No disk.", names[2]: None, names[3]: "No memory."}
    said = tuple(
        ServerReport(
            id=plan.id,
            revision=plan.revision,
            power="running" if errors[plan.id] is None else "stopped",
            boot=plan.boot,
            nics=(NicReport(port_id=plan.nics[0].port_id, plugged=errors[plan.id] is None),),
            error=errors[plan.id],
        )
        for plan in plans_of.values()
    )
    for _ in range(2):
        # A report that comes twice changes nothing.
        await host.send(HostReport(host=host.name, servers=said))
        for name, error in errors.items():
            server = await seen(client, name)
            action = await last_action(client, name)
            assert server["status"] == ("ACTIVE" if error is None else "ERROR")
            assert action["message"] == (None if error is None else "Error")
            assert action["events"][0]["result"] == ("Success" if error is None else "Error")
            assert action["events"][0].get("details") == error
