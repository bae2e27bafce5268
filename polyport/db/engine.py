"""Transactions: plain functions on a `Tx`, run one after another by a single writer, or side by side by readers.

SQLite has one writer at a time in any case; here it is one thread with one connection, so nobody ever waits for a lock,
and the writes that came in while the last commit was on its way are committed together (each in a savepoint of its own:
one that fails takes nothing else with it). Readers see the last commit. What a transaction left with `after_commit`
runs after that, and never for one that was rolled back.

The write-ahead log is folded back by the writer itself when it has nothing else to do: no second connection ever
checkpoints, which is what SQLite before 3.51.3 needs to be safe, and clients do not wait for it.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from polyport.db.prebuilt import Done, Program, Programs

T = TypeVar("T")

log = logging.getLogger(__name__)

_MOST_TOGETHER = 64
_CHECKPOINT_AFTER = 100
"""Transactions after which the log is folded back at the next quiet moment. Often, because a log that starts anew is
written over, which costs half of what it does to make the file longer."""
_CHECKPOINT_ALWAYS = 2000
"""The same where there is never a quiet moment: the log must not grow without end."""
_READERS = 2


class Tx:
    """One transaction. `after_commit` and `wake` keep what must happen only once it is committed."""

    def __init__(self, connection: sa.Connection, programs: Programs) -> None:
        self.connection = connection
        self.callbacks: list[Callable[[], None]] = []
        self.woken: set[str] = set()
        self._revision: int | None = None
        self._programs = programs
        self._driver: sqlite3.Connection = _driver(connection)

    def execute(self, statement: sa.Executable, values: Any = None) -> Done:
        """Carry out a statement whose rows, if it has any, are not wanted."""
        cursor, _ = self._run(statement, values)
        return cursor if cursor is not None else self.connection.execute(statement, values)

    def first(self, statement: sa.Executable, values: Any = None) -> sa.Row[Any] | None:
        """The first row, or None."""
        cursor, program = self._run(statement, values)
        if cursor is None or program is None:
            return self.connection.execute(statement, values).first()
        found = program.rows(cursor.fetchall()[:1])
        return found[0] if found else None

    def all(self, statement: sa.Executable, values: Any = None) -> Sequence[sa.Row[Any]]:
        cursor, program = self._run(statement, values)
        if cursor is None or program is None:
            return self.connection.execute(statement, values).all()
        return program.rows(cursor.fetchall())

    def tuples(self, statement: sa.Executable, values: Any = None) -> Sequence[tuple[Any, ...]]:
        """All rows as the driver gives them, for large reads: what is JSON stays text, a truth is 0 or 1."""
        cursor, _ = self._run(statement, values)
        if cursor is None:
            cursor = self.connection.execute(statement, values).cursor
            assert cursor is not None
        return list(cursor.fetchall())

    def value(self, statement: sa.Executable, values: Any = None) -> Any:
        """The first column of the first row, or None."""
        found = self.first(statement, values)
        return None if found is None else found[0]

    def _run(self, statement: sa.Executable, values: Any) -> tuple[Any, Program | None]:
        """Run a statement that was met before on the driver's connection; no cursor where it must go the ordinary
        way, as all would with another driver than SQLite's."""
        program = self._programs.find(statement, values)
        if program is None:
            return None, None
        try:
            if isinstance(values, list):
                return program.run_many(self._driver, values), program
            return program.run(self._driver, values or {}), program
        except sqlite3.Error as error:
            raise self._programs.wrapped(error, statement) from error

    def revision(self) -> int:
        """This transaction's number in the order of all that changed what hosts should do: drawn once, then the same.

        Rows that are part of a host's plan bear it, so that a plan is "what has a number above the one I know".
        """
        if self._revision is None:
            rows = self._driver.execute("UPDATE revisions SET value = value + 1 RETURNING value").fetchall()
            self._revision = int(rows[0][0])
        return self._revision

    def wake(self, host: str) -> None:
        """Wake a host's agent once this is committed."""
        self.woken.add(host)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run `callback` on the event loop once this is committed."""
        self.callbacks.append(callback)


class Wakeups:
    """Events by name, on the event loop: `wait` returns when `wake` was called since its last return, or in time."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def wake(self, name: str) -> None:
        self._events.setdefault(name, asyncio.Event()).set()

    async def wait(self, name: str, timeout: float) -> None:  # noqa: ASYNC109 - the time-out is the point of it
        event = self._events.setdefault(name, asyncio.Event())
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return
        event.clear()


class _Job:
    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[Tx], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future


class Database:
    """The database of one process. `open` it on the event loop that will use it, `close` it there too."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.wakeups = Wakeups()
        self._engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,  # what failed is logged, and passwords are among what is written
            json_serializer=_json_text,
            json_deserializer=msgspec.json.decode,
        )
        sa.event.listen(self._engine, "connect", _prepare)
        self._programs = Programs(self._engine.dialect)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="db-writer", daemon=True)
        self._local = threading.local()
        self._connections: list[sa.Connection] = []
        self._readers = ThreadPoolExecutor(_READERS, "db-reader", initializer=self._open_reader)
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer.start()

    def close(self) -> None:
        """Commit what was asked for, then stop. Idempotent."""
        if self._writer.is_alive():
            self._jobs.put(None)
            self._writer.join()
        self._readers.shutdown()
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._engine.dispose()

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction of its own; its result once that is committed. What `work` raises is raised."""
        assert self._loop is not None
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, future))
        return await future

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on a snapshot; it cannot write."""
        assert self._loop is not None
        return await self._loop.run_in_executor(self._readers, self._read, work)

    def _open_reader(self) -> None:
        connection = self._engine.connect()
        connection.exec_driver_sql("PRAGMA query_only = ON")
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
        self._local.connection = connection
        self._connections.append(connection)

    def _read(self, work: Callable[[Tx], T]) -> T:
        connection: sa.Connection = self._local.connection
        driver = _driver(connection)
        driver.execute("BEGIN")
        try:
            return work(Tx(connection, self._programs))
        finally:
            driver.execute("ROLLBACK")

    def _write_all(self) -> None:
        connection = self._engine.connect()
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
        uncheckpointed = 0
        try:
            while True:
                try:
                    job = self._jobs.get(timeout=0.05 if uncheckpointed >= _CHECKPOINT_AFTER else 3600)
                except queue.Empty:
                    _fold_back(connection)
                    uncheckpointed = 0
                    continue
                if job is None:
                    return
                uncheckpointed += self._write_together(connection, job)
                if uncheckpointed >= _CHECKPOINT_ALWAYS:
                    _fold_back(connection)
                    uncheckpointed = 0
        finally:
            connection.close()

    def _write_together(self, connection: sa.Connection, first: _Job) -> int:
        """Run the first job and those that wait behind it, commit, and only then tell who asked."""
        done: list[tuple[_Job, Any, Tx]] = []
        failed: list[tuple[_Job, BaseException]] = []
        driver = _driver(connection)
        job: _Job | None = first
        count = 0
        try:
            while job is not None:
                count += 1
                if done:
                    driver.execute("SAVEPOINT job")
                else:
                    driver.execute("BEGIN IMMEDIATE")
                tx = Tx(connection, self._programs)
                try:
                    result = job.work(tx)
                except BaseException as error:
                    # The first takes nothing with it: it needs no savepoint to go back to.
                    if done:
                        driver.execute("ROLLBACK TO job")
                        driver.execute("RELEASE job")
                    elif driver.in_transaction:
                        driver.execute("ROLLBACK")
                    failed.append((job, error))
                else:
                    if done:
                        driver.execute("RELEASE job")
                    done.append((job, result, tx))
                job = self._next() if count < _MOST_TOGETHER else None
            if done:
                driver.execute("COMMIT")
        except BaseException as error:
            if driver.in_transaction:
                driver.execute("ROLLBACK")
            known = {id(entry[0]) for entry in failed}
            pending = [entry[0] for entry in done] + ([job] if job is not None and id(job) not in known else [])
            failed.extend((entry, error) for entry in dict.fromkeys(pending))
            done = []
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._settle, done, failed)
        return count

    def _settle(self, done: list[tuple[_Job, Any, Tx]], failed: list[tuple[_Job, BaseException]]) -> None:
        """On the event loop, after the commit: answer who waits, then wake hosts, also where the client has gone. In
        this order, so that a client has its answer before an agent of this process goes to work."""
        for job, result, tx in done:
            for callback in tx.callbacks:
                callback()
            if not job.future.done():
                job.future.set_result(result)
        for job, error in failed:
            if not job.future.done():
                job.future.set_exception(error)
        for _, _, tx in done:
            for host in tx.woken:
                self.wakeups.wake(host)

    def _next(self) -> _Job | None:
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            return None
        if job is None:
            self._jobs.put(None)
        return job


def _fold_back(connection: sa.Connection) -> None:
    """Write what is in the log to its place. Where the disk is full, for one, it stays in the log until another time:
    the writer must outlive that, or nobody would be answered any more."""
    try:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
    except sa.exc.DBAPIError:
        log.warning("the database's log cannot be folded back now", exc_info=True, extra={"action": "checkpoint"})


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _json_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _prepare(connection: sqlite3.Connection, record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA busy_timeout = 10000")
    cursor.execute("PRAGMA temp_store = MEMORY")
    cursor.execute("PRAGMA cache_size = -16000")
    cursor.close()
