"""Kinds of fields that bodies of several nouns have. Where OpenStack takes a number or a truth as a string too, the
kind allows both, and a function here gives the value. And the check of query parameters."""

from typing import Annotated, TypeAlias

from msgspec import Meta

from polyport.api.compute.microversions import STRICT_QUERIES
from polyport.web.bodies import InvalidField
from polyport.web.calls import Call, InvalidParameter

MOST = 2**31 - 1

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^(?!\s)[^\x00-\x1f\x7f]*(?<!\s)\Z")]
"""1 to 255 printable characters, no white space at the ends."""

Text: TypeAlias = Annotated[str, Meta(max_length=65535, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*\Z")]
"""Printable text of several lines."""

Digits: TypeAlias = Annotated[str, Meta(pattern=r"^-?[0-9]+\Z", min_length=1, max_length=11)]
Number: TypeAlias = int | Digits
Flag: TypeAlias = bool | Annotated[str, Meta(pattern=r"^(?i:1|t|true|on|y|yes|0|f|false|off|n|no)\Z", max_length=5)]


def number(value: int | str, field: str, *, least: int = 0, most: int = MOST) -> int:
    """The number a `Number` stands for. Raises `InvalidField` for one that is not between `least` and `most`."""
    found = int(value)
    if not least <= found <= most:
        raise InvalidField(field=field, value=str(value)[:100], reason=f"It is not from {least} to {most}.")
    return found


def flag(value: bool | str) -> bool:
    """The truth a `Flag` stands for."""
    return value if isinstance(value, bool) else value.lower() in ("1", "t", "true", "on", "y", "yes")


def check_query(call: Call, allowed: tuple[str, ...]) -> None:
    """Refuse query parameters that are not `allowed`, in the versions that do. Raises `InvalidParameter`."""
    if call.version not in STRICT_QUERIES:
        return
    for name in call.query.names():
        if name not in allowed:
            reason = "Additional properties are not allowed."
            raise InvalidParameter(name=name[:100], value=(call.query.get(name) or "")[:100], reason=reason)
