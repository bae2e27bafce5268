"""Where a client finds its cloud."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polyport import clouds
from polyport.clouds import Access, BadClouds, NoCloud, find_access

ADMIN = Access(
    auth_url="http://127.0.0.1:8774/identity",
    username="admin",
    password="secret",
    user_domain={"id": "default"},
    project={"name": "admin", "domain": {"id": "default"}},
)
AUTH = {"auth_url": f"{ADMIN.auth_url}/", "username": "admin", "password": "secret", "project_name": "admin"}
ENVIRONMENT = {f"OS_{name.upper()}": value for name, value in AUTH.items()}


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folders that are looked into."""
    here, home = tmp_path / "here", tmp_path / "home"
    for folder in (here, home):
        folder.mkdir()
    monkeypatch.setattr(clouds, "FOLDERS", (here, home))
    return here, home


def write(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({"clouds": entries}))


def test_the_nearest_file_counts(folders: tuple[Path, Path]) -> None:
    here, home = folders
    write(home / "clouds.yaml", there={"auth": AUTH, "region_name": "two"})
    assert find_access("there", {}) == replace(ADMIN, region="two")
    assert find_access(None, {}).region == "two", "the only cloud there is"
    assert find_access(None, {"OS_CLOUD": "there"}).region == "two"
    write(here / "clouds.json", one={"auth": AUTH}, other={"auth": AUTH})
    with pytest.raises(BadClouds, match="no cloud there"):
        find_access("there", {})
    with pytest.raises(NoCloud, match="one of one, other"):
        find_access(None, {})
    assert find_access("there", {"OS_CLIENT_CONFIG_FILE": str(home / "clouds.yaml")}).region == "two"


def test_yaml_as_people_write_it(folders: tuple[Path, Path]) -> None:
    (folders[0] / "clouds.yaml").write_text(
        "clouds:\n  lab:  # ours\n    auth:\n      auth_url: https://lab/v3\n      username: me\n"
        "      password: 'it''s'\n      project_id: 12ab\n      user_domain_name: people\n"
        "    cacert: /ca.pem\n    verify: false\n    interface: internal\n"
    )
    assert find_access("lab", {}) == Access(
        auth_url="https://lab/v3",
        username="me",
        password="it's",
        user_domain={"name": "people"},
        project={"id": "12ab"},
        interface="internal",
        authority="/ca.pem",
        verify=False,
    )


def test_the_environment(folders: tuple[Path, Path]) -> None:
    assert find_access(None, ENVIRONMENT) == ADMIN
    more = {"OS_REGION_NAME": "two", "OS_PROJECT_DOMAIN_NAME": "d", "OS_INTERFACE": "internalURL", "HOME": "/nowhere"}
    found = find_access(None, ENVIRONMENT | more)
    assert (found.region, found.interface) == ("two", "internal")
    assert found.project == {"name": "admin", "domain": {"name": "d"}}
    write(folders[0] / "clouds.yaml", one={"auth": AUTH, "region_name": "file"})
    assert find_access("one", ENVIRONMENT).region == "file", "a cloud that is named comes first"


def test_without_anything_it_says_what_is_missing(folders: tuple[Path, Path]) -> None:
    with pytest.raises(NoCloud, match=r"no clouds\.yaml, and OS_AUTH_URL"):
        find_access(None, {})
    for name in ("OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"):
        with pytest.raises(NoCloud, match=name):
            find_access(None, {key: value for key, value in ENVIRONMENT.items() if key != name})
    with pytest.raises(NoCloud, match="v3applicationcredential"):
        find_access(None, ENVIRONMENT | {"OS_AUTH_TYPE": "v3applicationcredential"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- just\n- a list\n", "no 'clouds'"),
        ("clouds: 5\n", "no 'clouds'"),
        ("clouds: {one: 5}\n", "no cloud one"),
        ("clouds: {one: {auth: {username: a}}}\n", "no project_name"),
        ("clouds: [\n", "clouds.yaml"),
    ],
)
def test_a_file_that_is_wrong_is_named(folders: tuple[Path, Path], text: str, words: str) -> None:
    (folders[0] / "clouds.yaml").write_text(text)
    with pytest.raises(BadClouds, match=words):
        find_access("one", {})
