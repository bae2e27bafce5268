"""`/flavors/{id}/os-flavor-access`, and the actions of a flavor that change it."""

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from polyport.api.compute.microversions import FLAVOR_ACCESS_OF_PUBLIC_REFUSED
from polyport.compute import flavors
from polyport.compute.flavors import Flavor
from polyport.compute.projects import check_project
from polyport.db.engine import Tx
from polyport.errors import Conflict, Invalid, NotFound
from polyport.ids import ProjectId
from polyport.policy import admin
from polyport.web.calls import Call, Reply
from polyport.web.routes import get, post


class PublicFlavorHasNoAccessList(NotFound):
    """Access list not available for public flavors."""


class PublicFlavorAccess(Conflict):
    """Can not add access to a public flavor."""


class OneAction(Invalid):
    """There must be one action: addTenantAccess or removeTenantAccess."""


Tenant: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9-]*\Z")]


class TenantBody(Struct, forbid_unknown_fields=True, kw_only=True):
    tenant: Tenant


class FlavorAction(Struct, forbid_unknown_fields=True, kw_only=True):
    addTenantAccess: TenantBody | None = None  # noqa: N815 - the API's own name
    removeTenantAccess: TenantBody | None = None  # noqa: N815 - the API's own name


def list_access(call: Call, tx: Tx) -> Reply:
    flavor = flavors.get_flavor(tx, call.context, call.params["flavor_id"])
    if flavor.is_public:
        raise PublicFlavorHasNoAccessList
    return Reply(body=_access_view(tx, flavor))


def act(call: Call, tx: Tx) -> Reply:
    action = call.decode(FlavorAction)
    if (action.addTenantAccess is None) == (action.removeTenantAccess is None):
        raise OneAction
    flavor = flavors.get_flavor(tx, call.context, call.params["flavor_id"])
    if action.addTenantAccess is not None:
        if flavor.is_public and call.version in FLAVOR_ACCESS_OF_PUBLIC_REFUSED:
            raise PublicFlavorAccess
        flavors.add_access(tx, flavor, check_project(tx, action.addTenantAccess.tenant))
    elif action.removeTenantAccess is not None:
        flavors.remove_access(tx, flavor, ProjectId(action.removeTenantAccess.tenant))
    return Reply(body=_access_view(tx, flavor))


def _access_view(tx: Tx, flavor: Flavor) -> dict[str, Any]:
    granted = flavors.access_of(tx, flavor)
    return {"flavor_access": [{"flavor_id": flavor.id, "tenant_id": project_id} for project_id in granted]}


ROUTES = (
    get("/flavors/{flavor_id}/os-flavor-access", list_access, admin),
    post("/flavors/{flavor_id}/action", act, admin),
)
