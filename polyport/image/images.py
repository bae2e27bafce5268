"""Images: their records and states.

    queued --begin_upload--> saving --finish_upload--> active <--deactivate/reactivate--> deactivated
       ^------abort_upload-----|

Only the bytes of an active image may be booted; they never change again.
"""

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy.exc import IntegrityError

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.image import deleted, images, members
from polyport.db.tables.metadata import now
from polyport.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from polyport.ids import ImageId, ProjectId, new_id
from polyport.image.store import Received

VISIBILITIES = ("public", "private", "shared", "community")
MOST_PROPERTIES = 128
MOST_TAGS = 128
RESERVED_PREFIX = "os_glance_"


class ImageNotFound(NotFound):
    """No image found with ID {id}"""


class ImageIdTaken(Conflict):
    """Image ID {id} already exists!"""


class NotImageOwner(Forbidden):
    """You are not permitted to change image {id}."""


class MayNotPublicize(Forbidden):
    """You are not permitted to make an image public."""


class MayNotGiveAway(Forbidden):
    """You are not permitted to create images owned by '{owner}'."""


class ReservedProperty(Forbidden):
    """Attribute '{name}' is reserved."""


class FormatIsSet(Forbidden):
    """Attribute {name} can be only replaced for a queued image."""


class ImageProtected(Forbidden):
    """Image {id} is protected and cannot be deleted."""


class ImageDeactivated(Forbidden):
    """The requested image has been deactivated. Image data download is forbidden."""


class WrongStateForActivation(Forbidden):
    """Not allowed to {action} image in status '{status}'"""


class NotQueued(Conflict):
    """Image status transition from {status} to saving is not allowed"""


class FormatMissing(Invalid):
    """Properties disk_format, container_format must be set prior to saving data."""


class ImageGone(NotFound):
    """Image {id} was deleted during the upload."""


class TooManyOfImage(TooLarge):
    """The limit has been exceeded on the number of allowed image {noun}. Attempted: {count}, Maximum: {most}"""


class Image(Struct, frozen=True, kw_only=True):
    """One image. Sizes are in bytes, `min_disk` in GiB, `min_ram` in MiB."""

    id: ImageId
    project_id: ProjectId
    name: str | None = None
    status: str
    visibility: str
    protected: bool = False
    hidden: bool = False
    container_format: str | None = None
    disk_format: str | None = None
    file_format: str | None = None
    """What the bytes were found to be, `qcow2` or `raw`; None before there are any."""
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    properties: dict[str, str] = {}
    tags: list[str] = []
    created_at: str
    updated_at: str


class ImageChange(Struct, frozen=True, kw_only=True):
    """What of an image shall change; `properties` and `tags` are the whole new ones."""

    name: str | UnsetType | None = UNSET
    project_id: str | UnsetType = UNSET
    visibility: str | UnsetType = UNSET
    protected: bool | UnsetType = UNSET
    hidden: bool | UnsetType = UNSET
    container_format: str | UnsetType | None = UNSET
    disk_format: str | UnsetType | None = UNSET
    min_disk: int | UnsetType = UNSET
    min_ram: int | UnsetType = UNSET
    properties: dict[str, str] | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET


def create_image(tx: Tx, context: Context, wanted: ImageChange, id: str | None = None) -> Image:
    """A queued image: a record that waits for its bytes.

    Raises `ImageIdTaken`, `MayNotPublicize`, `MayNotGiveAway`, `ReservedProperty`, `TooManyOfImage`.
    """
    _check(context, wanted, None)
    at = now()
    values = _values(wanted)
    image = Image(
        **{
            "id": ImageId(id or new_id()),
            "project_id": context.project_id,
            "visibility": "shared",
            **values,
            "status": "queued",
            "created_at": at,
            "updated_at": at,
        }
    )
    if id is not None and tx.first(sa.select(deleted.c.id).where(deleted.c.id == id)):
        raise ImageIdTaken(id=id)
    try:
        tx.execute(sa.insert(images), msgspec.structs.asdict(image))
    except IntegrityError as error:
        raise ImageIdTaken(id=image.id) from error
    return image


def get_image(tx: Tx, context: Context, id: str) -> Image:
    """An image the caller may see: its project's own, a public or community one, one shared with the project.

    Raises `ImageNotFound`.
    """
    row = tx.first(_GET, {"image": id, "project": context.project_id, "everything": context.is_admin})
    if row is None:
        raise ImageNotFound(id=id)
    return read_image(row)


def own_image(tx: Tx, context: Context, id: str) -> Image:
    """An image the caller may change. Raises `ImageNotFound`, `NotImageOwner`."""
    image = get_image(tx, context, id)
    if not context.is_admin and image.project_id != context.project_id:
        raise NotImageOwner(id=id)
    return image


def update_image(tx: Tx, context: Context, id: str, change: ImageChange) -> Image:
    """Raises `ImageNotFound`, `NotImageOwner`, `MayNotPublicize`, `MayNotGiveAway`, `ReservedProperty`,
    `FormatIsSet`, `TooManyOfImage`."""
    image = own_image(tx, context, id)
    _check(context, change, image)
    values = _values(change)
    tx.execute(sa.update(images).where(images.c.id == id).values(**values, updated_at=now()))
    return get_image(tx, context, id)


def delete_image(tx: Tx, context: Context, id: str) -> Image:
    """Delete a record; its file is the caller's to remove once this is committed. Servers that use it keep on.

    Raises `ImageNotFound`, `NotImageOwner`, `ImageProtected`.
    """
    image = own_image(tx, context, id)
    if image.protected:
        raise ImageProtected(id=id)
    tx.execute(sa.delete(images).where(images.c.id == id))
    tx.execute(sa.insert(deleted).values(id=id))
    return image


def begin_upload(tx: Tx, context: Context, id: str) -> Image:
    """queued -> saving. Raises `ImageNotFound`, `NotImageOwner`, `FormatMissing`, `NotQueued`."""
    image = own_image(tx, context, id)
    if image.container_format is None or image.disk_format is None:
        raise FormatMissing
    if image.status != "queued":
        raise NotQueued(status=image.status)
    tx.execute(sa.update(images).where(images.c.id == id).values(status="saving", updated_at=now()))
    return image


def finish_upload(tx: Tx, id: str, received: Received) -> None:
    """saving -> active. Raises `ImageGone`."""
    statement = sa.update(images).where(images.c.id == id, images.c.status == "saving")
    values = {
        "status": "active",
        "file_format": received.found.file_format,
        "size": received.size,
        "virtual_size": received.found.virtual_size,
        "checksum": received.md5,
        "os_hash_algo": "sha512",
        "os_hash_value": received.sha512,
        "updated_at": now(),
    }
    if tx.execute(statement.values(**values)).rowcount == 0:
        raise ImageGone(id=id)


def abort_upload(tx: Tx, id: str) -> bool:
    """saving -> queued, if it is still there. Whether the image has its bytes all the same: an upload may be given up
    while its end is being committed."""
    statement = sa.update(images).where(images.c.id == id, images.c.status == "saving")
    tx.execute(statement.values(status="queued", updated_at=now()))
    return tx.value(sa.select(images.c.size).where(images.c.id == id)) is not None


def recover(tx: Tx) -> set[str]:
    """For the start: uploads that a crash broke are queued again. The ids of all images that have bytes."""
    tx.execute(sa.update(images).where(images.c.status == "saving").values(status="queued", updated_at=now()))
    return {row.id for row in tx.all(sa.select(images.c.id).where(images.c.size.is_not(None)))}


def deactivate(tx: Tx, context: Context, id: str) -> None:
    """Nobody but an administrator gets the bytes, and nothing boots from them, until `reactivate`. Idempotent.

    Raises `ImageNotFound`, `NotImageOwner`, `WrongStateForActivation`.
    """
    _switch(tx, context, id, "deactivate", "deactivated")


def reactivate(tx: Tx, context: Context, id: str) -> None:
    """Raises `ImageNotFound`, `NotImageOwner`, `WrongStateForActivation`."""
    _switch(tx, context, id, "reactivate", "active")


def check_download(context: Context, image: Image) -> bool:
    """Whether there are bytes to hand out. Raises `ImageDeactivated`."""
    if image.status == "deactivated" and not context.is_admin:
        raise ImageDeactivated
    return image.status in ("active", "deactivated")


def _switch(tx: Tx, context: Context, id: str, action: str, status: str) -> None:
    image = own_image(tx, context, id)
    if image.status not in ("active", "deactivated"):
        raise WrongStateForActivation(action=action, status=image.status)
    tx.execute(sa.update(images).where(images.c.id == id).values(status=status, updated_at=now()))


def _check(context: Context, change: ImageChange, image: Image | None) -> None:
    had = None if image is None else image.visibility
    if change.visibility == "public" and had != "public" and not context.is_admin:
        raise MayNotPublicize
    owner = context.project_id if image is None else image.project_id
    if change.project_id is not UNSET and change.project_id != owner and not context.is_admin:
        raise MayNotGiveAway(owner=change.project_id)
    if image is not None and image.status != "queued":
        for name in ("container_format", "disk_format"):
            if getattr(change, name) is not UNSET and getattr(change, name) != getattr(image, name):
                raise FormatIsSet(name=name)
    if change.properties is not UNSET:
        had_properties = {} if image is None else image.properties
        for name in change.properties:
            if name.startswith(RESERVED_PREFIX) and name not in had_properties:
                raise ReservedProperty(name=name)
        if len(change.properties) > MOST_PROPERTIES:
            raise TooManyOfImage(noun="properties", count=len(change.properties), most=MOST_PROPERTIES)
    if change.tags is not UNSET and len(set(change.tags)) > MOST_TAGS:
        raise TooManyOfImage(noun="tags", count=len(set(change.tags)), most=MOST_TAGS)


def _values(change: ImageChange) -> dict[str, Any]:
    values = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
    if "tags" in values:
        values["tags"] = sorted(set(values["tags"]))
    return values


def read_image(row: sa.Row[Any]) -> Image:
    """A row of the whole table as the value."""
    return Image(**row._mapping)


_GET = sa.select(images).where(
    images.c.id == sa.bindparam("image"),
    sa.or_(
        sa.bindparam("everything", type_=sa.Boolean),
        images.c.visibility.in_(("public", "community")),
        images.c.project_id == sa.bindparam("project"),
        sa.and_(
            images.c.visibility == "shared",
            sa.exists().where(members.c.image_id == images.c.id, members.c.member_id == sa.bindparam("project")),
        ),
    ),
)
