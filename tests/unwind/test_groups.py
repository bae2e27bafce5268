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
    refused = 0

    async def refuse(name: str) -> None:
        nonlocal refused
        if name == "ensure_groups" and refused < 5:
            refused += 1
            raise Broken("no such rule")

    web = group(6)
    async with world.agent(refuse):
        world.cloud.put_group(web)
        vnf = world.cloud.put(within(web, server(1)))
        await world.cloud.carried_out(vnf)
        await until(lambda: world.networks.groups == {web.id: web})
        await until(lambda: reports_of_refusals(world) == [{web.id}, set()])
    assert refused == 5
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


async def test_a_group_that_is_refused_is_reported_until_it_is_had(world: World) -> None:
    good, bad = group(6), group(17)
    world.networks.refused.add(bad.id)
    async with world.agent():
        world.cloud.put_group(good)
        world.cloud.put_group(bad)
        vnf = world.cloud.put(within(bad, server(1)))
        await world.cloud.carried_out(vnf)
        await until(lambda: refusals(world) == {bad.id})
        assert world.networks.groups == {good.id: good}
        said = len(reports_of_refusals(world))
        world.cloud.put_group(group(7))
        await until(lambda: len(world.networks.groups) == 2)
        assert len(reports_of_refusals(world)) == said, "what is known is not said again"
        world.networks.refused.clear()
        await until(lambda: refusals(world) == set())
        assert world.networks.groups[bad.id] == bad
    world.assert_as_planned(vnf)


async def test_a_refused_group_that_is_deleted_is_forgotten(world: World) -> None:
    bad = group(17)
    world.networks.refused.add(bad.id)
    async with world.agent():
        world.cloud.put_group(bad)
        await until(lambda: refusals(world) == {bad.id})
        del world.cloud.groups[bad.id]
        await until(lambda: refusals(world) == set())


async def test_the_first_report_says_that_nothing_is_refused(world: World) -> None:
    async with world.agent():
        await until(lambda: reports_of_refusals(world) == [set()])


def reports_of_refusals(world: World) -> list[set[SecurityGroupId]]:
    said = (report.refused_groups for report in world.cloud.round_trips)
    return [{refused.id for refused in some} for some in said if some is not None]


def refusals(world: World) -> set[SecurityGroupId] | None:
    """What was said last."""
    return next(reversed(reports_of_refusals(world)), None)
