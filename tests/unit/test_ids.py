"""Ids and MAC addresses of things that are made together."""

import uuid

import pytest

from polyport.dataplane.bridge.network import asker_of
from polyport.ids import PortId, is_uuid, new_ids
from polyport.names import tap_of
from polyport.network import port_rules


def test_ids_made_together_are_random_uuids_with_names_of_their_own() -> None:
    made = new_ids(300)
    assert len({tap_of(PortId(each)) for each in made}) == 300
    assert len({asker_of(PortId(each)) for each in made}) == 300
    assert len({each[-12:] for each in made}) == 300
    assert {uuid.UUID(each).version for each in made} == {4}
    assert all(str(uuid.UUID(each)) == each for each in made)


def test_ids_made_together_are_neighbours() -> None:
    first, *others = (int(each.replace("-", "")[:10], 16) for each in new_ids(5))
    assert [(other - first) % (1 << 40) for other in others] == [1, 2, 3, 4]


def test_macs_made_together_count_up_in_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_rules.secrets, "randbits", lambda bits: (1 << bits) - 2)
    assert port_rules.random_macs(3) == ["fa:16:3e:ff:ff:fe", "fa:16:3e:ff:ff:ff", "fa:16:3e:00:00:00"]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("6f0f1b1e-5d5c-4d0a-9d3c-0a1b2c3d4e5f", True),
        ("6F0F1B1E5D5C4D0A9D3C0A1B2C3D4E5F", True),
        ("{6f0f1b1e-5d5c-4d0a-9d3c-0a1b2c3d4e5f}", False),
        ("urn:uuid:6f0f1b1e-5d5c-4d0a-9d3c-0a1b2c3d4e5f", False),
        ("6f0f1b1e-5d5c-4d0a-9d3c-0a1b2c3d4e5f\n", False),
        ("6f0f1b1e-5d5c-4d0a-9d3c-0a1b2c3d4e5", False),
        ("\u0666f0f1b1e5d5c4d0a9d3c0a1b2c3d4e5f", False),
        (None, False),
    ],
)
def test_a_uuid_is_32_hexadecimal_digits(text: object, is_one: bool) -> None:
    assert is_uuid(text) == is_one
