"""Prebuilt statements do what SQLAlchemy would have done: whoever runs them cannot tell the two ways apart."""

import datetime
import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql.dml import Delete, Insert, Update, UpdateBase

import polyport
from polyport.db.engine import Database, Tx
from polyport.db.prebuilt import Programs
from polyport.db.tables import metadata
from tests.api.client import TestCloud
from tests.api.stock import make_server

Statement = sa.SelectBase | UpdateBase


def module_statements() -> Iterator[tuple[str, Statement]]:
    """Every statement that stands at module level, by where it stands."""
    for module in pkgutil.walk_packages(polyport.__path__, "polyport."):
        if module.name.split(".")[1] not in ("compute", "identity", "image", "network", "quotas"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Statement):
                yield f"{module.name}.{name}", value


STATEMENTS = dict(module_statements())


@pytest.fixture
async def lived_in(tmp_path: Path) -> AsyncIterator[Database]:
    """The database of a cloud in which something has happened."""
    async with TestCloud(tmp_path) as cloud:
        client = await cloud.client("demo", "member")
        await client.made("/compute/os-keypairs", {"keypair": {"name": "key"}})
        more = {"metadata": {"role": "wan"}, "tags": ["edge"], "key_name": "key", "user_data": "I2Nsb3Vk"}
        server = await make_server(client, nics=3, **more)
        group = {"security_group": {"name": "more"}}
        groups = [(await client.made("/network/security-groups", group))["id"] for _ in range(2)]
        nic = (await client.get(f"/compute/servers/{server['id']}/os-interface")).json()["interfaceAttachments"][1]
        change = {
            "security_groups": groups,
            "allowed_address_pairs": [{"ip_address": "10.9.0.0/16"}],
            "extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400"}],
        }
        changed = await client.put(f"/network/ports/{nic['port_id']}", {"port": change})
        assert changed.is_success, changed.text
        url = cloud.config.database_url
    database = Database(url)
    database.open()
    yield database
    database.close()


def samples(tx: Tx) -> dict[str, Any]:
    """A value for every place that statements leave open: what it is called says what it is."""

    def column(name: str) -> list[Any]:
        table, key = name.split(".")
        return list(tx.connection.scalars(sa.select(metadata.tables[table].c[key])))

    server, port, subnet = column("nics.server_id")[0], column("nics.port_id")[1], column("subnets.id")[0]
    tables = ("servers", "ports", "networks", "security_groups")
    every_id = [found for table in tables for found in column(f"{table}.id")]
    here = column("hosts.name")[0]
    return {
        "ids": every_id, "servers": every_id, "networks": every_id, "subnets": [subnet],
        "macs": column("ports.mac_address"), "addresses": column("addresses.address"),
        "server": server, "server_": server, "port": port, "subnet": subnet, "image": column("images.id")[0],
        "on": here, "host": here, "host_": here, "project": column("servers.project_id")[0], "defaults": "",
        "p": column("servers.project_id")[0], "r": "port", "n": 2, "user": column("servers.user_id")[0],
        "digest": column("tokens.digest")[0], "at": "2000-01-01", "flavor_id": "42", "called": "key",
        "first": "0" * 32, "last": "f" * 32, "most": 2, "since": 0, "everything": False, "target": "project",
        "target_id": column("servers.project_id")[0], "old": 2, "new": 9, "slot": 7, "cpus_": 1, "memory_": -1,
    }  # fmt: skip


def values_of(tx: Tx, statement: Statement, known: Mapping[str, Any]) -> list[Any]:
    """What to run a statement with: once, or, for an insert, with one row, with its defaults left out, with many."""
    if isinstance(statement, Insert):
        table = statement.table
        rows = [dict(row) for row in tx.connection.execute(sa.select(table)).mappings()]
        assert isinstance(table, sa.Table)
        assert rows, f"nothing in {table.name}"
        plain = {name: value for name, value in rows[0].items() if table.c[name].default is None}
        return [rows[0], plain, rows[:1], rows]
    open_places = {
        bind.key: bind for bind in statement.compile(tx.connection).binds.values() if bind.required
    }  # an update that names no columns has all of them open
    if isinstance(statement, Update) and not statement._values:
        assert isinstance(statement.table, sa.Table)
        columns = {column.key for column in statement.table.c}
        row = dict(tx.connection.execute(sa.select(statement.table)).mappings().first() or {})
        return [
            {key: known[key] for key in open_places if key not in columns}
            | {key: value for key, value in row.items() if not statement.table.c[key].primary_key}
        ]
    return [{key: known.get(key, _any_of(bind.type)) for key, bind in open_places.items()}]


def _any_of(kind: sa.types.TypeEngine[Any]) -> Any:
    return {int: 1, bool: True}.get(kind.python_type, "x")


def ways(connection: sa.Connection, statement: Statement, values: Any) -> tuple[Tx, Tx | None]:
    """The same transaction twice: one that meets the statement for the first time, and takes the ordinary way, and one
    that has met it before; None where that makes no difference."""
    fresh, known = Programs(connection.dialect), Programs(connection.dialect)
    known.find(statement, values)
    return Tx(connection, fresh), None if known.find(statement, values) is None else Tx(connection, known)


def run(tx: Tx, statement: Statement, values: Any) -> Any:
    """All that can be seen of a run, which is then undone: rows with their names and types, or the table it changed."""
    connection = tx.connection
    connection.exec_driver_sql("SAVEPOINT run")
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    seen: list[Any] = []
    try:
        if isinstance(statement, Insert) and statement.table is not kinds:
            connection.execute(sa.delete(statement.table))
        if isinstance(statement, Insert | Update) or not _gives_rows(statement):
            seen.append(tx.execute(statement, values).rowcount)
        else:
            rows = tx.all(statement, values)
            seen += [[(name, value, type(value)) for name, value in row._mapping.items()] for row in rows]
        if isinstance(statement, Insert | Update | Delete):
            assert isinstance(statement.table, sa.Table)
            # As it is stored, not as it is read back.
            seen += [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {statement.table.name}")]
    except sa.exc.DBAPIError as error:
        seen.append((type(error), str(error.orig)))
    finally:
        connection.exec_driver_sql("ROLLBACK TO run")
        connection.exec_driver_sql("RELEASE run")
    return seen


def _gives_rows(statement: Statement) -> bool:
    return isinstance(statement, sa.SelectBase) or bool(statement._returning)


async def test_every_statement_at_module_level_is_prebuilt_and_does_the_same(lived_in: Database) -> None:
    silent: set[str] = set()

    def work(tx: Tx) -> None:
        known = samples(tx)
        for place, statement in STATEMENTS.items():
            for values in values_of(tx, statement, known):
                ordinary, prebuilt = ways(tx.connection, statement, values)
                if prebuilt is None:
                    # One row whose key or defaults SQLAlchemy makes; nobody who is in a hurry inserts such.
                    assert isinstance(values, dict), place
                    assert isinstance(statement, Insert), place
                    continue
                seen = run(ordinary, statement, values)
                assert run(prebuilt, statement, values) == seen, place
                if isinstance(statement, sa.SelectBase) and not any(seen):
                    silent.add(place.removeprefix("polyport."))

    await lived_in.write(work)
    assert len(STATEMENTS) > 60
    # A read that finds nothing proves little: where nothing is open, quarantined or refused, that is some, not most.
    assert len(silent) < len(STATEMENTS) / 6, silent


kinds = sa.Table(
    "kinds",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("truth", sa.Boolean, default=True),
    sa.Column("document", sa.JSON),
    sa.Column("at", sa.DateTime),
    sa.Column("day", sa.Date),
    sa.Column("share", sa.Float, default=0.5),
    sa.Column("bytes", sa.LargeBinary),
    sa.Column("word", sa.String(8), default="left out", onupdate="changed"),
)
ROWS: list[dict[str, Any]] = [
    {
        "number": 1,
        "truth": False,
        "document": {"a": [1, None, "\u00e9"]},
        "at": datetime.datetime(2026, 11, 22, 18, 0, 0, 5),  # noqa: DTZ001 - as the type has it
        "day": datetime.date(2026, 11, 22),
        "share": 1.0,
        "bytes": b"\0\xff",
        "word": "given",
    },
    {"number": 2, "truth": None, "document": None, "at": None, "day": None, "share": None, "bytes": None, "word": None},
]
numbers: sa.BindParameter[Any] = sa.bindparam("numbers", expanding=True)
documents: sa.BindParameter[Any] = sa.bindparam("documents", type_=sa.JSON, expanding=True)
days: sa.BindParameter[Any] = sa.bindparam("days", type_=sa.Date, expanding=True)
EVERY = sa.select(kinds).order_by(kinds.c.number)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (EVERY, None),
        (EVERY.where(kinds.c.number.in_(numbers)), {"numbers": [1, 2, 3]}),
        (EVERY.where(kinds.c.number.not_in(numbers)), {"numbers": []}),
        (EVERY.where(kinds.c.number.in_(numbers), kinds.c.day.in_(days)), {"numbers": [1], "days": [ROWS[0]["day"]]}),
        (EVERY.where(kinds.c.document.in_(documents)), {"documents": [ROWS[0]["document"], None]}),
        (EVERY.where(kinds.c.at == sa.bindparam("then")), {"then": ROWS[0]["at"]}),
        (EVERY.where(kinds.c.truth == sa.bindparam("truth", False)), None),
        (EVERY.where(kinds.c.truth == sa.bindparam("truth", True)), {"truth": False}),
        (EVERY.where(kinds.c.number.in_((1, 2)), kinds.c.word == "given"), None),
        (sa.union_all(sa.select(kinds.c.truth), sa.select(kinds.c.truth).where(kinds.c.number == 1)), None),
        (sa.insert(kinds), {**ROWS[0], "number": 9}),
        (sa.insert(kinds), [{**row, "number": row["number"] + 10} for row in ROWS]),
        (sa.insert(kinds), [{"number": 5, "document": {}}, {"number": 6, "document": None}]),
        (sa.insert(kinds), [ROWS[0]]),
        (insert(kinds).on_conflict_do_nothing(["number"]), ROWS),
        (sa.update(kinds).where(kinds.c.number == sa.bindparam("which")), {"which": 1, "document": [], "truth": None}),
        (sa.update(kinds).values(share=kinds.c.share + sa.bindparam("more")), {"more": 2}),
        (sa.delete(kinds).where(kinds.c.number.in_(numbers)).returning(kinds.c.document), {"numbers": [1]}),
        (sa.delete(kinds), None),
    ],
)
def test_values_of_every_kind_are_the_same_in_both_ways(statement: Statement, values: Any) -> None:
    engine = sa.create_engine("sqlite://", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        kinds.create(connection)
        connection.execute(sa.insert(kinds), ROWS)
        ordinary, prebuilt = ways(connection, statement, values)
        assert prebuilt is not None
        seen = run(ordinary, statement, values)
        assert run(prebuilt, statement, values) == seen
        assert seen
    engine.dispose()


def test_a_value_that_is_missing_is_an_error_in_both_ways() -> None:
    statement = EVERY.where(kinds.c.number == sa.bindparam("wanted", type_=sa.Integer))
    engine = sa.create_engine("sqlite://", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        kinds.create(connection)
        for way in ways(connection, statement, {}):
            assert way is not None
            with pytest.raises((sa.exc.StatementError, KeyError), match="wanted"):
                way.all(statement, {})
    engine.dispose()
