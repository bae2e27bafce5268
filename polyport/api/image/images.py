"""`/v2/images`: records, tags, and what may be done to them. Their bytes are in `files`."""

import asyncio
from urllib.parse import urlencode

from polyport.api.image import filters, patches
from polyport.api.image.fields import (
    Tag,
    Uuid,
    attributes_of,
    change_of,
    id_of,
    image_view,
    properties_of,
)
from polyport.db.engine import Database, Tx
from polyport.errors import NotFound
from polyport.image import images, listing
from polyport.image.images import Image, ImageChange, ImageNotFound
from polyport.image.store import Store
from polyport.web import bodies
from polyport.web.calls import Call, InvalidParameter, Reply
from polyport.web.paging import paged


class TagNotFound(NotFound):
    """Image {id} has no tag {tag}."""


def create(call: Call, tx: Tx) -> Reply:
    document = bodies.decode_any(call.body)
    wanted_id = document.pop("id", None)
    if wanted_id is not None:
        wanted_id = bodies.convert(wanted_id, Uuid, "id").lower()
    change = change_of(attributes_of(document), properties_of(document))
    image = images.create_image(tx, call.context, change, wanted_id)
    location = f"{call.base_url}/v2/images/{image.id}"
    return Reply(status=201, body=image_view(image), headers={"location": location})


def index(call: Call, tx: Tx) -> Reply:
    _check_path(call)
    page = filters.page_of(call.query)
    statement = listing.matching(call.context, filters.filters_of(call.query))
    marker = filters.marker_of(_marker(call, tx, page.marker)) if page.marker is not None else None
    statement = paged(statement, page, listing.FIELDS, listing.FIELDS["id"], marker)
    found = listing.list_images(tx, statement)
    kept = [(name, value) for name, value in call.query.pairs if name != "marker"]
    body = {
        "images": [image_view(image) for image in found],
        "first": "/v2/images" + _query(kept),
        "schema": "/v2/schemas/images",
    }
    if found and len(found) == page.limit:
        body["next"] = "/v2/images" + _query([*kept, ("marker", found[-1].id)])
    return Reply(body=body)


def show(call: Call, tx: Tx) -> Reply:
    return Reply(body=image_view(images.get_image(tx, call.context, id_of(call))))


def update(call: Call, tx: Tx) -> Reply:
    changes = patches.read_patch(call.body, call.headers.get("content-type", ""))
    image = images.own_image(tx, call.context, id_of(call))
    changed = images.update_image(tx, call.context, image.id, patches.apply(image, changes))
    return Reply(body=image_view(changed))


def delete_nothing(call: Call, tx: Tx) -> Reply:
    """The path of an image whose id is empty."""
    raise ImageNotFound(id="")


def deactivate(call: Call, tx: Tx) -> Reply:
    images.deactivate(tx, call.context, id_of(call))
    return Reply(status=204)


def reactivate(call: Call, tx: Tx) -> Reply:
    images.reactivate(tx, call.context, id_of(call))
    return Reply(status=204)


def add_tag(call: Call, tx: Tx) -> Reply:
    image = images.own_image(tx, call.context, id_of(call))
    tag = bodies.convert(call.params["tag"], Tag, "tag")
    images.update_image(tx, call.context, image.id, ImageChange(tags=[*image.tags, tag]))
    return Reply(status=204)


def remove_tag(call: Call, tx: Tx) -> Reply:
    image = images.own_image(tx, call.context, id_of(call))
    tag = call.params["tag"]
    if tag not in image.tags:
        raise TagNotFound(id=image.id, tag=tag[:255])
    kept = [other for other in image.tags if other != tag]
    images.update_image(tx, call.context, image.id, ImageChange(tags=kept))
    return Reply(status=204)


class Bin:
    """Deletes images: the record first, and when that is for good, the file."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def delete(self, call: Call, database: Database) -> Reply:
        image_id = id_of(call)
        image = await database.write(lambda tx: images.delete_image(tx, call.context, image_id))
        await asyncio.to_thread(self._store.remove, image.id)
        return Reply(status=204)


def _marker(call: Call, tx: Tx, marker: str) -> Image:
    try:
        return images.get_image(tx, call.context, marker)
    except ImageNotFound as error:
        raise InvalidParameter(name="marker", value=marker[:100], reason="There is no such image.") from error


def _query(pairs: list[tuple[str, str]]) -> str:
    return "?" + urlencode(pairs) if pairs else ""


def _check_path(call: Call) -> None:
    """`/v2/images/` is no list but an image without an id: a client that lost one must not take a list for it."""
    if call.path.endswith("/"):
        raise ImageNotFound(id="")
