"""Passwords: kept as scrypt hashes (RFC 7914), never as text.

A hash takes tens of milliseconds and 16 MiB on purpose. `Hashing` is how a server does it: in threads, few at
once, and with an end to the queue, so that a flood of log-ins costs a bounded share of the machine.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets

from polyport.errors import Unavailable

_N, _R, _P = 2**14, 8, 1
_MEMORY = 64 * 1024 * 1024
_MOST_AT_ONCE = 4
_MOST_WAITING = 200


class TooManyLogins(Unavailable):
    """Too many passwords wait to be checked; try again later."""


def hash_password(text: str) -> str:
    """The stored form of a password: `scrypt$n$r$p$salt$hash`, the last two in base64."""
    salt = secrets.token_bytes(16)
    return _stored(salt, _derived(text, salt, _N, _R, _P))


def verify(text: str, stored: str) -> bool:
    """Whether `text` is the password whose stored form is `stored`; an unknown form is nobody's password."""
    try:
        kind, n, r, p, salt, wanted = stored.split("$")
        if kind != "scrypt":
            return False
        derived = _derived(text, base64.b64decode(salt), int(n), int(r), int(p))
        return hmac.compare_digest(derived, base64.b64decode(wanted))
    except (ValueError, binascii.Error):
        return False


class Hashing:
    """Password hashes for one event loop."""

    def __init__(self, most_waiting: int = _MOST_WAITING) -> None:
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)
        self._most_waiting = most_waiting
        self._waiting = 0
        self._nobody = _stored(secrets.token_bytes(16), secrets.token_bytes(32))

    async def hash(self, text: str) -> str:
        """`hash_password` in a thread. Raises `TooManyLogins`."""
        async with self._Place(self):
            return await asyncio.to_thread(hash_password, text)

    async def verify(self, text: str, stored: str | None) -> bool:
        """`verify` in a thread. Without a stored form the answer is no, in the same time.

        Raises `TooManyLogins`.
        """
        async with self._Place(self):
            same = await asyncio.to_thread(verify, text, stored or self._nobody)
            return same and stored is not None

    class _Place:
        def __init__(self, hashing: "Hashing") -> None:
            self._hashing = hashing

        async def __aenter__(self) -> None:
            if self._hashing._waiting >= self._hashing._most_waiting:
                raise TooManyLogins
            self._hashing._waiting += 1
            try:
                await self._hashing._places.acquire()
            finally:
                self._hashing._waiting -= 1

        async def __aexit__(self, *_: object) -> None:
            self._hashing._places.release()


def _derived(text: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(text.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _stored(salt: bytes, derived: bytes) -> str:
    return f"scrypt${_N}${_R}${_P}${_text_of(salt)}${_text_of(derived)}"


def _text_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
