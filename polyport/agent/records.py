"""Servers' own directories and the record in each. All functions block; none of them follows anything but
ids."""

import logging
import shutil
from pathlib import Path

import msgspec

from polyport.agent.reconcile import Record
from polyport.errors import HostError
from polyport.ids import ServerId, is_uuid
from polyport.names import directory_of

log = logging.getLogger(__name__)

RECORD = "record.json"


class NotAnId(HostError):
    """{id!r} is not a UUID, and no file may be named after it."""


def directory(servers: Path, server_id: ServerId) -> Path:
    """A server's own directory below `servers`. Raises `NotAnId`."""
    if not is_uuid(server_id):
        raise NotAnId(id=server_id)
    return servers / directory_of(server_id)


def make_directory(path: Path) -> bool:
    """Make a server's directory, for its owner's eyes only: it holds passwords and user data. False: it was
    there."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def remove_directory(path: Path) -> None:
    """Delete a server's directory and all in it; does nothing where there is none."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        log.debug("no directory to remove", extra={"action": "remove", "server": path.name})


def write_file(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_record(path: Path, record: Record) -> None:
    """Write the record into a server's directory."""
    write_file(path / RECORD, msgspec.json.encode(record))


def read_record(path: Path) -> Record | None:
    """The record in a server's directory; None where there is none that can be read."""
    try:
        return msgspec.json.decode((path / RECORD).read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError):
        log.exception("record is not readable", extra={"action": "adopt", "server": path.name})
        return None


def read_all(servers: Path) -> dict[ServerId, Record | None]:
    """The servers that have a directory, with their records. Makes `servers` itself where it is missing."""
    servers.mkdir(parents=True, exist_ok=True)
    return {ServerId(path.name): read_record(path) for path in servers.iterdir() if is_uuid(path.name)}
