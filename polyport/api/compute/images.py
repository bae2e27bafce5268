"""`/images`, as compute had them until 2.35: a view of the image service's, for clients from before it."""

from typing import Any

from polyport.api.compute.microversions import PROXIES, during
from polyport.db.engine import Tx
from polyport.db.tables.image import images as table
from polyport.errors import Invalid
from polyport.image import images, listing
from polyport.image.images import Image
from polyport.image.listing import Condition, Filters
from polyport.policy import reader
from polyport.web.calls import Call, Reply
from polyport.web.paging import links, page_of, paged
from polyport.web.routes import get

_STATUS = {"active": "ACTIVE", "queued": "SAVING", "saving": "SAVING", "killed": "ERROR"}
_SORTS = {"created_at": table.c.created_at}


class MarkerNotFound(Invalid):
    """marker [{marker}] not found"""


def list_images(call: Call, tx: Tx) -> Reply:
    return _list(call, tx, detailed=False)


def list_details(call: Call, tx: Tx) -> Reply:
    return _list(call, tx, detailed=True)


def show(call: Call, tx: Tx) -> Reply:
    image = images.get_image(tx, call.context, call.params["image_id"])
    return Reply(body={"image": _detail_view(call, image)})


def _list(call: Call, tx: Tx, *, detailed: bool) -> Reply:
    conditions: list[Condition] = []
    if (name := call.query.get("name")) is not None:
        conditions.append(Condition("name", "eq", (name,)))
    if (status := call.query.get("status")) is not None:
        same = tuple(own for own, shown in _STATUS.items() if shown == status.upper())
        conditions.append(Condition("status", "in", same))
    for parameter, field in (("minDisk", "min_disk"), ("minRam", "min_ram")):
        if (least := call.query.integer(parameter)) is not None:
            conditions.append(Condition(field, "gte", (least,)))
    page = page_of(call.query, (), (("created_at", True),))
    marker = None
    if page.marker is not None:
        try:
            found = images.get_image(tx, call.context, page.marker)
        except images.ImageNotFound as error:
            raise MarkerNotFound(marker=page.marker[:100]) from error
        marker = {"created_at": found.created_at, "id": found.id}
    statement = listing.matching(call.context, Filters(conditions=tuple(conditions)))
    listed = listing.list_images(tx, paged(statement, page, _SORTS, table.c.id, marker))
    view = _detail_view if detailed else _brief_view
    body: dict[str, Any] = {"images": [view(call, image) for image in listed]}
    if more := [link for link in links(call, "images", page, [image.id for image in listed]) if link["rel"] == "next"]:
        body["images_links"] = more
    return Reply(body=body)


def _brief_view(call: Call, image: Image) -> dict[str, Any]:
    return {
        "id": image.id,
        "name": image.name,
        "links": [
            {"rel": "self", "href": f"{call.base_url}/v2.1/images/{image.id}"},
            {"rel": "bookmark", "href": f"{call.base_url}/images/{image.id}"},
            {
                "rel": "alternate",
                "type": "application/vnd.openstack.image",
                "href": f"{call.root_url}/image/v2/images/{image.id}",
            },
        ],
    }


def _detail_view(call: Call, image: Image) -> dict[str, Any]:
    status = _STATUS.get(image.status, "UNKNOWN")
    return _brief_view(call, image) | {
        "status": status,
        "progress": {"ACTIVE": 100, "SAVING": 25}.get(status, 0),
        "created": image.created_at[:19] + "Z",
        "updated": image.updated_at[:19] + "Z",
        "minDisk": image.min_disk,
        "minRam": image.min_ram,
        "metadata": image.properties,
        "OS-EXT-IMG-SIZE:size": image.size,
    }


ROUTES = tuple(
    during(PROXIES, route)
    for route in (
        get("/images", list_images, reader),
        get("/images/detail", list_details, reader),
        get("/images/{image_id}", show, reader),
    )
)
