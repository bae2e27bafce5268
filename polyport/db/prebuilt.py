"""Prebuilt statements, run on the driver's own connection.

SQLAlchemy's work for each execution (cache key, context, result object) costs several times what SQLite needs for a
statement that finds its row by its key. All it depends on is the statement and the names of its values: so it is done
once here, and kept for as long as the statement is. Only statements that come twice are kept, which are those that
stand at module level; one that is built for a call goes the ordinary way, and so does whatever is not known here
(`Program.build` gives None): the two ways give the same answers.
"""

import operator
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


class Program:
    """One statement for one set of value names."""

    def __init__(self, compiled: SQLCompiler, keys: Sequence[str], filled: Mapping[str, Any]) -> None:
        self._text = compiled.string
        names = compiled.positiontup or []
        binds = [compiled.binds[name] for name in names]
        lists = [bind in compiled.post_compile_params for bind in binds]
        self._lists = [at for at, is_list in enumerate(lists) if is_list]
        self._pick = _picker([bind.key for bind in binds])
        self._constants: dict[str, Any] = {}
        self._conversions: list[tuple[int, Processor]] = []
        for at, (name, bind, is_list) in enumerate(zip(names, binds, lists, strict=True)):
            convert: Any = compiled._bind_processors.get(name)
            if convert is not None and is_list:
                convert = _for_each(convert)
            if bind.key not in keys and (name in filled or not bind.required):
                value = filled.get(name, bind.value)
                self._constants[bind.key] = value if convert is None else convert(value)
            elif convert is not None:
                self._conversions.append((at, convert))
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
        if not isinstance(statement, sa.SelectBase | UpdateBase):
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
        return cls(compiled, keys, filled)

    def run(self, connection: sqlite3.Connection, values: Mapping[str, Any]) -> sqlite3.Cursor:
        given = self._given(values)
        if not self._lists:
            return connection.execute(self._text, given)
        lengths = tuple(len(given[at]) for at in self._lists)
        for at in reversed(self._lists):
            given[at : at + 1] = given[at]
        return connection.execute(self._with_lists(lengths), given)

    def run_many(self, connection: sqlite3.Connection, rows: Sequence[Mapping[str, Any]]) -> sqlite3.Cursor:
        return connection.executemany(self._text, map(self._given, rows))

    def _given(self, values: Mapping[str, Any]) -> list[Any]:
        """What the driver gets for the places of the statement, in their order."""
        found = list(self._pick({**self._constants, **values} if self._constants else values))
        for at, convert in self._conversions:
            found[at] = convert(found[at])
        return found

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


def _picker(keys: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """A function that takes the values of these keys out of a mapping."""
    if len(keys) > 1:
        return operator.itemgetter(*keys)
    return lambda values: [values[key] for key in keys]


def _for_each(processor: Processor) -> Processor:
    return lambda values: [processor(value) for value in values]


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
