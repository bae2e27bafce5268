"""Identifiers. Each kind is a type of its own, so that a port id cannot be handed in where a server id is wanted."""

import re
import secrets
import uuid
from typing import NewType

ServerId = NewType("ServerId", str)
PortId = NewType("PortId", str)
NetworkId = NewType("NetworkId", str)
SubnetId = NewType("SubnetId", str)
ImageId = NewType("ImageId", str)
SecurityGroupId = NewType("SecurityGroupId", str)
ProjectId = NewType("ProjectId", str)
UserId = NewType("UserId", str)
HostName = NewType("HostName", str)


def new_id() -> str:
    """A random UUID in its canonical text form, the shape of ids in compute, image and network."""
    return str(uuid.uuid4())


def new_ids(count: int) -> list[str]:
    """Random UUIDs for things that are made together. Their first ten digits, of which host-side names are made, count
    up from a number that is drawn: so they are neighbours in every index, and many rows are written to few pages."""
    first = secrets.randbits(40)
    return [
        str(uuid.UUID(int=(first + number) % (1 << 40) << 88 | secrets.randbits(88), version=4))
        for number in range(count)
    ]


def new_hex() -> str:
    """A random id of 32 hexadecimal digits, the shape of ids in identity (users, projects, roles)."""
    return uuid.uuid4().hex


def is_uuid(text: object) -> bool:
    """Whether `text` is a UUID in canonical form or as 32 hexadecimal digits, as OpenStack accepts them."""
    return isinstance(text, str) and _DIGITS.fullmatch(text.replace("-", "")) is not None


_DIGITS = re.compile(r"[0-9a-fA-F]{32}")
