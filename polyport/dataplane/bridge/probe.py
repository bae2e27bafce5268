"""The frames that find loops. Pure.

A probe goes out of one tap, straight to the guest. It comes back to the host only if the guest carries it from one of
its NICs to another; and there it ends, whatever comes of it: no guest ever sees another's probe.

    03:00:6f:70:00:00 | MAC of the port | 0x88b5 | "pply" | port id (16) | number (8) | seal (16) | padding

The seal is an HMAC-SHA256, cut, over port id, number and bridge, with a key that is drawn at each start. So a guest can
repeat probes of its own, and cannot make one of a port of somebody else.
"""

import hashlib
import hmac
import struct
from typing import NamedTuple
from uuid import UUID

from polyport.ids import PortId

ETHERTYPE = 0x88B5
"""The first of IEEE 802's local experimental EtherTypes."""

KEY_SIZE = 32

_GROUP = bytes.fromhex("03006f700000")
_MAGIC = b"pply"
_BODY = struct.Struct("!4s16sQ")
_SEAL = 16
_LEAST_FRAME = 60


class Probe(NamedTuple):
    port_id: PortId
    number: int
    seal: bytes


def probe_mac(port_id: PortId) -> str:
    """The source MAC of a port's probes: locally administered, and as much of the port id as its tap's name has."""
    digits = port_id.replace("-", "")[:10]
    return ":".join(["02", *(digits[place : place + 2] for place in range(0, 10, 2))])


def frame_of(key: bytes, port_id: PortId, bridge: str, number: int) -> bytes:
    body = _BODY.pack(_MAGIC, UUID(port_id).bytes, number)
    source = bytes.fromhex(probe_mac(port_id).replace(":", ""))
    frame = _GROUP + source + struct.pack("!H", ETHERTYPE) + body + _sealed(key, body, bridge)
    return frame.ljust(_LEAST_FRAME, b"\0")


def read_probe(payload: bytes) -> Probe | None:
    """What follows the Ethernet header, if it looks like a probe; who made it, `is_sealed` says."""
    if len(payload) < _BODY.size + _SEAL:
        return None
    magic, port, number = _BODY.unpack_from(payload)
    if magic != _MAGIC:
        return None
    return Probe(PortId(str(UUID(bytes=port))), number, payload[_BODY.size : _BODY.size + _SEAL])


def is_sealed(key: bytes, probe: Probe, bridge: str) -> bool:
    """Whether a probe was made with `key`, for a port on `bridge`."""
    body = _BODY.pack(_MAGIC, UUID(probe.port_id).bytes, probe.number)
    return hmac.compare_digest(probe.seal, _sealed(key, body, bridge))


def _sealed(key: bytes, body: bytes, bridge: str) -> bytes:
    return hmac.digest(key, body + bridge.encode(), hashlib.sha256)[:_SEAL]
