"""Which port closes a loop."""

from polyport.dataplane.bridge.loops import Place, Sightings, closing_ports, joined_networks
from polyport.dataplane.bridge.probe import frame_of, is_sealed, probe_mac, read_probe
from polyport.ids import NetworkId, PortId, ServerId

KEY = b"k" * 32
PORT = PortId("01234567-89ab-4cde-8f01-23456789abcd")


def places(**of: str) -> dict[PortId, Place]:
    """`a1="server network"`: the slot is the number in the port's name."""
    return {
        PortId(name): Place(ServerId(text.split()[0]), NetworkId(text.split()[1]), int(name[1:]))
        for name, text in of.items()
    }


def seen(*pairs: str) -> dict[tuple[PortId, PortId], float]:
    """Pairs of ports, the oldest first."""
    return {(PortId(one), PortId(two)): float(at) for at, (one, two) in enumerate(pair.split() for pair in pairs)}


def closed(pairs: dict[tuple[PortId, PortId], float], where: dict[PortId, Place]) -> set[str]:
    return set(closing_ports(pairs, where))


def test_of_two_nics_on_one_network_the_higher_closes_the_loop() -> None:
    where = places(a1="s n", a2="s n")
    assert closed(seen("a1 a2"), where) == closed(seen("a2 a1"), where) == {"a2"}


def test_all_but_the_lowest_close_a_loop() -> None:
    where = places(a1="s n", a2="s n", a3="s n", a4="s n")
    assert closed(seen("a1 a2", "a3 a2", "a1 a4"), where) == {"a2", "a3", "a4"}


def test_networks_are_joined_by_what_carries_between_them() -> None:
    where = places(a1="s n", a2="s n", a3="s m", b1="t k", b2="t l")
    assert joined_networks(seen("a1 a2"), where) == frozenset()
    assert joined_networks(seen("a1 a2", "a2 a3"), where) == {"n", "m"}
    assert joined_networks(seen("a1 a3", "b2 b1", "gone b1"), where) == {"n", "m", "k", "l"}


def test_a_guest_that_joins_two_networks_closes_nothing() -> None:
    assert closed(seen("a1 a2"), places(a1="s n", a2="s m")) == set()


def test_the_second_guest_that_joins_them_does() -> None:
    where = places(a1="s n", a2="s m", b1="t n", b2="t m")
    assert closed(seen("a1 a2", "b1 b2"), where) == {"b2"}
    assert closed(seen("b1 b2", "a1 a2"), where) == {"a2"}, "whoever was first stays"


def test_a_circle_of_three_networks_and_three_guests() -> None:
    where = places(a1="s n", a2="s m", b1="t m", b2="t o", c1="u n", c2="u o")
    assert closed(seen("a1 a2", "b1 b2", "c1 c2"), where) == {"c2"}
    assert closed(seen("a1 a2", "b1 b2"), where) == set()


def test_a_port_that_is_gone_closes_nothing() -> None:
    assert closed(seen("a1 a2"), places(a1="s n")) == set()


def test_partners_are_all_ports_of_the_guests_switch() -> None:
    where = places(a1="s n", a2="s n", a3="s m")
    assert closing_ports(seen("a1 a2", "a2 a3"), where) == {PortId("a2"): {PortId("a1"), PortId("a3")}}


def test_what_was_seen_is_forgotten() -> None:
    sightings = Sightings(hold=6.0)
    sightings.add(PortId("a"), PortId("b"), 10.0, since=10.0)
    sightings.add(PortId("a"), PortId("b"), 12.0, since=12.0)
    assert sightings.fresh(18.0) == {(PortId("a"), PortId("b")): 10.0}
    assert sightings.fresh(18.1) == {}


def test_a_probe_is_known_by_its_seal() -> None:
    frame = frame_of(KEY, PORT, "brq1", 7)
    assert len(frame) == 60
    assert frame[6:12].hex(":") == probe_mac(PORT) == "02:01:23:45:67:89"
    probe = read_probe(frame[14:])
    assert probe is not None
    assert (probe.port_id, probe.number) == (PORT, 7)
    assert is_sealed(KEY, probe, "brq1")
    assert not is_sealed(KEY, probe, "brq2")
    assert not is_sealed(b"x" * 32, probe, "brq1")
    assert not is_sealed(KEY, probe._replace(number=8), "brq1")


def test_what_is_no_probe_is_not_read_as_one() -> None:
    assert read_probe(b"") is None
    assert read_probe(bytes(46)) is None
    assert read_probe(frame_of(KEY, PORT, "brq1", 7)[14:50]) is None
