"""Prebuilt statements, run on the driver's own connection.

SQLAlchemy's work for each execution (cache key, context, result object) costs several times what SQLite needs for a
statement that finds its row by its key. All it depends on is the statement and the names of its values: so it is done
once here, and kept for as long as the statement is. Only statements that come twice are kept, which are those that
stand at module level; one that is built for a call goes the ordinary way, and so does whatever is not known here
(`Program.build` gives None): the two ways give the same answers.
"""

import re
import sqlite3
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Dialect, result_tuple
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase

_LIST = re.compile(r"__\[POSTCOMPILE_(\w+)\]")
_KEPT_TEXTS = 64
"""Texts kept of one statement with lists in it, one for each length of its lists."""

Processor = Callable[[Any], Any]


class Done(Protocol):
    """What is known of a statement that was carried out."""

    @property
    def rowcount(self) -> int: ...

    @property
    def lastrowid(self) -> int | None: ...


class _Bind:
    """A place for a value: where it comes from, and what is done to it on the way to the driver."""

    __slots__ = ("default", "key", "many", "name", "processor", "required")

    def __init__(self, compiled: SQLCompiler, name: str, filled: Mapping[str, Any]) -> None:
        bind = compiled.binds[name]
        self.name = name
        self.key = bind.key
        self.many = bind in compiled.post_compile_params
        self.default = filled.get(name, bind.value)
        self.required = bind.required and name not in filled
        processor: Any = compiled._bind_processors.get(name)
        self.processor: Processor | None = processor

    def value(self, values: Mapping[str, Any]) -> Any:
        if self.key in values:
            value = values[self.key]
        elif self.required:
            raise KeyError(self.key)
        else:
            value = self.default
        if self.processor is None:
            return value
        return [self.processor(each) for each in value] if self.many else self.processor(value)


class Program:
    """One statement for one set of value names."""

    def __init__(self, compiled: SQLCompiler, filled: Mapping[str, Any]) -> None:
        self._text = compiled.string
        self._binds = tuple(_Bind(compiled, name, filled) for name in compiled.positiontup or ())
        self._plain = not any(bind.many for bind in self._binds)
        self._texts: dict[tuple[int, ...], str] = {}
        dialect = compiled.dialect
        columns = compiled._result_columns
        processors = [column.type._cached_result_processor(dialect, None) for column in columns]
        self._processors: list[tuple[int, Processor]] = [
            (at, processor) for at, processor in enumerate(processors) if processor is not None
        ]
        self._row = result_tuple([column.keyname for column in columns], [column.objects for column in columns])

    @classmethod
    def build(
        cls, statement: sa.Executable, dialect: Dialect, keys: tuple[str, ...], *, many: bool
    ) -> "Program | None":
        """None where a statement does what only SQLAlchemy can do for it."""
        if not isinstance(statement, sa.Select | UpdateBase):
            return None
        changes = isinstance(statement, UpdateBase)
        compiled = statement.compile(dialect=dialect, column_keys=list(keys) if changes else None, for_executemany=many)
        if compiled.literal_execute_params:
            return None
        if compiled.implicit_returning:
            return None
        if many and compiled.effective_returning:
            return None
        filled: dict[str, Any] = {}
        if changes:
            for column in (*compiled.insert_prefetch, *compiled.update_prefetch):
                default = column.default if compiled.isinsert else column.onupdate
                if not isinstance(default, sa.ColumnDefault) or not default.is_scalar:
                    return None
                filled[column.key] = default.arg
        if len({column.keyname for column in compiled._result_columns}) < len(compiled._result_columns):
            return None
        if any(bind.callable is not None or bind.type._is_tuple_type for bind in compiled.binds.values()):
            return None
        lists = {compiled.bind_names[bind] for bind in compiled.post_compile_params}
        if set(_LIST.findall(compiled.string)) != lists or (many and lists):
            return None
        return cls(compiled, filled)

    def run(self, connection: sqlite3.Connection, values: Mapping[str, Any]) -> sqlite3.Cursor:
        if self._plain:
            return connection.execute(self._text, [bind.value(values) for bind in self._binds])
        given: list[Any] = []
        lengths: list[int] = []
        for bind in self._binds:
            value = bind.value(values)
            if bind.many:
                given.extend(value)
                lengths.append(len(value))
            else:
                given.append(value)
        return connection.execute(self._with_lists(tuple(lengths)), given)

    def run_many(self, connection: sqlite3.Connection, rows: Sequence[Mapping[str, Any]]) -> sqlite3.Cursor:
        return connection.executemany(self._text, [[bind.value(row) for bind in self._binds] for row in rows])

    def rows(self, found: Sequence[tuple[Any, ...]]) -> list[sa.Row[Any]]:
        """The driver's rows as SQLAlchemy gives them: by name, JSON decoded, truths true or false."""
        if not self._processors:
            return [self._row(row) for row in found]
        made = []
        for row in found:
            values = list(row)
            for at, processor in self._processors:
                values[at] = processor(values[at])
            made.append(self._row(values))
        return made

    def _with_lists(self, lengths: tuple[int, ...]) -> str:
        text = self._texts.get(lengths)
        if text is None:
            left = iter(lengths)
            text = _LIST.sub(lambda _: ", ".join("?" * next(left)), self._text)
            if len(self._texts) < _KEPT_TEXTS:
                self._texts[lengths] = text
        return text


class Programs:
    """The programs of a database. A statement is met once the ordinary way, and has its program from then on."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._kept: weakref.WeakKeyDictionary[sa.Executable, dict[tuple[object, ...], Program | None]] = (
            weakref.WeakKeyDictionary()
        )

    def find(self, statement: sa.Executable, values: Any) -> Program | None:
        """The program for a statement and what it is run with (None, a mapping or several); None: there is none."""
        programs = self._kept.get(statement)
        if programs is None:
            self._kept[statement] = {}
            return None
        many = isinstance(values, list)
        keys = tuple(values[0] if many else values) if values else ()
        name = (many, keys)
        if name not in programs:
            programs[name] = Program.build(statement, self._dialect, keys, many=many)
        return programs[name]

    def wrapped(self, error: sqlite3.Error, statement: sa.Executable) -> BaseException:
        """The driver's error as SQLAlchemy raises it."""
        made: BaseException = sa.exc.DBAPIError.instance(
            str(statement), None, error, sqlite3.Error, dialect=self._dialect
        )
        return made
