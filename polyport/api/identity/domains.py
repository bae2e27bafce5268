"""`/v3/domains`."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from polyport.api.identity.fields import ShortName, Tags, Text, body_of, check_options, filtered, list_view
from polyport.db.engine import Tx
from polyport.identity import domains
from polyport.identity.domains import Domain, DomainChange
from polyport.policy import PolicyNotAuthorized
from polyport.web.calls import Call, Reply


class CreateDomain(Struct, frozen=True, kw_only=True):
    name: ShortName
    description: Text | None = None
    enabled: bool = True
    options: dict[str, Any] = {}
    tags: Tags = []


class UpdateDomain(Struct, frozen=True, kw_only=True):
    name: ShortName | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    options: dict[str, Any] = {}
    tags: Tags | UnsetType = UNSET


def create(call: Call, tx: Tx) -> Reply:
    wanted, extra = body_of(call, "domain", CreateDomain)
    check_options(wanted.options, frozenset())
    domain = domains.create_domain(
        tx,
        wanted.name,
        description=wanted.description or "",
        enabled=wanted.enabled,
        tags=list(wanted.tags),
        extra=extra,
    )
    return Reply(status=201, body={"domain": domain_view(call, domain)})


def index(call: Call, tx: Tx) -> Reply:
    views = [domain_view(call, domain) for domain in domains.list_domains(tx)]
    return Reply(body=list_view(call, "domains", filtered(call.query, views, ("name",))))


def show(call: Call, tx: Tx) -> Reply:
    """An administrator sees each, others those of their user and project."""
    wanted, context = call.params["id"], call.context
    if not context.is_admin and wanted not in (context.user_domain_id, context.project_domain_id):
        raise PolicyNotAuthorized(action="identity:get_domain")
    return Reply(body={"domain": domain_view(call, domains.get_domain(tx, wanted))})


def update(call: Call, tx: Tx) -> Reply:
    wanted, extra = body_of(call, "domain", UpdateDomain)
    check_options(wanted.options, frozenset())
    change = DomainChange(
        name=wanted.name,
        description=wanted.description or "" if wanted.description is not UNSET else UNSET,
        enabled=wanted.enabled,
        tags=wanted.tags,
        extra=extra,
    )
    return Reply(body={"domain": domain_view(call, domains.update_domain(tx, call.params["id"], change))})


def delete(call: Call, tx: Tx) -> Reply:
    domains.delete_domain(tx, call.params["id"])
    return Reply(status=204)


def domain_view(call: Call, domain: Domain) -> dict[str, Any]:
    return {
        **domain.extra,
        "id": domain.id,
        "name": domain.name,
        "description": domain.description,
        "enabled": domain.enabled,
        "tags": domain.tags,
        "options": {},
        "links": {"self": f"{call.base_url}/v3/domains/{domain.id}"},
    }
