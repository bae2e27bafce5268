"""The way to a token and out of it again: `/v3/auth`."""

import functools
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from polyport.api.identity.catalog import catalog_view
from polyport.api.identity.domains import domain_view
from polyport.api.identity.fields import list_view
from polyport.api.identity.projects import project_view
from polyport.context import Context
from polyport.db.engine import Database, Tx
from polyport.errors import Forbidden, Invalid, NotFound, Unauthenticated
from polyport.identity import assignments, tokens
from polyport.identity.domains import Domain, find_domain, get_domain, list_domains
from polyport.identity.passwords import Hashing
from polyport.identity.projects import find_project, get_project, list_projects
from polyport.identity.tokens import Scope, TokenFacts
from polyport.identity.users import Login, find_user, get_login, get_user
from polyport.web.calls import Call, Reply


class UnsupportedMethod(Unauthenticated):
    """Attempted to authenticate with an unsupported method."""


class IncompleteIdentity(Invalid):
    """Expecting to find {what} in {where}."""


class NotYourToken(Forbidden):
    """You are not authorized to perform the requested action on the token of somebody else."""


class DomainRef(Struct, frozen=True, forbid_unknown_fields=True):
    id: str | None = None
    name: str | None = None


class UserRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None
    password: str


class PasswordMethod(Struct, frozen=True, forbid_unknown_fields=True):
    user: UserRef


class TokenMethod(Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class Identity(Struct, frozen=True, kw_only=True):
    """Other methods bring other fields; they are refused by their names in `methods`."""

    methods: list[str]
    password: PasswordMethod | UnsetType = UNSET
    token: TokenMethod | UnsetType = UNSET


class ProjectRef(Struct, frozen=True, forbid_unknown_fields=True):
    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class SystemRef(Struct, frozen=True, forbid_unknown_fields=True):
    all: bool = False


class ScopeRef(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: ProjectRef | UnsetType = UNSET
    domain: DomainRef | UnsetType = UNSET
    system: SystemRef | UnsetType = UNSET
    unscoped: dict[str, Any] | UnsetType = UNSET


class Auth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    identity: Identity
    scope: ScopeRef | str | UnsetType = UNSET


class CreateToken(Struct, frozen=True, forbid_unknown_fields=True):
    auth: Auth


class Gate:
    """Hands out tokens that live for so many hours, with the catalog of a region."""

    def __init__(self, region: str, token_hours: float, hashing: Hashing) -> None:
        self._region = region
        self._hours = token_hours
        self._hashing = hashing

    async def create_token(self, call: Call, database: Database) -> Reply:
        """Whoever cannot prove who it is learns nothing but that: one answer, after one and the same time."""
        wanted = call.decode(CreateToken).auth
        methods = tuple(dict.fromkeys(wanted.identity.methods))
        if not methods:
            raise IncompleteIdentity(what="methods", where="identity")
        if not set(methods) <= {"password", "token"}:
            raise UnsupportedMethod
        parent = await _parent_of(wanted.identity, database) if "token" in methods else None
        login = await self._login_of(wanted.identity, database) if "password" in methods else None
        if parent is not None and login is not None and parent.user.id != login.user_id:
            raise Unauthenticated
        issue = functools.partial(self._issue, parent=parent, login=login, methods=methods, scope=wanted.scope)
        token, facts = await database.write(issue)
        body = self.token_view(call, facts)
        return Reply(status=201, body=body, headers={"x-subject-token": token})

    def get_token(self, call: Call, tx: Tx) -> Reply:
        facts = tokens.read_token(tx, _subject(call))
        _check_subject(call.context, facts, ("admin", "service"))
        return Reply(body=self.token_view(call, facts), headers={"x-subject-token": _subject(call)})

    def delete_token(self, call: Call, tx: Tx) -> Reply:
        _check_subject(call.context, tokens.read_token(tx, _subject(call)), ("admin",))
        tokens.revoke(tx, _subject(call))
        return Reply(status=204)

    def token_view(self, call: Call, facts: TokenFacts) -> dict[str, Any]:
        """A token as its owner sees it. Source: Keystone's API reference, "Authentication and token management"."""
        view: dict[str, Any] = {
            "methods": list(facts.methods),
            "user": {
                "id": facts.user.id,
                "name": facts.user.name,
                "domain": {"id": facts.user_domain.id, "name": facts.user_domain.name},
                "password_expires_at": None,
            },
            "audit_ids": list(facts.audit_ids),
            "expires_at": facts.expires_at + "Z",
            "issued_at": facts.issued_at + "Z",
        }
        if facts.project is not None and facts.project_domain is not None:
            domain = {"id": facts.project_domain.id, "name": facts.project_domain.name}
            view["project"] = {"id": facts.project.id, "name": facts.project.name, "domain": domain}
            view["is_domain"] = False
        elif facts.domain is not None:
            view["domain"] = {"id": facts.domain.id, "name": facts.domain.name}
        elif facts.system:
            view["system"] = {"all": True}
        else:
            return {"token": view}
        view["roles"] = [{"id": role.id, "name": role.name} for role in facts.roles]
        if "nocatalog" not in call.query:
            view["catalog"] = catalog_view(self._region, call.root_url)
        return {"token": view}

    async def _login_of(self, identity: Identity, database: Database) -> Login:
        if identity.password is UNSET:
            raise IncompleteIdentity(what="password", where="identity")
        user = identity.password.user
        if user.id is None and user.name is None:
            raise IncompleteIdentity(what="id or name", where="user")
        if user.id is None and (user.domain is None or (user.domain.id is None and user.domain.name is None)):
            raise IncompleteIdentity(what="domain", where="user")
        login = await database.read(lambda tx: _find_login(tx, user))
        if not await self._hashing.verify(user.password, login.password_hash if login else None) or login is None:
            raise Unauthenticated
        return login

    def _issue(
        self,
        tx: Tx,
        *,
        parent: TokenFacts | None,
        login: Login | None,
        methods: tuple[str, ...],
        scope: ScopeRef | str | UnsetType,
    ) -> tuple[str, TokenFacts]:
        if login is not None and get_login(tx, login.user_id) != login:
            raise Unauthenticated  # the password was changed while it was being checked
        if parent is not None:
            try:
                parent = tokens.read_again(tx, parent)
            except tokens.TokenNotFound as error:
                raise Unauthenticated from error  # ended while its heir waited for this transaction
        user_id = login.user_id if login is not None else parent.user.id if parent is not None else ""
        proven = tuple(dict.fromkeys((*(parent.methods if parent else ()), *methods)))
        resolved = _scope_of(tx, user_id, scope)
        return tokens.issue(tx, user_id, resolved, hours=self._hours, methods=proven, parent=parent)


def own_projects(call: Call, tx: Tx) -> Reply:
    """The projects the caller may have a token for."""
    found = list_projects(tx, ids=assignments.targets_of(tx, call.context.user_id, "project"))
    return Reply(
        body=list_view(call, "projects", [project_view(call, project) for project in found if project.enabled])
    )


def own_domains(call: Call, tx: Tx) -> Reply:
    """The domains the caller may have a token for."""
    found = list_domains(tx, ids=assignments.targets_of(tx, call.context.user_id, "domain"))
    return Reply(body=list_view(call, "domains", [domain_view(call, domain) for domain in found if domain.enabled]))


def own_system(call: Call, tx: Tx) -> Reply:
    """Whether the caller may have a token for the whole system."""
    found = assignments.targets_of(tx, call.context.user_id, "system")
    return Reply(body={"system": [{"all": True}] if found else [], "links": {"self": call.base_url + call.path}})


async def _parent_of(identity: Identity, database: Database) -> TokenFacts:
    if identity.token is UNSET:
        raise IncompleteIdentity(what="token", where="identity")
    token = identity.token.id
    try:
        return await database.read(lambda tx: tokens.read_token(tx, token))
    except tokens.TokenNotFound as error:
        raise Unauthenticated from error


def _find_login(tx: Tx, user: UserRef) -> Login | None:
    if user.id is not None:
        return get_login(tx, user.id)
    try:
        domain = _domain_of(tx, user.domain)
    except NotFound:
        return None
    found = find_user(tx, user.name or "", domain.id)
    return None if found is None else get_login(tx, found.id)


def _scope_of(tx: Tx, user_id: str, wanted: ScopeRef | str | UnsetType) -> Scope:
    if wanted is UNSET:
        return _usual_scope(tx, user_id)
    if isinstance(wanted, str):
        if wanted != "unscoped":
            raise IncompleteIdentity(what="an object or 'unscoped'", where="scope")
        return tokens.UNSCOPED
    named = [name for name in ("project", "domain", "system", "unscoped") if getattr(wanted, name) is not UNSET]
    if len(named) != 1:
        raise IncompleteIdentity(what="one of project, domain, system or unscoped", where="scope")
    try:
        if wanted.project is not UNSET:
            return Scope(project_id=_project_of(tx, wanted.project))
        if wanted.domain is not UNSET:
            return Scope(domain_id=_domain_of(tx, wanted.domain).id)
    except NotFound as error:
        raise Unauthenticated from error
    if wanted.system is not UNSET:
        if not wanted.system.all:
            raise IncompleteIdentity(what="all: true", where="system")
        return Scope(system=True)
    return tokens.UNSCOPED


def _usual_scope(tx: Tx, user_id: str) -> Scope:
    """Without a word about scope: the user's default project, if that can be had."""
    project_id = get_user(tx, user_id).default_project_id
    if project_id is None or not assignments.effective_roles(tx, user_id, "project", project_id):
        return tokens.UNSCOPED
    project = get_project(tx, project_id)
    usable = project.enabled and get_domain(tx, project.domain_id).enabled
    return Scope(project_id=project_id) if usable else tokens.UNSCOPED


def _project_of(tx: Tx, wanted: ProjectRef) -> str:
    if wanted.id is not None:
        return get_project(tx, wanted.id).id
    if wanted.name is None:
        raise IncompleteIdentity(what="id or name", where="project")
    domain = _domain_of(tx, wanted.domain)
    project = find_project(tx, wanted.name, domain.id)
    if project is None:
        raise Unauthenticated
    return project.id


def _domain_of(tx: Tx, wanted: DomainRef | None) -> Domain:
    if wanted is None or (wanted.id is None and wanted.name is None):
        raise IncompleteIdentity(what="id or name of a domain", where="project or scope")
    return find_domain(tx, wanted.id, wanted.name)


def _subject(call: Call) -> str:
    token = call.headers.get("x-subject-token")
    if not token:
        raise IncompleteIdentity(what="X-Subject-Token", where="the headers")
    return token


def _check_subject(context: Context, facts: TokenFacts, roles: tuple[str, ...]) -> None:
    if context.user_id != facts.user.id and context.roles.isdisjoint(roles):
        raise NotYourToken
