"""`/flavors`"""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field
from msgspec.structs import replace

from polyport.api.compute.fields import Flag, Name, Number, Text, check_query, flag, number
from polyport.api.compute.microversions import (
    FLAVOR_DESCRIPTION,
    FLAVOR_EXTRA_SPECS,
    SWAP_NUMBER,
    during,
)
from polyport.compute import flavors
from polyport.compute.flavors import Flavor
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.ids import new_id
from polyport.policy import admin, reader
from polyport.web.bodies import InvalidField, only
from polyport.web.calls import Call, Reply
from polyport.web.paging import Page, links, page_of, paged
from polyport.web.routes import delete, get, post, put

_QUERY = ("limit", "marker", "sort_key", "sort_dir", "is_public", "minRam", "minDisk")
_MOST = 1000


class MarkerNotFound(Invalid):
    """marker [{marker}] not found"""


class FlavorBody(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Name
    ram: Number
    vcpus: Number
    disk: Number
    id: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^(?! )[a-zA-Z0-9. _-]+(?<! )\Z")] | int | None = (
        None
    )
    swap: Number = 0
    ephemeral: Number = field(name="OS-FLV-EXT-DATA:ephemeral", default=0)
    rxtx_factor: float | Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?\Z", max_length=20)] = 1.0
    is_public: Flag = field(name="os-flavor-access:is_public", default=True)
    description: Annotated[Text | UnsetType | None, only(FLAVOR_DESCRIPTION)] = UNSET


class CreateFlavor(Struct, forbid_unknown_fields=True, kw_only=True):
    flavor: FlavorBody


class DescriptionBody(Struct, forbid_unknown_fields=True, kw_only=True):
    description: Text | None


class UpdateFlavor(Struct, forbid_unknown_fields=True, kw_only=True):
    flavor: DescriptionBody


def list_flavors(call: Call, tx: Tx) -> Reply:
    return _list(call, tx, detailed=False)


def list_details(call: Call, tx: Tx) -> Reply:
    return _list(call, tx, detailed=True)


def show(call: Call, tx: Tx) -> Reply:
    flavor = flavors.get_flavor(tx, call.context, call.params["flavor_id"])
    return Reply(body={"flavor": flavor_view(call, flavor)})


def create(call: Call, tx: Tx) -> Reply:
    body = call.decode(CreateFlavor).flavor
    rxtx_factor = float(body.rxtx_factor)
    if not 0 < rxtx_factor < 1e38:
        raise InvalidField(field="rxtx_factor", value=body.rxtx_factor, reason="It is not a positive number.")
    flavor = flavors.create_flavor(
        tx,
        flavor_id=new_id() if body.id is None else str(body.id),
        name=body.name,
        vcpus=number(body.vcpus, "vcpus", least=1),
        ram=number(body.ram, "ram", least=1),
        disk=number(body.disk, "disk"),
        ephemeral=number(body.ephemeral, "OS-FLV-EXT-DATA:ephemeral"),
        swap=number(body.swap, "swap"),
        rxtx_factor=rxtx_factor,
        is_public=flag(body.is_public),
        description=None if body.description is UNSET else body.description,
    )
    return Reply(body={"flavor": flavor_view(call, flavor)})


def update(call: Call, tx: Tx) -> Reply:
    body = call.decode(UpdateFlavor).flavor
    flavor = flavors.describe_flavor(tx, call.params["flavor_id"], body.description)
    return Reply(body={"flavor": flavor_view(call, flavor)})


def delete_flavor(call: Call, tx: Tx) -> Reply:
    flavors.delete_flavor(tx, call.params["flavor_id"])
    return Reply(status=202)


def flavor_view(call: Call, flavor: Flavor) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "ram": flavor.ram,
        "vcpus": flavor.vcpus,
        "disk": flavor.disk,
        "swap": flavor.swap if flavor.swap or call.version in SWAP_NUMBER else "",
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral,
        "OS-FLV-DISABLED:disabled": flavor.disabled,
        "os-flavor-access:is_public": flavor.is_public,
        "rxtx_factor": flavor.rxtx_factor,
        "links": flavor_links(call, flavor.id),
    }
    if call.version in FLAVOR_DESCRIPTION:
        view["description"] = flavor.description
    if call.version in FLAVOR_EXTRA_SPECS:
        view["extra_specs"] = flavor.extra_specs
    return view


def flavor_links(call: Call, flavor_id: str) -> list[dict[str, str]]:
    return [
        {"rel": "self", "href": f"{call.base_url}/v2.1/flavors/{flavor_id}"},
        {"rel": "bookmark", "href": f"{call.base_url}/flavors/{flavor_id}"},
    ]


def _brief_view(call: Call, flavor: Flavor) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "links": flavor_links(call, flavor.id),
    }
    if call.version in FLAVOR_DESCRIPTION:
        view["description"] = flavor.description
    return view


def _list(call: Call, tx: Tx, *, detailed: bool) -> Reply:
    query = call.query
    check_query(call, _QUERY)
    statement = flavors.select_flavors(
        call.context,
        is_public=_is_public(call),
        min_disk=query.integer("minDisk") or 0,
        min_ram=query.integer("minRam") or 0,
    )
    page = page_of(query, tuple(flavors.SORT_COLUMNS), (("flavorid", False),), _MOST)
    if page.limit is None:
        page = replace(page, limit=_MOST)
    columns = flavors.SORT_COLUMNS
    rows = tx.all(paged(statement, page, columns, columns["id"], _marker(call, tx, page)))
    found = [flavors.read_flavor(row) for row in rows]
    view = flavor_view if detailed else _brief_view
    body: dict[str, Any] = {"flavors": [view(call, flavor) for flavor in found]}
    if more := links(call, "flavors", page, [flavor.id for flavor in found]):
        body["flavors_links"] = more
    return Reply(body=body)


def _is_public(call: Call) -> bool | None:
    if not call.context.is_admin:
        return True
    if (call.query.get("is_public") or "").lower() == "none":
        return None
    return call.query.boolean("is_public", True)


def _marker(call: Call, tx: Tx, page: Page) -> dict[str, Any] | None:
    if page.marker is None:
        return None
    try:
        flavor = flavors.get_flavor(tx, call.context, page.marker)
    except flavors.FlavorNotFound as error:
        raise MarkerNotFound(marker=page.marker[:100]) from error
    return flavors.sort_values(flavor)


ROUTES = (
    get("/flavors", list_flavors, reader),
    get("/flavors/detail", list_details, reader),
    get("/flavors/{flavor_id}", show, reader),
    post("/flavors", create, admin),
    during(FLAVOR_DESCRIPTION, put("/flavors/{flavor_id}", update, admin)),
    delete("/flavors/{flavor_id}", delete_flavor, admin),
)
