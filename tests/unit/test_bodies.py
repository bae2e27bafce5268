"""Bodies: strict, and every refusal names the field."""

import contextlib
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Struct, UnsetType

from polyport.errors import PolyportError
from polyport.web.bodies import InvalidField, MalformedBody, UnexpectedField, decode, only
from polyport.web.microversions import Version, either, since, version_of

TAG = either(since("2.32", "2.36"), since("2.42"))


class Nic(Struct, forbid_unknown_fields=True):
    uuid: str | UnsetType = UNSET
    tag: Annotated[str | UnsetType, only(TAG)] = UNSET


class Inner(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    networks: list[Nic] | UnsetType = UNSET
    min_count: int = 1


class Body(Struct, forbid_unknown_fields=True):
    server: Inner


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (b"", MalformedBody, "Malformed request body"),
        (b"{nonsense", MalformedBody, "Malformed request body"),
        (b'{"server": {"name": "\xff"}}', MalformedBody, "Malformed request body"),
        (b"[" * 100_000, MalformedBody, "Malformed request body"),
        (b"{}", InvalidField, "field/attribute body"),
        (b'{"server": 5}', InvalidField, "field/attribute server. Value: 5"),
        (b'{"server": {"name": 5}}', InvalidField, "field/attribute name. Value: 5"),
        (b'{"server": {"name": ""}}', InvalidField, "field/attribute name. Value: ."),
        (b'{"server": {"name": "x", "min_count": "1"}}', InvalidField, "field/attribute min_count. Value: 1"),
        (b'{"server": {"name": "x", "networks": [{}, {"uuid": 5}]}}', InvalidField, "networks[1].uuid. Value: 5"),
        (b'{"server": {"name": "x", "zzz": 1}}', UnexpectedField, "field/attribute server. Additional"),
        (b'{"server": {"name": "x", "networks": [{"mtu": 1}]}}', UnexpectedField, "networks[0]. Additional"),
        (b'{"server": {"name": "x"}, "zzz": 1}', UnexpectedField, "('zzz' was unexpected)"),
    ],
)
def test_a_refusal_names_the_field(text: bytes, kind: type[PolyportError], words: str) -> None:
    with pytest.raises(kind) as caught:
        decode(text, Body)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("version", "there"),
    [("2.1", False), ("2.32", True), ("2.36", True), ("2.37", False), ("2.41", False), ("2.42", True)],
)
def test_a_field_exists_in_its_window_only(version: str, there: bool) -> None:
    text = b'{"server": {"name": "x", "networks": [{}, {"tag": "a"}]}}'
    if there:
        body = decode(text, Body, version_of(version))
        assert body.server.networks != UNSET
    else:
        with pytest.raises(UnexpectedField) as caught:
            decode(text, Body, version_of(version))
        assert "server.networks[1]" in caught.value.message
        assert "'tag'" in caught.value.message


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_nothing_but_our_own_errors_comes_out(text: bytes) -> None:
    with contextlib.suppress(PolyportError):
        decode(text, Body, Version(2, 42))
