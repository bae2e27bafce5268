"""Identifiers. Each kind is a type of its own, so that a port id cannot be handed in where a server id is wanted."""

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


def new_hex() -> str:
    """A random id of 32 hexadecimal digits, the shape of ids in identity (users, projects, roles)."""
    return uuid.uuid4().hex


def is_uuid(text: object) -> bool:
    """Whether `text` is a UUID in canonical form or as 32 hexadecimal digits, as OpenStack accepts them."""
    if not isinstance(text, str):
        return False
    try:
        return uuid.UUID(text).hex == text.replace("-", "").lower()
    except ValueError:
        return False
