"""The network API, version 2.0 (Neutron's)."""

from polyport.api.network import (
    captures,
    extensions,
    floating_ips,
    ip_availabilities,
    networks,
    ports,
    quotas,
    routers,
    security_group_rules,
    security_groups,
    subnets,
    tags,
    versions,
)
from polyport.api.network.counters import Counters
from polyport.api.network.dialect import NetworkDialect
from polyport.config import CaptureConfig
from polyport.network.ports import PortGone
from polyport.policy import admin, anyone, member, reader
from polyport.web.routes import Route, Service, delete, get, own, post, put

__all__ = ["service"]


def service(
    *, port_gone: PortGone, counters: Counters, capture: captures.Open, capture_config: CaptureConfig
) -> Service:
    """The service. `port_gone` is told, inside of the transaction, of a port that goes while a server uses it;
    `counters` and `capture` ask the host, of a port's counters and frames."""
    routes = _routes(port_gone, counters, captures.Captures(capture, capture_config))
    return Service(name="network", prefixes=("/network",), dialect=NetworkDialect(), routes=routes)


def _routes(port_gone: PortGone, counters: Counters, running: captures.Captures) -> list[Route]:
    return [
        get("/", versions.index, anyone),
        get("/v2.0", versions.show, anyone),
        get("/v2.0/extensions", extensions.index, reader),
        get("/v2.0/extensions/{alias}", extensions.show, reader),
        get("/v2.0/networks", networks.index, reader),
        post("/v2.0/networks", networks.create, member),
        get("/v2.0/networks/{id}", networks.show, reader),
        put("/v2.0/networks/{id}", networks.update, member),
        delete("/v2.0/networks/{id}", networks.delete, member),
        get("/v2.0/subnets", subnets.index, reader),
        post("/v2.0/subnets", subnets.create, member),
        get("/v2.0/subnets/{id}", subnets.show, reader),
        put("/v2.0/subnets/{id}", subnets.update, member),
        delete("/v2.0/subnets/{id}", subnets.delete, member),
        get("/v2.0/ports", ports.index, reader),
        post("/v2.0/ports", ports.create, member),
        own("GET", "/v2.0/ports/{id}", ports.showing(counters), reader),
        put("/v2.0/ports/{id}", ports.update, member),
        delete("/v2.0/ports/{id}", ports.deleting(port_gone), member),
        own("GET", "/v2.0/ports/{id}/capture", running.show, member),
        own("GET", "/v2.0/security-groups", security_groups.index, reader),
        post("/v2.0/security-groups", security_groups.create, member),
        get("/v2.0/security-groups/{id}", security_groups.show, reader),
        put("/v2.0/security-groups/{id}", security_groups.update, member),
        delete("/v2.0/security-groups/{id}", security_groups.delete, member),
        get("/v2.0/security-group-rules", security_group_rules.index, reader),
        post("/v2.0/security-group-rules", security_group_rules.create, member),
        get("/v2.0/security-group-rules/{id}", security_group_rules.show, reader),
        delete("/v2.0/security-group-rules/{id}", security_group_rules.delete, member),
        get("/v2.0/floatingips", floating_ips.index, reader),
        get("/v2.0/floatingips/{id}", floating_ips.show, reader),
        get("/v2.0/routers", routers.index, reader),
        get("/v2.0/routers/{id}", routers.show, reader),
        get("/v2.0/network-ip-availabilities", ip_availabilities.index, admin),
        get("/v2.0/network-ip-availabilities/{id}", ip_availabilities.show, admin),
        get("/v2.0/quotas", quotas.index, admin),
        get("/v2.0/quotas/tenant", quotas.show_own, reader),
        get("/v2.0/quotas/project", quotas.show_own, reader),
        get("/v2.0/quotas/{id}", quotas.show, reader),
        get("/v2.0/quotas/{id}/default", quotas.show_default, reader),
        get("/v2.0/quotas/{id}/details", quotas.show_details, reader),
        get("/v2.0/quotas/{id}/details.json", quotas.show_details, reader),
        put("/v2.0/quotas/{id}", quotas.update, admin),
        delete("/v2.0/quotas/{id}", quotas.delete, admin),
        *tags.routes(),
    ]
