"""`/flavors/{id}/os-extra_specs`"""

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from polyport.api.compute.microversions import EXTRA_SPECS_CHECKED
from polyport.compute import extra_specs, flavors
from polyport.db.engine import Tx
from polyport.errors import Invalid
from polyport.policy import admin, reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import delete, get, post, put

Key: TypeAlias = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9\-_:.]{1,255}\Z")]
Value: TypeAlias = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00]*\Z")] | int | float
Specs: TypeAlias = Annotated[dict[Key, Value], Meta(min_length=1)]


class CreateExtraSpecs(Struct, forbid_unknown_fields=True, kw_only=True):
    extra_specs: Specs


class WrongSpec(Invalid):
    """Request body contains too many items, or not the one that the URI names"""


def list_specs(call: Call, tx: Tx) -> Reply:
    flavor = flavors.get_flavor(tx, call.context, call.params["flavor_id"])
    return Reply(body={"extra_specs": flavor.extra_specs})


def show(call: Call, tx: Tx) -> Reply:
    key = call.params["key"]
    flavor = flavors.get_flavor(tx, call.context, call.params["flavor_id"])
    if key not in flavor.extra_specs:
        raise flavors.ExtraSpecNotFound(flavor_id=flavor.id, key=key)
    return Reply(body={key: flavor.extra_specs[key]})


def create(call: Call, tx: Tx) -> Reply:
    specs = _checked(call, call.decode(CreateExtraSpecs).extra_specs)
    flavors.add_extra_specs(tx, call.params["flavor_id"], specs)
    return Reply(body={"extra_specs": specs})


def update(call: Call, tx: Tx) -> Reply:
    specs = _checked(call, call.decode(Specs))
    if list(specs) != [call.params["key"]]:
        raise WrongSpec
    flavors.add_extra_specs(tx, call.params["flavor_id"], specs)
    return Reply(body=specs)


def delete_spec(call: Call, tx: Tx) -> Reply:
    flavors.remove_extra_spec(tx, call.params["flavor_id"], call.params["key"])
    return Reply()


def _checked(call: Call, specs: dict[str, str | int | float]) -> dict[str, str]:
    wanted = {key: str(value) for key, value in specs.items()}
    if call.version in EXTRA_SPECS_CHECKED:
        for key, value in wanted.items():
            extra_specs.check(key, value)
    return wanted


ROUTES = (
    get("/flavors/{flavor_id}/os-extra_specs", list_specs, reader),
    get("/flavors/{flavor_id}/os-extra_specs/{key}", show, reader),
    post("/flavors/{flavor_id}/os-extra_specs", create, admin),
    put("/flavors/{flavor_id}/os-extra_specs/{key}", update, admin),
    delete("/flavors/{flavor_id}/os-extra_specs/{key}", delete_spec, admin),
)
