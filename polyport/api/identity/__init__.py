"""The identity API, version 3 (Keystone's)."""

from polyport.api.identity import assignments, auth, domains, projects, roles, users, versions
from polyport.api.identity.assignments import Assignments
from polyport.api.identity.auth import Gate
from polyport.api.identity.catalog import Catalog
from polyport.api.identity.dialect import IdentityDialect
from polyport.api.identity.users import Registry
from polyport.api.identity.versions import root_document
from polyport.identity.passwords import Hashing
from polyport.policy import admin, anyone, token
from polyport.web.routes import Route, Service, delete, get, own, patch, post, put

__all__ = ["root_document", "service"]


def service(region: str, token_hours: float) -> Service:
    """The service for a cloud with one region, whose tokens live for so many hours. To be made on the event loop
    that will serve it."""
    hashing = Hashing()
    return Service(
        name="identity",
        prefixes=("/identity", "/v3"),
        dialect=IdentityDialect(),
        routes=_routes(Gate(region, token_hours, hashing), Registry(hashing), Catalog(region)),
    )


def _routes(gate: Gate, registry: Registry, catalog: Catalog) -> list[Route]:
    return [
        get("/", versions.list_versions, anyone),
        get("/v3", versions.get_version, anyone),
        own("POST", "/v3/auth/tokens", gate.create_token, anyone),
        get("/v3/auth/tokens", gate.get_token, token),
        delete("/v3/auth/tokens", gate.delete_token, token),
        get("/v3/auth/catalog", catalog.show, token),
        get("/v3/auth/projects", auth.own_projects, token),
        get("/v3/auth/domains", auth.own_domains, token),
        get("/v3/auth/system", auth.own_system, token),
        get("/v3/users", users.index, admin),
        own("POST", "/v3/users", registry.create, admin),
        get("/v3/users/{id}", users.show, token),
        own("PATCH", "/v3/users/{id}", registry.update, admin),
        delete("/v3/users/{id}", users.delete, admin),
        own("POST", "/v3/users/{id}/password", registry.change_password, token),
        get("/v3/users/{id}/projects", users.list_projects, token),
        get("/v3/projects", projects.index, admin),
        post("/v3/projects", projects.create, admin),
        get("/v3/projects/{id}", projects.show, token),
        patch("/v3/projects/{id}", projects.update, admin),
        delete("/v3/projects/{id}", projects.delete, admin),
        get("/v3/projects/{id}/tags", projects.list_tags, token),
        put("/v3/projects/{id}/tags", projects.set_tags, admin),
        delete("/v3/projects/{id}/tags", projects.delete_tags, admin),
        get("/v3/projects/{id}/tags/{tag}", projects.check_tag, token),
        put("/v3/projects/{id}/tags/{tag}", projects.add_tag, admin),
        delete("/v3/projects/{id}/tags/{tag}", projects.remove_tag, admin),
        get("/v3/domains", domains.index, admin),
        post("/v3/domains", domains.create, admin),
        get("/v3/domains/{id}", domains.show, token),
        patch("/v3/domains/{id}", domains.update, admin),
        delete("/v3/domains/{id}", domains.delete, admin),
        get("/v3/roles", roles.index, admin),
        post("/v3/roles", roles.create, admin),
        get("/v3/roles/{id}", roles.show, admin),
        patch("/v3/roles/{id}", roles.update, admin),
        delete("/v3/roles/{id}", roles.delete, admin),
        get("/v3/role_inferences", roles.list_inferences, admin),
        get("/v3/role_assignments", assignments.list_all, admin),
        *_assignment_routes("/v3/projects/{target_id}/users/{user_id}/roles", Assignments("project")),
        *_assignment_routes("/v3/domains/{target_id}/users/{user_id}/roles", Assignments("domain")),
        *_assignment_routes("/v3/system/users/{user_id}/roles", Assignments("system")),
        get("/v3/regions", catalog.regions, token),
        get("/v3/regions/{id}", catalog.region, token),
        get("/v3/services", catalog.services, admin),
        get("/v3/services/{id}", catalog.service, admin),
        get("/v3/endpoints", catalog.endpoints, admin),
        get("/v3/endpoints/{id}", catalog.endpoint, admin),
    ]


def _assignment_routes(path: str, calls: Assignments) -> list[Route]:
    return [
        get(path, calls.index, admin),
        get(path + "/{role_id}", calls.check, admin),
        put(path + "/{role_id}", calls.add, admin),
        delete(path + "/{role_id}", calls.remove, admin),
    ]
