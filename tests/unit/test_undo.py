"""The undo stack: nothing left after a failure, nothing undone after success, no cancellation half-way."""

import asyncio
import logging

import pytest

from polyport.agent.undo import Undo, finished, off_loop, together


class Broken(Exception):
    pass


class Table:
    """Things on a table: `put` them and `take` them away, which may fail."""

    def __init__(self) -> None:
        self.things: list[str] = []
        self.taken: list[str] = []
        self.stuck: set[str] = set()

    def put(self, thing: str) -> None:
        self.things.append(thing)

    async def take(self, thing: str) -> None:
        await asyncio.sleep(0)
        if thing in self.stuck:
            raise Broken(thing)
        self.things.remove(thing)
        self.taken.append(thing)

    def take_at_once(self, thing: str) -> None:
        self.things.remove(thing)
        self.taken.append(thing)


@pytest.fixture
def table() -> Table:
    return Table()


async def lay(table: Table, *things: str, fail: bool) -> None:
    async with Undo() as undo:
        for thing in things:
            table.put(thing)
            undo.push(f"take {thing}", table.take, thing)
        if fail:
            raise Broken("the cause")


async def test_success_forgets(table: Table) -> None:
    await lay(table, "cloth", "plate", fail=False)
    assert table.things == ["cloth", "plate"]


async def test_failure_unwinds_backwards(table: Table) -> None:
    with pytest.raises(Broken, match="the cause"):
        await lay(table, "cloth", "plate", "fork", fail=True)
    assert table.things == []
    assert table.taken == ["fork", "plate", "cloth"]


async def test_plain_functions_undo_too(table: Table) -> None:
    async def work() -> None:
        async with Undo() as undo:
            table.put("cloth")
            undo.push("take cloth", table.take_at_once, "cloth")
            raise Broken

    with pytest.raises(Broken):
        await work()
    assert table.things == []


async def test_an_undo_that_fails_hinders_no_other_and_the_cause_is_kept(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    table.stuck.add("plate")
    with caplog.at_level(logging.ERROR), pytest.raises(Broken, match="the cause") as caught:
        await lay(table, "cloth", "plate", "fork", fail=True)
    assert table.taken == ["fork", "cloth"]
    assert caught.value.__notes__ == ["undo of it failed: take plate: plate"]
    assert "undo failed: take plate" in caplog.text


async def test_cancellation_unwinds_to_the_end_even_if_cancelled_again(table: Table) -> None:
    begun = asyncio.Event()
    unwinding = asyncio.Event()
    go_on = asyncio.Event()

    async def slow_take(thing: str) -> None:
        unwinding.set()
        await go_on.wait()
        await table.take(thing)

    async def work() -> None:
        async with Undo() as undo:
            table.put("cloth")
            undo.push("take cloth", slow_take, "cloth")
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    await unwinding.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert table.things == []


async def test_finished_hands_over_the_result_and_then_the_cancellation() -> None:
    go_on = asyncio.Event()
    begun = asyncio.Event()
    got: list[int] = []

    async def call() -> int:
        begun.set()
        await go_on.wait()
        return 7

    async def work() -> None:
        got.append(await finished(call()))
        await asyncio.sleep(0)
        got.append(0)

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert got == [7]


async def test_finished_raises_what_the_call_raises() -> None:
    async def call() -> None:
        raise Broken("in the call")

    with pytest.raises(Broken, match="in the call"):
        await finished(call())


async def test_off_loop_runs_elsewhere() -> None:
    assert await off_loop(sum, [1, 2, 3]) == 6


async def test_calls_made_together_give_their_results_in_order() -> None:
    async def after(waits: int) -> int:
        for _ in range(waits):
            await asyncio.sleep(0)
        return waits

    assert await together(after(3), after(0), after(1)) == [3, 0, 1]
    assert await together() == []


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_was_done_together_is_undone_together(cancelled: bool) -> None:
    """One fails, or nobody waits any more: what another was in the middle of is ended, and then undone."""
    done: list[str] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def make() -> None:
        begun.set()
        await go_on.wait()
        done.append("made")

    async def slow(undo: Undo) -> None:
        await finished(make())
        undo.push("unmake", done.append, "unmade")
        await asyncio.sleep(60)

    async def fail() -> None:
        await begun.wait()
        asyncio.get_running_loop().call_later(0.01, go_on.set)
        if not cancelled:
            raise Broken("no")
        await asyncio.sleep(60)

    async def both() -> None:
        async with Undo() as undo:
            await together(slow(undo), fail())

    task = asyncio.create_task(both())
    await begun.wait()
    if cancelled:
        task.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else Broken):
        await task
    assert done == ["made", "unmade"]
