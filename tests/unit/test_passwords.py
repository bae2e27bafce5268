"""Passwords as they are stored."""

import asyncio

import pytest

from polyport.identity.passwords import Hashing, TooManyLogins, hash_password, verify


def test_a_password_is_its_own_and_nobody_elses() -> None:
    for text in ("secret", "", "ü" * 100, "a\x00b"):
        stored = hash_password(text)
        assert verify(text, stored)
        assert not verify(text + "x", stored)
        assert text == "" or text not in stored
        assert stored != hash_password(text)


@pytest.mark.parametrize("stored", ["", "secret", "scrypt$1$2$3", "scrypt$a$8$1$AA==$AA==", "md5$1$1$1$AA==$AA=="])
def test_an_unknown_form_is_nobodys_password(stored: str) -> None:
    assert not verify("secret", stored)


async def test_who_has_no_password_is_refused_by_the_same_work() -> None:
    hashing = Hashing()
    stored = await hashing.hash("secret")
    assert await hashing.verify("secret", stored)
    assert not await hashing.verify("guess", stored)
    assert not await hashing.verify("secret", None)


async def test_the_queue_has_an_end() -> None:
    hashing = Hashing(most_waiting=2)
    answers = await asyncio.gather(*(hashing.verify("x", None) for _ in range(10)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {bool, TooManyLogins}
    assert not await hashing.verify("x", None)
