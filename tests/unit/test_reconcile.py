"""`decide` against a model of a host: from whatever is there, its steps lead to what is wanted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from polyport.agent.kept import look
from polyport.agent.plans import PlanSum
from polyport.agent.reconcile import (
    Clear,
    Note,
    Pause,
    PlugNic,
    Record,
    Remove,
    Resume,
    Seen,
    Start,
    Step,
    Stop,
    UnplugNic,
    UpdateVifs,
    decide,
)
from polyport.agent.report import server_report
from polyport.agent.vifs import vif_plans
from polyport.dataplane import VifPlan
from polyport.hypervisor import FoundGuest, GuestNic
from polyport.ids import NetworkId, PortId, ServerId, SubnetId
from polyport.plan import FixedIp, HostPlan, NetworkPlan, NicPlan, ServerPlan, SubnetPlan
from tests import plans

SERVER = ServerId("11111111-1111-4111-8111-111111111111")
NETWORK = NetworkPlan(
    id=NetworkId("22222222-2222-4222-8222-222222222222"),
    name="one",
    subnets=(SubnetPlan(id=SubnetId("s4"), cidr="10.0.0.0/24", ip_version=4, gateway_ip="10.0.0.1"),),
)
NETWORKS = {NETWORK.id: NETWORK}
NOW, BEFORE = "this life", "the life before"
GRACE = 30.0


def nic_plan(port: int, slot: int, **more: object) -> NicPlan:
    nic = NicPlan(
        port_id=PortId(f"port-{port}"), slot=slot, network_id=NETWORK.id, mac_address=f"fa:16:3e:00:00:0{port}"
    )
    return replace(nic, **more)


def server_plan(*nics: NicPlan, **more: object) -> ServerPlan:
    return plans.server_plan(id=SERVER, nics=nics, **more)


def guest_nic(nic: NicPlan) -> GuestNic:
    return GuestNic(port_id=nic.port_id, slot=nic.slot, mac_address=nic.mac_address, mtu=NETWORK.mtu)


def guest_of(plan: ServerPlan, **more: object) -> FoundGuest:
    guest = FoundGuest(
        id=plan.id,
        power="running",
        boot=plan.boot,
        nic_slots=plan.nic_slots,
        nics=tuple(map(guest_nic, plan.nics)),
    )
    return replace(guest, **more)


def running(plan: ServerPlan) -> Seen:
    """What there is after `plan` was carried out."""
    return Seen(
        guest=guest_of(plan),
        vifs={vif.nic.port_id: vif for vif in vif_plans(plan, NETWORKS)},
        record=Record(boot=plan.boot, machine=NOW),
        directory=True,
    )


def steps_for(wanted: ServerPlan | None, seen: Seen) -> tuple[Step, ...]:
    vifs = vif_plans(wanted, NETWORKS) if wanted is not None else ()
    return decide(wanted, vifs, seen, machine=NOW, grace=GRACE)


# The model


def apply(step: Step, wanted: ServerPlan | None, seen: Seen) -> Seen:
    """What a host is like after a step. Asserts what a host would refuse."""
    guest = seen.guest
    match step:
        case Start():
            assert wanted is not None
            assert guest is None
            assert not seen.vifs, "vifs of an earlier guest were left"
            return running(wanted)
        case Stop():
            assert guest is not None
            return replace(seen, guest=None)
        case Note(record=record):
            return replace(seen, record=record, directory=True)
        case Clear(ports=ports):
            if guest is not None and wanted is not None and wanted.wanted != "gone":
                assert not {nic.port_id for nic in guest.nics} & set(ports), "a guest holds it"
            return replace(seen, vifs={port: vif for port, vif in seen.vifs.items() if port not in ports})
        case UnplugNic(port_id=port_id, slot=slot):
            assert guest is not None
            assert (port_id, slot) in {(nic.port_id, nic.slot) for nic in guest.nics}
            assert guest.power == "running", "a halted guest lets nothing go"
            nics = tuple(nic for nic in guest.nics if nic.port_id != port_id)
            vifs = {port: vif for port, vif in seen.vifs.items() if port != port_id}
            return replace(seen, guest=replace(guest, nics=nics), vifs=vifs)
        case PlugNic(vif=vif):
            assert guest is not None
            assert vif.nic.slot not in {nic.slot for nic in guest.nics}, "the slot is taken"
            assert vif.nic.port_id not in {nic.port_id for nic in guest.nics}, "the port is in the guest"
            assert vif.nic.port_id not in seen.vifs, "its vif exists"
            nics = tuple(sorted((*guest.nics, guest_nic(vif.nic)), key=lambda nic: nic.slot))
            return replace(seen, guest=replace(guest, nics=nics), vifs={**seen.vifs, vif.nic.port_id: vif})
        case UpdateVifs(vifs=changed):
            assert guest is not None
            assert {vif.nic.port_id for vif in changed} <= {nic.port_id for nic in guest.nics}
            return replace(seen, vifs={**seen.vifs, **{vif.nic.port_id: vif for vif in changed}})
        case Pause():
            assert guest is not None
            assert guest.power == "running"
            return replace(seen, guest=replace(guest, power="paused"))
        case Resume():
            assert guest is not None
            assert guest.power == "paused"
            return replace(seen, guest=replace(guest, power="running"))
        case Remove():
            assert guest is None
            assert not seen.vifs, "vifs outlive their server"
            return replace(seen, record=None, directory=False)


def carried_out(wanted: ServerPlan | None, seen: Seen) -> Seen:
    for step in steps_for(wanted, seen):
        seen = apply(step, wanted, seen)
    return seen


# Generated cases

PORTS = st.integers(min_value=1, max_value=5)
SLOTS = st.lists(st.integers(min_value=1, max_value=6), max_size=4, unique=True).map(sorted)


@st.composite
def nics(draw: st.DrawFn) -> tuple[NicPlan, ...]:
    slots = draw(SLOTS)
    ports = draw(st.lists(PORTS, min_size=len(slots), max_size=len(slots), unique=True))
    return tuple(
        nic_plan(port, slot, port_security_enabled=draw(st.booleans())) for port, slot in zip(ports, slots, strict=True)
    )


PLANS = st.builds(
    lambda nics, wanted, boot, restart: server_plan(*nics, wanted=wanted, boot=boot, restart=restart),
    nics(),
    st.sampled_from(["running", "stopped", "paused", "gone"]),
    st.integers(min_value=1, max_value=3),
    st.sampled_from(["soft", "hard"]),
)
RECORDS = st.none() | st.builds(
    Record,
    boot=st.integers(min_value=1, max_value=3),
    machine=st.sampled_from([NOW, BEFORE]),
    ended=st.booleans(),
)


@st.composite
def seens(draw: st.DrawFn) -> Seen:
    record = draw(RECORDS)
    guest = draw(st.none() | st.builds(guest_of, PLANS, power=st.sampled_from(["running", "paused"])))
    if guest is not None and record is not None:
        guest = replace(guest, boot=max(guest.boot, record.boot))
    known = {nic.port_id: draw(st.none() | st.just(vif_of(nic))) for nic in guest.nics} if guest else {}
    leftover = {nic.port_id: None for nic in draw(nics())} if draw(st.booleans()) else {}
    return Seen(
        guest=guest,
        vifs={**leftover, **known},
        record=record,
        directory=record is not None or guest is not None or draw(st.booleans()),
    )


def vif_of(nic: GuestNic) -> VifPlan:
    plan = NicPlan(port_id=nic.port_id, slot=nic.slot, network_id=NETWORK.id, mac_address=nic.mac_address)
    return VifPlan(server_id=SERVER, hostname="vnf", nic=plan, network=NETWORK, default_route=False)


def what_is_kept(wanted: ServerPlan, seen: Seen) -> set[GuestNic]:
    """The NICs that a guest should let go of and cannot, because it is halted and stays so."""
    guest = seen.guest
    if guest is None or guest.boot < wanted.boot or (guest.power, wanted.wanted) != ("paused", "paused"):
        return set()
    planned = {(nic.port_id, nic.slot, nic.mac_address) for nic in wanted.nics}
    return {nic for nic in guest.nics if (nic.port_id, nic.slot, nic.mac_address) not in planned}


@given(wanted=st.none() | PLANS, seen=seens())
def test_the_steps_lead_to_what_is_wanted_and_then_there_are_none(wanted: ServerPlan | None, seen: Seen) -> None:
    after = carried_out(wanted, seen)
    assert steps_for(wanted, after) == ()
    if wanted is None or wanted.wanted == "gone":
        assert after == Seen()
    elif wanted.wanted == "stopped":
        assert after.guest is None
        assert not after.vifs
    elif after.guest is None:
        assert after.record is not None
        assert after.record.boot >= wanted.boot, "what was never started must be started"
        assert not after.vifs
    else:
        assert after.guest.boot >= wanted.boot
        assert after.guest.power == wanted.wanted
        kept = what_is_kept(wanted, seen)
        ports, slots = {nic.port_id for nic in kept}, {nic.slot for nic in kept}
        there = [
            vif for vif in vif_plans(wanted, NETWORKS) if vif.nic.port_id not in ports and vif.nic.slot not in slots
        ]
        assert set(after.guest.nics) == {*kept, *(guest_nic(vif.nic) for vif in there)}
        assert {port: vif for port, vif in after.vifs.items() if port not in ports} == {
            vif.nic.port_id: vif for vif in there
        }
        assert after.vifs.keys() >= ports
        assert after.record is not None
        assert (after.record.boot, after.record.machine, after.record.ended) == (after.guest.boot, NOW, False)


@given(wanted=PLANS, seen=seens())
def test_what_stays_is_not_touched(wanted: ServerPlan, seen: Seen) -> None:
    steps = steps_for(wanted, seen)
    if seen.guest is None or any(isinstance(step, Stop) for step in steps):
        return
    there = {(nic.port_id, nic.slot, nic.mac_address) for nic in seen.guest.nics}
    stay = {nic.port_id for nic in wanted.nics if (nic.port_id, nic.slot, nic.mac_address) in there}
    unplugged = {step.port_id for step in steps if isinstance(step, UnplugNic)}
    plugged = {step.vif.nic.port_id for step in steps if isinstance(step, PlugNic)}
    assert not stay & (unplugged | plugged)


@given(plans=st.lists(PLANS, min_size=1, max_size=6))
def test_a_life_of_plans_ends_where_the_last_one_says(plans: list[ServerPlan]) -> None:
    """Boot numbers only grow, as the cloud half counts them."""
    seen, boot = Seen(), 0
    for plan in plans:
        boot = max(boot, plan.boot)
        wanted = replace(plan, boot=boot)
        seen = carried_out(wanted, seen)
        assert steps_for(wanted, seen) == ()


# Single rules, by name


def test_a_new_server_is_started() -> None:
    assert steps_for(server_plan(nic_plan(1, 1)), Seen()) == (Start(),)


def test_a_guest_that_ended_by_itself_is_not_started_again() -> None:
    plan = server_plan(nic_plan(1, 1))
    ended = look(running(plan), None, doubted=False)
    assert steps_for(plan, ended) == (
        Clear((PortId("port-1"),)),
        Note(Record(boot=1, machine=NOW, ended=True)),
    )
    after = carried_out(plan, ended)
    assert steps_for(plan, after) == ()
    assert server_report(plan, after, None).power == "stopped"


def test_it_is_started_when_the_user_asks_again() -> None:
    plan = server_plan()
    ended = carried_out(plan, look(running(plan), None, doubted=False))
    assert steps_for(replace(plan, boot=2), ended) == (Start(),)


def test_a_restart_of_the_machine_brings_back_what_ran() -> None:
    plan = server_plan(nic_plan(1, 3))
    seen = Seen(record=Record(boot=1, machine=BEFORE), directory=True)
    assert steps_for(plan, seen) == (Start(again=True),)


def test_a_restart_of_the_machine_does_not_bring_back_what_had_ended() -> None:
    seen = Seen(record=Record(boot=1, machine=BEFORE, ended=True), directory=True)
    assert steps_for(server_plan(), seen) == ()


def test_what_was_paused_comes_back_paused() -> None:
    seen = Seen(record=Record(boot=1, machine=BEFORE), directory=True)
    assert steps_for(server_plan(wanted="paused"), seen) == (Start(again=True), Pause())


@pytest.mark.parametrize(("restart", "grace"), [("soft", GRACE), ("hard", 0.0)])
def test_reboot_is_as_soft_as_asked_for(restart: str, grace: float) -> None:
    plan = server_plan(nic_plan(1, 1))
    again = replace(plan, boot=2, restart=restart)
    assert steps_for(again, running(plan)) == (Stop(grace), Clear((PortId("port-1"),)), Start())


def test_an_attach_touches_one_nic() -> None:
    before = server_plan(nic_plan(1, 1), nic_plan(2, 2))
    after = server_plan(*before.nics, nic_plan(3, 3))
    assert steps_for(after, running(before)) == (PlugNic(vif_plans(after, NETWORKS)[2]),)


def test_a_detach_touches_one_nic() -> None:
    before = server_plan(nic_plan(1, 1), nic_plan(2, 2), nic_plan(3, 3))
    after = server_plan(before.nics[0], before.nics[2])
    assert steps_for(after, running(before)) == (UnplugNic(PortId("port-2"), 2),)


def test_detached_and_attached_again_between_two_looks_is_unplugged_and_plugged() -> None:
    before = server_plan(nic_plan(1, 1), nic_plan(2, 2))
    after = server_plan(nic_plan(2, 2), nic_plan(1, 3))
    steps = steps_for(after, running(before))
    assert steps == (UnplugNic(PortId("port-1"), 1), PlugNic(vif_plans(after, NETWORKS)[1]))


def test_a_changed_port_is_updated_in_place() -> None:
    before = server_plan(nic_plan(1, 1), nic_plan(2, 2))
    after = server_plan(before.nics[0], replace(before.nics[1], port_security_enabled=False))
    assert steps_for(after, running(before)) == (UpdateVifs((vif_plans(after, NETWORKS)[1],)),)


def test_a_halted_guest_is_resumed_before_it_has_to_let_go_of_a_nic() -> None:
    before = server_plan(nic_plan(1, 1))
    halted = replace(running(before), guest=guest_of(before, power="paused"))
    assert steps_for(server_plan(), halted) == (Resume(), UnplugNic(PortId("port-1"), 1))


def test_a_guest_that_stays_halted_keeps_a_nic_until_it_is_resumed() -> None:
    before = server_plan(nic_plan(1, 1), nic_plan(2, 2), wanted="paused")
    halted = replace(running(before), guest=guest_of(before, power="paused"))
    after = server_plan(nic_plan(2, 2), nic_plan(1, 3), nic_plan(3, 4), wanted="paused")
    kept = carried_out(after, halted)
    assert steps_for(after, halted) == (PlugNic(vif_plans(after, NETWORKS)[2]),)
    assert kept.guest is not None
    assert [(nic.port_id, nic.slot) for nic in kept.guest.nics] == [("port-1", 1), ("port-2", 2), ("port-3", 4)]
    resumed = replace(after, wanted="running")
    assert steps_for(resumed, kept)[:2] == (Resume(), UnplugNic(PortId("port-1"), 1))
    assert carried_out(resumed, kept).guest == guest_of(resumed)


def test_an_agent_that_died_after_the_start_has_it_written_down_by_the_next() -> None:
    plan = server_plan(boot=2)
    seen = replace(running(plan), record=Record(boot=1, machine=NOW, ended=True))
    assert steps_for(plan, seen) == (Note(Record(boot=2, machine=NOW)),)


def test_a_leftover_is_removed_with_all_it_has() -> None:
    plan = server_plan(nic_plan(1, 1))
    assert steps_for(None, running(plan)) == (Clear((PortId("port-1"),)), Stop(0.0), Remove())
    assert steps_for(None, Seen(directory=True)) == (Remove(),)


def test_the_default_route_goes_to_the_first_nic_that_can_have_it() -> None:
    first, second, third = (nic_plan(number, number) for number in (1, 2, 3))
    second = replace(second, fixed_ips=(FixedIp(SubnetId("s4"), "10.0.0.5"),))
    third = replace(third, fixed_ips=(FixedIp(SubnetId("s4"), "10.0.0.6"),))
    vifs = vif_plans(server_plan(first, second, third), NETWORKS)
    assert [vif.default_route for vif in vifs] == [False, True, False]


def test_the_default_route_goes_to_the_marked_nic_if_it_can_have_it() -> None:
    def told(*marked: int) -> list[bool]:
        nics = [
            replace(
                nic_plan(number, number),
                # The last one has no address, and so no way to anywhere.
                fixed_ips=(FixedIp(SubnetId("s4"), f"10.0.0.{number}"),) if number < 4 else (),
                default_route=number in marked,
            )
            for number in (1, 2, 3, 4)
        ]
        return [vif.default_route for vif in vif_plans(server_plan(*nics), NETWORKS)]

    assert told(2) == [False, True, False, False]
    assert told(3, 2) == [False, True, False, False], "of two the lower slot"
    assert told(4) == [True, False, False, False], "one that cannot have it leaves it where it would be"
    assert told(4, 3) == [False, False, True, False]


def test_a_report_tells_what_is_in_the_guest_and_what_is_not_yet() -> None:
    before = server_plan(nic_plan(1, 1), nic_plan(2, 2))
    after = server_plan(nic_plan(2, 2), nic_plan(3, 3), revision=2)
    report = server_report(after, running(before), "it does not want to")
    assert [(nic.port_id, nic.plugged) for nic in report.nics] == [
        ("port-1", True),
        ("port-2", True),
        ("port-3", False),
    ]
    assert (report.power, report.boot, report.revision, report.error) == ("running", 1, 2, "it does not want to")


# The sum of plans


def test_the_sum_names_those_whom_a_plan_concerns() -> None:
    plans = PlanSum()
    one = server_plan(nic_plan(1, 1))
    other = replace(server_plan(), id=ServerId("other"))
    whole = HostPlan(revision=5, whole=True, servers=(one, other), networks=(NETWORK,))
    assert plans.add(whole) == {SERVER, "other"}
    assert plans.add(HostPlan(revision=5, whole=False)) == set()
    assert plans.add(HostPlan(revision=6, whole=False, servers=(one,))) == set()
    assert plans.add(HostPlan(revision=7, whole=False, networks=(replace(NETWORK, mtu=9000),))) == {SERVER}
    assert plans.add(HostPlan(revision=8, whole=False, servers=(replace(one, revision=8, nics=()),))) == {SERVER}
    assert plans.add(HostPlan(revision=9, whole=False, networks=(NETWORK,))) == set()
    assert plans.add(HostPlan(revision=9, whole=True, servers=(other,))) == {SERVER}
    assert set(plans.servers) == {"other"}
    assert plans.revision == 9
