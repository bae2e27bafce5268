"""A slot's PCI place is a matter of arithmetic, and what the guest sees of it is the order of NICs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.hypervisor import GuestNic
from polyport.hypervisor.nics import NicsRefused, check_nics
from polyport.hypervisor.qemu import slots
from polyport.hypervisor.qemu.slots import NoSuchSlot, Place, TooManyDisks
from polyport.ids import PortId, ServerId, new_id

SERVER = ServerId("11111111-1111-4111-8111-111111111111")


def nic(slot: int) -> GuestNic:
    return GuestNic(port_id=PortId(new_id()), slot=slot, mac_address=f"fa:16:3e:00:00:{slot:02x}")


@pytest.mark.parametrize(
    ("slot", "place"),
    [
        (1, Place("bridge1", 1)),
        (2, Place("bridge1", 2)),
        (10, Place("bridge1", 10)),
        (31, Place("bridge1", 31)),
        (32, Place("bridge2", 1)),
        (62, Place("bridge2", 31)),
        (63, Place("bridge3", 1)),
        (248, Place("bridge8", 31)),
    ],
)
def test_a_slot_has_its_place_for_life(slot: int, place: Place) -> None:
    assert slots.nic_place(slot) == place


def test_the_order_of_slots_is_the_order_in_which_a_guest_finds_the_devices() -> None:
    def found_at(slot: int) -> tuple[int, int]:
        place = slots.nic_place(slot)
        return slots.port_place(int(place.bus.removeprefix("bridge"))).device, place.device

    places = [found_at(slot) for slot in range(1, slots.MOST_SLOTS + 1)]
    assert places == sorted(places)
    assert len(set(places)) == slots.MOST_SLOTS


@given(st.integers(1, slots.MOST_SLOTS))
def test_a_guest_with_so_many_slots_has_the_bridge_of_its_last_one(slot: int) -> None:
    assert slots.nic_place(slot).bus == f"bridge{slots.bridges_for(slot)}"


@pytest.mark.parametrize("slot", [-1, 0, 249, 10_000])
def test_beyond_the_last_slot_there_is_a_clear_error(slot: int) -> None:
    with pytest.raises(NoSuchSlot, match=f"no NIC slot {slot}: slots are 1 to 248"):
        slots.nic_place(slot)


def test_more_slots_than_there_can_be_are_refused() -> None:
    assert slots.bridges_for(0) == 0
    assert slots.bridges_for(248) == 8
    with pytest.raises(NoSuchSlot):
        slots.bridges_for(249)


def test_nothing_on_the_root_bus_stands_in_the_place_of_another() -> None:
    places = [slots.port_place(bridge) for bridge in range(1, slots.MOST_BRIDGES + 1)]
    places += [slots.disk_place(disk) for disk in range(slots.MOST_DISKS)]
    places += [Place("pcie.0", slots.SERIAL_DEVICE), Place("pcie.0", slots.ENTROPY_DEVICE)]
    # 00 is the host bridge and 1f the chipset of q35 itself.
    places += [Place("pcie.0", 0x00), Place("pcie.0", 0x1F)]
    assert len(set(places)) == len(places)
    assert all(place.device < 0x20 for place in places)


def test_a_fifth_disk_is_refused() -> None:
    assert slots.disk_place(3).device == 0x1B
    with pytest.raises(TooManyDisks):
        slots.disk_place(4)


def test_62_nics_need_two_vcpus() -> None:
    nics = [nic(slot) for slot in range(1, 63)]
    check_nics(SERVER, vcpus=2, nic_slots=62, most_nic_slots=248, nics=nics)
    with pytest.raises(NicsRefused, match="62 NICs need more than its 1 vCPUs, which serve 48"):
        check_nics(SERVER, vcpus=1, nic_slots=62, most_nic_slots=248, nics=nics)


def test_a_slot_is_for_one_nic() -> None:
    with pytest.raises(NicsRefused, match="slot 3 is taken"):
        check_nics(SERVER, vcpus=1, nic_slots=62, most_nic_slots=248, nics=[nic(3), nic(3)])


def test_a_port_is_one_nic() -> None:
    first = nic(1)
    again = GuestNic(port_id=first.port_id, slot=2, mac_address=first.mac_address)
    with pytest.raises(NicsRefused, match=f"port {first.port_id} is there already"):
        check_nics(SERVER, vcpus=1, nic_slots=62, most_nic_slots=248, nics=[first, again])


@pytest.mark.parametrize("slot", [0, 32])
def test_a_slot_the_guest_has_not_is_refused(slot: int) -> None:
    with pytest.raises(NicsRefused, match=f"slot {slot} is not one of its 31 slots"):
        check_nics(SERVER, vcpus=1, nic_slots=31, most_nic_slots=248, nics=[nic(slot)])


@pytest.mark.parametrize("count", [-1, 249])
def test_a_number_of_slots_no_guest_can_have_is_refused(count: int) -> None:
    with pytest.raises(NicsRefused, match="0 to 248 can be had"):
        check_nics(SERVER, vcpus=1, nic_slots=count, most_nic_slots=248, nics=[])
