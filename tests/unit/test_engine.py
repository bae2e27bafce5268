"""Transactions: all or nothing, committed together, woken afterwards."""

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from polyport.db.engine import Database, Tx

things = sa.Table("things", sa.MetaData(), sa.Column("name", sa.String, primary_key=True))


class Broken(Exception):
    """What a handler raises."""


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path}/test.db"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        things.metadata.create_all(connection)
        connection.execute(sa.text("CREATE TABLE revisions (value BIGINT)"))
        connection.execute(sa.text("INSERT INTO revisions VALUES (7)"))
    engine.dispose()
    database = Database(url)
    database.open()
    yield database
    database.close()


def add(name: str, fail: bool = False):  # type: ignore[no-untyped-def]
    def work(tx: Tx) -> str:
        tx.execute(sa.insert(things), {"name": name})
        tx.wake(name)
        if fail:
            raise Broken(name)
        return name

    return work


async def names(database: Database) -> set[str]:
    return set(await database.read(lambda tx: [row.name for row in tx.all(sa.select(things))]))


async def test_one_that_fails_takes_nothing_else_with_it(database: Database) -> None:
    works = [database.write(add(f"n{number}", fail=number % 3 == 0)) for number in range(60)]
    answers = await asyncio.gather(*works, return_exceptions=True)
    assert [isinstance(answer, Broken) for answer in answers] == [number % 3 == 0 for number in range(60)]
    assert await names(database) == {f"n{number}" for number in range(60) if number % 3}


async def test_a_committed_write_is_seen_by_the_next_read(database: Database) -> None:
    for number in range(20):
        await database.write(add(f"n{number}"))
        assert f"n{number}" in await names(database)


async def test_what_is_left_for_after_the_commit_does_not_run_after_a_failure(database: Database) -> None:
    ran = []

    def work(fail: bool):  # type: ignore[no-untyped-def]
        def inner(tx: Tx) -> None:
            tx.after_commit(lambda: ran.append(fail))
            if fail:
                raise Broken

        return inner

    with pytest.raises(Broken):
        await database.write(work(True))
    await database.write(work(False))
    assert ran == [False]


async def test_a_host_is_woken_by_a_commit_even_if_the_client_has_gone(database: Database) -> None:
    task = asyncio.create_task(database.write(add("host")))
    await asyncio.sleep(0)
    task.cancel()
    await database.wakeups.wait("host", 5)
    assert "host" in await names(database)


async def test_who_waits_is_answered_before_a_host_is_woken(database: Database) -> None:
    order: list[str] = []

    async def host() -> None:
        await database.wakeups.wait("host", 5)
        order.append("host")

    async def client() -> None:
        await database.write(add("host"))
        order.append("client")

    await asyncio.gather(host(), client())
    assert order == ["client", "host"]


async def test_a_wake_up_between_two_waits_is_not_lost(database: Database) -> None:
    await database.write(add("host"))
    begin = asyncio.get_running_loop().time()
    await database.wakeups.wait("host", 5)
    assert asyncio.get_running_loop().time() - begin < 4
    await database.wakeups.wait("host", 0.01)


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(sa.exc.OperationalError, match="readonly"):
        await database.read(add("n"))
    assert await names(database) == set()


async def test_revisions_are_drawn_once_and_in_the_order_of_commits(database: Database) -> None:
    def twice(tx: Tx) -> tuple[int, int]:
        return tx.revision(), tx.revision()

    assert await database.write(twice) == (8, 8)
    assert await database.write(twice) == (9, 9)


async def test_a_revision_of_a_failed_transaction_is_given_back(database: Database) -> None:
    def failing(tx: Tx) -> None:
        tx.revision()
        raise Broken

    with pytest.raises(Broken):
        await database.write(failing)
    assert await database.write(Tx.revision) == 8


async def test_a_broken_constraint_is_an_error_of_its_own_transaction_only(database: Database) -> None:
    first, second = await asyncio.gather(
        database.write(add("same")), database.write(add("same")), return_exceptions=True
    )
    assert first == "same"
    assert isinstance(second, sa.exc.IntegrityError)


async def test_close_commits_what_was_asked_for(tmp_path: Path, database: Database) -> None:
    works = [asyncio.ensure_future(database.write(add(f"n{number}"))) for number in range(10)]
    await asyncio.sleep(0)
    await asyncio.to_thread(database.close)
    await asyncio.gather(*works)
    assert len(works) == 10


async def test_a_disk_that_was_full_ends_no_writer(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for number in range(150):
        await database.write(add(f"n{number}" + "x" * 500))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        async with asyncio.timeout(5):
            while "cannot be folded back" not in caplog.text:
                await asyncio.sleep(0.01)
        with pytest.raises(sqlite3.OperationalError):
            await asyncio.wait_for(database.write(add("z" * 5000)), 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await asyncio.wait_for(database.write(add("after")), 5) == "after"
    assert "after" in await names(database)
