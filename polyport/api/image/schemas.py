"""`/v2/schemas`: what an image and a member look like, as JSON schemas that clients build their forms from."""

from typing import Any

from polyport.db.engine import Tx
from polyport.image.formats import CONTAINER_FORMATS, DISK_FORMATS
from polyport.image.images import VISIBILITIES
from polyport.web.calls import Call, Reply

_UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"


def _text(about: str, *, read_only: bool = False, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string", "description": about, **more}
    if read_only:
        found["readOnly"] = True
    return found


def _number(about: str, *, read_only: bool = False) -> dict[str, Any]:
    if read_only:
        return {"type": ["null", "integer"], "description": about, "readOnly": True}
    return {"type": "integer", "description": about, "minimum": 0}


_PROPERTIES: dict[str, Any] = {
    "id": _text("An identifier for the image", pattern=_UUID),
    "name": {"type": ["null", "string"], "maxLength": 255, "description": "Descriptive name for the image"},
    "status": _text(
        "Status of the image",
        read_only=True,
        enum=["queued", "saving", "active", "killed", "deleted", "deactivated"],
    ),
    "visibility": _text("Who may see the image", enum=list(VISIBILITIES)),
    "protected": {"type": "boolean", "description": "If true, the image cannot be deleted"},
    "os_hidden": {"type": "boolean", "description": "If true, the ordinary list leaves the image out"},
    "owner": {"type": ["null", "string"], "maxLength": 255, "description": "Project that owns the image"},
    "container_format": {
        "type": ["null", "string"],
        "enum": [None, *CONTAINER_FORMATS],
        "description": "Format of the container",
    },
    "disk_format": {
        "type": ["null", "string"],
        "enum": [None, *DISK_FORMATS],
        "description": "Format of the disk",
    },
    "min_disk": _number("Disk space in GiB a server needs for this image"),
    "min_ram": _number("Memory in MiB a server needs for this image"),
    "tags": {
        "type": "array",
        "items": {"type": "string", "maxLength": 255},
        "description": "Words to find the image by",
    },
    "size": _number("Bytes of the image data", read_only=True),
    "virtual_size": _number("Bytes of the disk in the image data", read_only=True),
    "checksum": {"type": ["null", "string"], "readOnly": True, "description": "MD5 of the image data"},
    "os_hash_algo": {"type": ["null", "string"], "readOnly": True, "description": "Name of the safe hash"},
    "os_hash_value": {"type": ["null", "string"], "readOnly": True, "description": "Hash of the image data"},
    "created_at": _text("When the image was made", read_only=True),
    "updated_at": _text("When the image was last changed", read_only=True),
    "self": _text("Path of the image", read_only=True),
    "file": _text("Path of the image data", read_only=True),
    "schema": _text("Path of this schema", read_only=True),
}

_IMAGE: dict[str, Any] = {
    "name": "image",
    "properties": _PROPERTIES,
    "additionalProperties": {"type": "string"},
    "links": [
        {"rel": "self", "href": "{self}"},
        {"rel": "enclosure", "href": "{file}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}

_MEMBER: dict[str, Any] = {
    "name": "member",
    "properties": {
        "image_id": _text("An identifier for the image", pattern=_UUID),
        "member_id": _text("Project the image is offered to"),
        "status": _text("What the project says to it", enum=["pending", "accepted", "rejected"]),
        "created_at": _text("When the image was offered", read_only=True),
        "updated_at": _text("When the project last answered", read_only=True),
        "schema": _text("Path of this schema", read_only=True),
    },
}


def _list_of(noun: str, item: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": noun,
        "properties": {
            noun: {"type": "array", "items": item},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def image(call: Call, tx: Tx) -> Reply:
    return Reply(body=_IMAGE)


def images(call: Call, tx: Tx) -> Reply:
    return Reply(body=_list_of("images", _IMAGE))


def member(call: Call, tx: Tx) -> Reply:
    return Reply(body=_MEMBER)


def members(call: Call, tx: Tx) -> Reply:
    return Reply(body=_list_of("members", _MEMBER))
