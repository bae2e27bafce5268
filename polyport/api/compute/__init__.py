"""The compute service's API: its table, and how it speaks."""

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from polyport.api.compute import (
    addresses,
    aggregates,
    availability_zones,
    extensions,
    flavor_access,
    flavor_extra_specs,
    flavors,
    hypervisors,
    images,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    networks,
    quota_sets,
    security_groups,
    server_actions,
    server_groups,
    server_lists,
    server_metadata,
    server_tags,
    servers,
    services,
    usage,
    versions,
    volume_attachments,
)
from polyport.api.compute.dialect import ComputeDialect
from polyport.ids import ServerId
from polyport.web.routes import Service

ConsoleLog = Callable[[ServerId, int], Awaitable[bytes]]
"""(server, most bytes) -> the end of what the guest wrote to its console."""

_NOUNS = (
    *server_lists.ROUTES,
    *servers.ROUTES,
    *interfaces.ROUTES,
    *addresses.ROUTES,
    *server_metadata.ROUTES,
    *instance_actions.ROUTES,
    *flavors.ROUTES,
    *flavor_extra_specs.ROUTES,
    *flavor_access.ROUTES,
    *keypairs.ROUTES,
    *server_groups.ROUTES,
    *server_tags.ROUTES,
    *volume_attachments.ROUTES,
    *limits.ROUTES,
    *quota_sets.ROUTES,
    *usage.ROUTES,
    *availability_zones.ROUTES,
    *hypervisors.ROUTES,
    *aggregates.ROUTES,
    *services.ROUTES,
    *extensions.ROUTES,
    *images.ROUTES,
    *networks.ROUTES,
    *security_groups.ROUTES,
)


def service(*, console_log: ConsoleLog) -> Service:
    """The compute service, at `/compute/v2.1`, and at `/compute/v2` for clients from before microversions.
    `console_log` reads a guest's console."""
    nouns = (*_NOUNS, *server_actions.routes(console_log))
    both = [replace(route, path=f"/{version}{route.path}") for version in ("v2.1", "v2") for route in nouns]
    return Service(
        name="compute",
        prefixes=("/compute",),
        dialect=ComputeDialect(),
        routes=(*versions.ROOT_ROUTES, *both),
    )
