"""Databases that were made by earlier code become what new ones are."""

from pathlib import Path

import sqlalchemy as sa

from polyport.db.schema import upgrade


def shape(engine: sa.Engine) -> dict[str, set[tuple[str, str, bool, str | None]]]:
    """Table -> (column, type, nullable, default)."""
    look = sa.inspect(engine)
    return {
        table: {
            (column["name"], str(column["type"]), column["nullable"], column["default"])
            for column in look.get_columns(table)
        }
        for table in look.get_table_names()
    }


def test_ports_of_the_first_schema_are_kept_and_not_marked(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("new", "old")]
    for url in urls:
        upgrade(url)
    new, old = (sa.create_engine(url, poolclass=sa.NullPool) for url in urls)
    with old.begin() as connection:
        # Back to what the first schema was, with a port in it.
        connection.execute(sa.text("ALTER TABLE ports DROP COLUMN default_route"))
        connection.execute(sa.text("ALTER TABLE server_actions DROP COLUMN revision"))
        connection.execute(sa.text("ALTER TABLE domains DROP COLUMN tags"))
        connection.execute(sa.text("DROP TABLE security_group_refusals"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
        table = sa.Table("ports", sa.MetaData(), autoload_with=connection)
        values = {column.name: 0 if isinstance(column.type, sa.Integer | sa.Boolean) else "x" for column in table.c}
        connection.execute(sa.insert(table).values({**values, "id": "p"}))
    assert shape(old) != shape(new)
    for _ in range(2):
        upgrade(urls[1])
    assert shape(old) == shape(new)
    with old.connect() as connection:
        assert connection.execute(sa.text("SELECT id, default_route FROM ports")).all() == [("p", 0)]
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == ["0006"]


def test_what_a_server_has_not_becomes_null(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    upgrade(url)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0002'"))
        table = sa.Table("servers", sa.MetaData(), autoload_with=connection)
        plain = {column.name: 0 if isinstance(column.type, sa.Integer | sa.Boolean) else "x" for column in table.c}
        plain |= {"wanted": "running", "image": sa.text("'null'"), "fault": sa.text("'null'"), "key": sa.text("'[1]'")}
        connection.execute(sa.insert(table).values(plain | {"trusted_certificates": sa.null()}))
    upgrade(url)
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT image, fault, key, trusted_certificates, name FROM servers")).one()
    assert tuple(row) == (None, None, "[1]", None, "x")


def test_a_database_is_made_whole_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    upgrade(url)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    assert {name for name, *_ in shape(engine)["ports"]} >= {"id", "default_route"}
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT value FROM revisions")).scalars().all() == [0]
