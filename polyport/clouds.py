"""Where a cloud is and who one is there, as OpenStack's clients are told: `clouds.yaml`, or `OS_*` in the environment.

Source: openstacksdk's documentation, "Configuring OpenStack SDK Applications". Of the ways to log in there is one: a
password.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from polyport.errors import Invalid

FOLDERS = (Path(), Path("~/.config/openstack"), Path("/etc/openstack"))
"""Where `clouds.yaml` is looked for; the first that is found counts."""


class NoCloud(Invalid):
    """It is not said which cloud: {reason}."""


class BadClouds(Invalid):
    """{path} cannot be used: {reason}."""


class Access(Struct, frozen=True, kw_only=True):
    """What it takes to get a token."""

    auth_url: str
    username: str
    password: str
    user_domain: dict[str, str]
    """`{"id": ...}` or `{"name": ...}`."""
    project: dict[str, Any]
    """The same, with a domain where it is named."""
    region: str | None = None
    interface: str = "public"
    authority: str | None = None
    """A file of certificates to trust, beside those the system trusts."""
    verify: bool = True


def find_access(name: str | None, environment: Mapping[str, str]) -> Access:
    """How to reach the cloud `name`, or `OS_CLOUD`, or the one of `OS_AUTH_URL`, or the only one there is in the file.

    Raises `NoCloud`, `BadClouds`.
    """
    name = name or environment.get("OS_CLOUD")
    if name is None and "OS_AUTH_URL" in environment:
        return _from_environment(environment)
    path = _find_file(environment)
    if path is None:
        raise NoCloud(reason="there is no clouds.yaml, and OS_AUTH_URL is not set")
    clouds = _read(path)
    if name is None:
        if len(clouds) != 1:
            raise NoCloud(reason=f"--os-cloud or OS_CLOUD must name one of {', '.join(map(str, clouds)) or 'none'}")
        (name,) = clouds
    entry = clouds.get(name)
    if not isinstance(entry, dict):
        raise BadClouds(path=path, reason=f"it has no cloud {name}")
    given = entry.get("auth")
    try:
        return _access(given if isinstance(given, dict) else {}, entry)
    except KeyError as error:
        raise BadClouds(path=path, reason=f"cloud {name} has no {error.args[0]}") from error


def _from_environment(environment: Mapping[str, str]) -> Access:
    words = {key.removeprefix("OS_").lower(): value for key, value in environment.items() if key.startswith("OS_")}
    try:
        return _access(words, words)
    except KeyError as error:
        raise NoCloud(reason=f"OS_{error.args[0].upper()} is not set") from error


def _find_file(environment: Mapping[str, str]) -> Path | None:
    if named := environment.get("OS_CLIENT_CONFIG_FILE"):
        return Path(named)
    for folder in FOLDERS:
        for suffix in ("yaml", "yml", "json"):
            path = folder.expanduser() / f"clouds.{suffix}"
            if path.is_file():
                return path
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()
        try:
            document = msgspec.json.decode(text)
        except msgspec.DecodeError:
            # What `polyport up` writes is JSON, so this is for files of others.
            document = msgspec.yaml.decode(text)
    except ImportError as error:
        raise BadClouds(path=path, reason="YAML needs the package PyYAML (JSON does not)") from error
    except OSError as error:
        raise BadClouds(path=path, reason=error.strerror) from error
    except msgspec.DecodeError as error:
        raise BadClouds(path=path, reason=error) from error
    clouds = document.get("clouds") if isinstance(document, dict) else None
    if not isinstance(clouds, dict):
        raise BadClouds(path=path, reason="it has no 'clouds'")
    return clouds


def _access(auth: Mapping[str, Any], more: Mapping[str, Any]) -> Access:
    """Raises KeyError with what is missing."""
    if (kind := more.get("auth_type", "password")) not in ("password", "v3password"):
        raise NoCloud(reason=f"a password is wanted, not auth_type {kind}")
    project = _thing(auth, "project") or _thing(auth, "tenant")
    if not project:
        raise KeyError("project_name")
    if "name" in project:
        project = {**project, "domain": _domain(auth, "project_domain")}
    authority, verify = more.get("cacert"), more.get("verify", True)
    return Access(
        auth_url=str(auth["auth_url"]).rstrip("/"),
        username=str(auth["username"]),
        password=str(auth["password"]),
        user_domain=_domain(auth, "user_domain"),
        project=project,
        region=more.get("region_name"),
        interface=str(more.get("interface") or "public").removesuffix("URL"),
        authority=None if authority is None else str(Path(str(authority)).expanduser()),
        verify=verify is not False,
    )


def _domain(auth: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _thing(auth, name) or _thing(auth, "default_domain") or _thing(auth, "domain") or {"id": "default"}


def _thing(auth: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What `<name>_id` or `<name>_name` says."""
    return next(({part: str(auth[key])} for part in ("id", "name") if auth.get(key := f"{name}_{part}")), {})
