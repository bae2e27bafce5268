"""Security groups between a plan and the dataplane: before the vifs that use them, until they are had, and again after
every restart."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from polyport.ids import SecurityGroupId, new_id
from polyport.plan import RulePlan, SecurityGroupPlan, ServerPlan
from tests.unwind.world import Broken, Counted, World, server, until


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def group(*protocols: int, group_id: SecurityGroupId | None = None) -> SecurityGroupPlan:
    rules = (RulePlan(id=new_id(), direction="ingress", ethertype="IPv4", protocol=number) for number in protocols)
    return SecurityGroupPlan(id=group_id or SecurityGroupId(new_id()), rules=tuple(rules))


def within(some: SecurityGroupPlan, plan: ServerPlan) -> ServerPlan:
    return replace(plan, nics=tuple(replace(nic, security_groups=(some.id,)) for nic in plan.nics))


async def test_groups_come_before_the_vifs_and_change_without_them(world: World) -> None:
    calls = Counted()
    web = group(6)
    async with world.agent(calls):
        world.cloud.put_group(web)
        vnf = world.cloud.put(within(web, server(2)))
        await world.cloud.carried_out(vnf)
        assert calls.calls.index("ensure_groups") < calls.calls.index("plug_all")
        assert world.networks.groups == {web.id: web}
        changed = group(6, 17, group_id=web.id)
        before = calls.calls.count("ensure")
        world.cloud.put_group(changed)
        await until(lambda: world.networks.groups == {web.id: changed})
        assert calls.calls.count("ensure") == before, "no vif was touched"
    world.assert_as_planned(vnf)


async def test_groups_that_cannot_be_had_hold_up_nobody_and_are_tried_again(world: World) -> None:
    refusals = 0

    async def refuse(name: str) -> None:
        nonlocal refusals
        if name == "ensure_groups" and refusals < 5:
            refusals += 1
            raise Broken("no such rule")

    web = group(6)
    async with world.agent(refuse):
        world.cloud.put_group(web)
        vnf = world.cloud.put(within(web, server(1)))
        await world.cloud.carried_out(vnf)
        await until(lambda: world.networks.groups == {web.id: web})
    assert refusals == 5
    world.assert_as_planned(vnf)


async def test_the_next_agent_tells_of_groups_first(world: World) -> None:
    web = group(6)
    world.cloud.put_group(web)
    vnf = within(web, server(2))
    async with world.agent():
        vnf = world.cloud.put(vnf)
        await world.cloud.carried_out(vnf)
    world.networks.groups.clear()
    calls = Counted()
    async with world.agent(calls):
        await until(lambda: "ensure" in calls.calls)
        assert calls.calls.index("ensure_groups") < calls.calls.index("ensure")
        assert world.networks.groups == {web.id: web}
    world.assert_as_planned(vnf)
