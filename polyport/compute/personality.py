"""Files that a server's owner puts into the guest: appliances read their first configuration from them.

They travel on the config drive and in the metadata service as OpenStack has them: `openstack/content/0000` and so on,
and `files` in `meta_data.json` says which path each of them is meant for. A path is the guest's business alone.
(API reference: "personality" of "Create server", up to microversion 2.56.)
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from polyport.errors import OverQuota
from polyport.quotas import UNLIMITED


class TooManyFiles(OverQuota):
    """Personality file limit exceeded: there are {count}, and there may be {most}."""


class FilePathTooLong(OverQuota):
    """Personality file path exceeds maximum {most}: personality[{index}].path"""


class FileTooLong(OverQuota):
    """Personality file content exceeds maximum {most}: personality[{index}].contents"""


class File(NamedTuple):
    path: str
    contents: str
    """Base64, without white space."""

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.contents) // 4 * 3 - self.contents.count("=")


def check_files(limits: Mapping[str, int], files: Sequence[File]) -> None:
    """Raises `TooManyFiles`, `FilePathTooLong` or `FileTooLong` where they are beyond a project's limits."""
    if _over(limits, "injected_files", len(files)):
        raise TooManyFiles(count=len(files), most=limits["injected_files"])
    for index, file in enumerate(files):
        if _over(limits, "injected_file_path_bytes", len(file.path.encode())):
            raise FilePathTooLong(most=limits["injected_file_path_bytes"], index=index)
        if _over(limits, "injected_file_content_bytes", file.size):
            raise FileTooLong(most=limits["injected_file_content_bytes"], index=index)


def files_of(text: str | None) -> tuple[File, ...]:
    """A server's files as the database keeps them."""
    return () if text is None else msgspec.json.decode(text, type=tuple[File, ...])


def _over(limits: Mapping[str, int], resource: str, amount: int) -> bool:
    most = limits.get(resource, UNLIMITED)
    return most != UNLIMITED and amount > most
