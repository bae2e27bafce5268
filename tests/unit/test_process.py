"""The process: who may read what it writes, where clients are told to go, and mistakes said in words."""

import json
import stat
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from polyport import cloud, process
from polyport.cli import _configured, main
from polyport.config import Api, Config


def announced(tmp_path: Path, api: Api, clouds: Path | None = None) -> str:
    config = Config(state=tmp_path, api=api)
    process._announce(config, "secret", clouds)
    document = json.loads((tmp_path / "clouds.yaml").read_text())
    return str(document["clouds"]["polyport"]["auth"]["auth_url"])


def test_a_password_is_nobody_elses_to_read(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("{}")
    mine.chmod(0o644)
    announced(tmp_path, Api(), mine)
    for path in (mine, tmp_path / "clouds.yaml"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "secret" in path.read_text()


@pytest.mark.parametrize(
    ("listen", "url"),
    [("127.0.0.1:18765", "http://127.0.0.1:18765/identity"), ("[::1]:18765", "http://[::1]:18765/identity")],
)
def test_where_it_listens_is_where_clients_go(tmp_path: Path, listen: str, url: str) -> None:
    config = _configured(None, tmp_path, listen, True)
    process._listening(config.api.host, config.api.port).close()
    assert announced(tmp_path, config.api) == url


def test_a_cloud_that_moves_keeps_its_password(tmp_path: Path) -> None:
    announced(tmp_path, Api())
    own, mine = tmp_path / "clouds.yaml", tmp_path / "mine.yaml"
    process._announce(Config(state=tmp_path, api=Api(port=9999)), None, mine)
    for path in (own, mine):
        auth = json.loads(path.read_text())["clouds"]["polyport"]["auth"]
        assert (auth["auth_url"], auth["password"]) == ("http://127.0.0.1:9999/identity", "secret")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for text in ("clouds: {}\n", '{"clouds": {"other": {}}}', '{"clouds": []}', "[]"):
        own.write_text(text)
        process._announce(Config(state=tmp_path, api=Api(port=8888)), None, None)
        assert own.read_text() == text, "somebody has made it their own"


@pytest.mark.parametrize(
    "text",
    [
        "clouds:\n  work:\n    auth: {password: mine}\n",
        '{"clouds": {"polyport": {}, "work": {}}}',
        "[]",
        '{"clouds": []}',
        b"\xff",
    ],
)
def test_credentials_of_other_clouds_are_not_written_over(tmp_path: Path, text: str | bytes) -> None:
    mine = tmp_path / "clouds.yaml"
    content = text if isinstance(text, bytes) else text.encode()
    mine.write_bytes(content)
    command = ["up", "--fake", "--state", str(tmp_path / "s"), "--clouds"]
    for path in (mine, tmp_path / "no-such" / "clouds.yaml", tmp_path):
        result = CliRunner().invoke(main, [*command, str(path)])
        assert result.exit_code != 0
        assert "clouds.yaml" in result.output or "is a directory" in result.output
    assert mine.read_bytes() == content
    assert not (tmp_path / "s").exists()


def test_its_own_file_is_written_again(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    process._check_clouds(mine)
    for text in ("", "{}", '{"clouds": {}}'):
        mine.write_text(text)
        process._check_clouds(mine)
    announced(tmp_path, Api(), mine)
    process._check_clouds(mine)


@pytest.mark.parametrize("listen", ["9000", "x:", "x:0", "x:70000", "x:²", "[::1]"])
def test_no_place_to_listen(tmp_path: Path, listen: str) -> None:
    result = CliRunner().invoke(main, ["up", "--fake", "--state", str(tmp_path / "s"), "--listen", listen])
    assert result.exit_code == 2
    assert "HOST:PORT" in result.output
    assert not (tmp_path / "s").exists()


def test_a_cloud_that_runs_is_not_taken_down(tmp_path: Path) -> None:
    config = tmp_path / "polyport.toml"
    config.write_text('[hypervisor]\ndriver = "fake"\n[dataplane]\ndriver = "fake"\n')
    command = ["down", "--config", str(config), "--state", str(tmp_path / "state")]
    with cloud.state_of(tmp_path / "state", new=True):
        for words in (command, ["admin", *command[1:]]):
            result = CliRunner().invoke(main, words)
            assert result.exit_code == 1
            assert "Another polyport runs" in result.output
    config.write_text("nonsense")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "not valid" in result.output


@pytest.mark.parametrize("verb", ["down", "admin"])
def test_where_no_cloud_has_been_none_is_made(tmp_path: Path, verb: str) -> None:
    result = CliRunner().invoke(main, [verb, "--state", str(tmp_path / "typo")])
    assert result.exit_code == 1
    assert f"{tmp_path / 'typo'} cannot be used: No such file" in result.output
    assert not (tmp_path / "typo").exists()


async def test_a_database_is_nobody_elses_to_read(tmp_path: Path) -> None:
    config = Config(state=tmp_path, hypervisor=msgspec.structs.replace(Config().hypervisor, driver="fake"))
    config = msgspec.structs.replace(config, dataplane=msgspec.structs.replace(config.dataplane, driver="fake"))
    tmp_path.chmod(0o755)
    async with cloud.running(config):
        for path in tmp_path.glob("polyport.db*"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_database_of_a_newer_polyport_is_left_alone(tmp_path: Path) -> None:
    command = ["admin", "--state", str(tmp_path)]
    assert CliRunner().invoke(main, command).exit_code == 0
    engine = sa.create_engine(f"sqlite:///{tmp_path}/polyport.db", poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "newer polyport" in result.output
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == ["9999"]
