"""The attributes of an image as clients may set them, and those they may not. All others are properties: text."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from polyport.errors import Forbidden, Invalid
from polyport.image.formats import CONTAINER_FORMATS, DISK_FORMATS
from polyport.image.images import Image, ImageChange, ImageNotFound
from polyport.web import bodies
from polyport.web.bodies import InvalidField
from polyport.web.calls import Call

NO_NUL = r"^[^\x00]*\Z"
Text = Annotated[str, Meta(max_length=255, pattern=NO_NUL)]
Tag = Annotated[str, Meta(min_length=1, max_length=255, pattern=NO_NUL)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Value = Annotated[str, Meta(max_length=65535, pattern=NO_NUL)]
Visibility = Literal["public", "private", "shared", "community"]
Uuid = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\Z")]

READ_ONLY = frozenset(
    (
        "status",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
        "size",
        "virtual_size",
        "created_at",
        "updated_at",
        "self",
        "file",
        "schema",
        "direct_url",
    )
)
RESERVED = frozenset(("location", "locations", "deleted", "deleted_at", "stores"))


class ReadOnly(Forbidden):
    """Attribute '{name}' is read-only."""


class Reserved(Forbidden):
    """Attribute '{name}' is reserved."""


class UnknownFormat(Invalid):
    """Invalid value '{value}' for parameter '{field}': it is none of {known}."""


class Attributes(Struct, frozen=True, kw_only=True):
    """What of an image a client may set at any time. The field names are the API's."""

    name: Text | UnsetType | None = UNSET
    owner: Annotated[str, Meta(min_length=1, max_length=64, pattern=NO_NUL)] | UnsetType | None = UNSET
    visibility: Visibility | UnsetType = UNSET
    protected: bool | UnsetType = UNSET
    os_hidden: bool | UnsetType = UNSET
    container_format: str | UnsetType | None = UNSET
    disk_format: str | UnsetType | None = UNSET
    min_disk: Count | UnsetType = UNSET
    min_ram: Count | UnsetType = UNSET
    tags: Annotated[list[Tag], Meta(max_length=1000)] | UnsetType = UNSET


def attributes_of(document: dict[str, Any]) -> Attributes:
    """The settable attributes in `document`, strictly. Raises errors that name the field."""
    known = {name: value for name, value in document.items() if name in Attributes.__struct_fields__}
    attributes = bodies.convert(known, Attributes, "image")
    for field, formats in (("container_format", CONTAINER_FORMATS), ("disk_format", DISK_FORMATS)):
        value = getattr(attributes, field)
        if isinstance(value, str) and value not in formats:
            raise UnknownFormat(field=field, value=value[:100], known=", ".join(formats))
    return attributes


def properties_of(document: dict[str, Any]) -> dict[str, str]:
    """The attributes that are the client's own. Raises `ReadOnly`, `Reserved`, `InvalidField`."""
    found = {}
    for name, value in document.items():
        if name not in Attributes.__struct_fields__:
            check_property(name)
            found[name] = bodies.convert(value, Value, name[:100])
    return found


def check_property(name: str) -> None:
    """Whether clients may have a property of this name. Raises `ReadOnly`, `Reserved`, `InvalidField`."""
    if name in READ_ONLY:
        raise ReadOnly(name=name)
    if name in RESERVED:
        raise Reserved(name=name)
    if not 0 < len(name) <= 255 or "\x00" in name:
        raise InvalidField(field="name of a property", value=name[:100], reason="It has 1 to 255 characters.")


def change_of(attributes: Attributes, properties: dict[str, str] | UnsetType = UNSET) -> ImageChange:
    return ImageChange(
        name=attributes.name,
        project_id=attributes.owner if isinstance(attributes.owner, str) else UNSET,
        visibility=attributes.visibility,
        protected=attributes.protected,
        hidden=attributes.os_hidden,
        container_format=attributes.container_format,
        disk_format=attributes.disk_format,
        min_disk=attributes.min_disk,
        min_ram=attributes.min_ram,
        properties=properties,
        tags=attributes.tags,
    )


def id_of(call: Call) -> str:
    """The image id in the path. Raises `ImageNotFound` for what can be none."""
    image_id = call.uuid("id")
    if image_id is None:
        raise ImageNotFound(id=call.params["id"][:100])
    return image_id


def image_view(image: Image) -> dict[str, Any]:
    """An image as the API shows it. Source: Glance's API reference, "Show image"."""
    return {
        **image.properties,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "protected": image.protected,
        "os_hidden": image.hidden,
        "owner": image.project_id,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "checksum": image.checksum,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "tags": image.tags,
        "created_at": time_view(image.created_at),
        "updated_at": time_view(image.updated_at),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }


def time_view(stored: str) -> str:
    """A stored time to the second: `2026-11-22T18:00:00Z`."""
    return stored[:19] + "Z"
