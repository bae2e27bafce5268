"""The configuration file."""

from pathlib import Path

import pytest

from polyport.config import Config, ConfigError, NoConfig, read_config


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "polyport.toml"
    path.write_text(text)
    return path


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, 'state = "/srv/polyport"\n[api]\nport = 9000\n'))
    assert config.state == Path("/srv/polyport")
    assert config.api.port == 9000
    assert config.hypervisor == Config().hypervisor
    assert config.database_url == "sqlite:////srv/polyport/polyport.db"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('state = "relative"', "state"),
        ("state = 5", "state"),
        ("zzz = 1", "zzz"),
        ('[hypervisor]\ndriver = "xen"', "hypervisor.driver"),
        ("[api]\nport = 70000", "api.port"),
        ("[limits]\nnic_slots = 249", "limits.nic_slots"),
        ("[limits]\nport = -2", "limits.port"),
        ("[api", "not valid"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(written(tmp_path, text))
    assert field in caught.value.message
    assert "polyport.toml" in caught.value.message


def test_a_file_that_is_not_there_is_not_called_invalid(tmp_path: Path) -> None:
    with pytest.raises(NoConfig, match=r"typo\.toml cannot be read: No such file or directory\."):
        read_config(tmp_path / "typo.toml")
