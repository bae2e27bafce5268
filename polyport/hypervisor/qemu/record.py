"""`guest.json`: what a guest was started with, in the server's own directory.

It is written before the guest starts and before a NIC is plugged, and cut down only after a NIC is gone:
so it always names at least what QEMU has, and an agent that comes after a killed one knows what to look
for.
"""

import contextlib
from pathlib import Path

import msgspec

from polyport.hypervisor import Guest

NAME = "guest.json"


def encode_guest(guest: Guest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(guest, enc_hook=_encode), indent=1) + b"\n"


def decode_guest(text: bytes) -> Guest:
    """Raises `msgspec.MsgspecError` where the text is not a guest."""
    return msgspec.json.decode(text, type=Guest, dec_hook=_decode)


def write_guest(directory: Path, guest: Guest) -> None:
    """Replace the record whole. It is not synced: after a power cut there is no guest for it to speak of."""
    new = directory / f"{NAME}.new"
    new.write_bytes(encode_guest(guest))
    new.replace(directory / NAME)


def read_guest(directory: Path) -> Guest | None:
    """The record, or None where there is none that can be read."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return decode_guest((directory / NAME).read_bytes())
    return None


def _encode(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in {NAME}")


def _decode(kind: type[object], value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise TypeError(f"{kind.__name__} has no place in {NAME}")
