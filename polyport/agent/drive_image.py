"""Files as a disk a guest can mount: ISO 9660 with Rock Ridge and Joliet, label `config-2`.

Guests look for that label (cloud-init, and everything that knows OpenStack's config drive).
"""

import io
from collections.abc import Mapping
from pathlib import Path

import pycdlib

from polyport.agent.records import write_file

LABEL = "config-2"


def write_drive(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a config drive, whole or not at all. Blocks."""
    write_file(path, drive_image(files))


def drive_image(files: Mapping[str, bytes]) -> bytes:
    """The bytes of the disk. Guests read the Rock Ridge or Joliet names; those of ISO 9660 are only
    numbered."""
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    try:
        folders = {"": ""}
        for number, (path, content) in enumerate(files.items()):
            folder, _, name = path.rpartition("/")
            place = _folder(image, folders, folder)
            image.add_fp(
                io.BytesIO(content),
                len(content),
                f"{place}/F{number}.;1",
                rr_name=name,
                joliet_path=f"/{path}",
            )
        out = io.BytesIO()
        image.write_fp(out)
        return out.getvalue()
    finally:
        image.close()


def _folder(image: pycdlib.PyCdlib, folders: dict[str, str], path: str) -> str:
    """The ISO 9660 path of a folder; makes it, and those above it, where it is missing."""
    if path not in folders:
        above, _, name = path.rpartition("/")
        place = f"{_folder(image, folders, above)}/D{len(folders)}"
        image.add_directory(place, rr_name=name, joliet_path=f"/{path}")
        folders[path] = place
    return folders[path]
