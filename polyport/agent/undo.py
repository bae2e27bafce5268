"""The undo stack: what was done, remembered so that a failure half-way leaves nothing behind.

async with Undo() as undo:
    tap = await dataplane.plug(vif)
    undo.push("remove vif", dataplane.unplug, port_id)
    await hypervisor.start(...)          # fails -> the vif is removed, then the error goes on its way
                                         # succeeds -> the stack is forgotten
"""

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Self, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


class Undo:
    """A stack of undo actions. Left with an error (or a cancellation) it runs them backwards; else it
    forgets them.

    An undo that fails is logged, noted on the error, and the rest still runs; the error that began it all
    is kept.
    """

    def __init__(self) -> None:
        self._actions: list[tuple[str, Callable[[], object]]] = []

    def push(self, name: str, action: Callable[..., object], *arguments: object) -> None:
        """Remember how to undo what has just been done. `action` may be a plain function or a coroutine
        function."""
        self._actions.append((name, lambda: action(*arguments)))

    async def unwind(self, error: BaseException) -> None:
        """Run the actions backwards, each whether or not others failed."""
        while self._actions:
            name, action = self._actions.pop()
            try:
                result = action()
                if inspect.isawaitable(result):
                    await result
            except Exception as failure:
                error.add_note(f"undo of it failed: {name}: {failure}")
                log.exception("undo failed: %s", name, extra={"action": "undo", "step": name})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._actions.clear()
        elif self._actions:
            await finished(self.unwind(error))


async def finished(call: Coroutine[object, object, T]) -> T:
    """The result of a call that is not to be broken in the middle.

    Where the waiting task is cancelled meanwhile, the call still runs to its end, its result is handed over
    (so that it can be used or undone), and the cancellation comes up at the task's next wait.
    """
    task = asyncio.ensure_future(call)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled and (waiting := asyncio.current_task()) is not None:
        waiting.uncancel()
        waiting.cancel()
    return task.result()


async def together(*calls: Coroutine[object, object, T]) -> list[T]:
    """The results of calls that do not depend on each other, made side by side.

    Where one fails, the others are broken off and waited for, so that what they did can be undone; then its error is
    raised.
    """
    if len(calls) == 1:
        return [await calls[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as failures:
        first, *others = failures.exceptions
        for other in others:
            first.add_note(f"beside it: {other}")
        raise first from None
    return [task.result() for task in tasks]


async def off_loop(call: Callable[..., T], *arguments: object) -> T:
    """The result of a blocking function, run in a thread and, like `finished`, never left half-way."""
    return await finished(_in_thread(call, *arguments))


async def _in_thread(call: Callable[..., T], *arguments: object) -> T:
    return await asyncio.to_thread(call, *arguments)
