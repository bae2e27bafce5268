"""Tokens: opaque random texts, of which only the SHA-256 digest is stored.

What a token is worth is worked out anew from users, projects and assignments each time it is read, so that
nothing has to be taken back from it.

    issued --(revoked | expired | user or project disabled or deleted | no role left)--> worth nothing
"""

import datetime
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from polyport.context import Context
from polyport.db.engine import Database, Tx
from polyport.db.tables.identity import domains, projects, tokens, users
from polyport.db.tables.metadata import now, stored_time
from polyport.errors import NotFound, Unauthenticated
from polyport.identity.assignments import SYSTEM, Target, effective_roles
from polyport.identity.generation import generation, identity_changed
from polyport.ids import ProjectId, UserId

_MOST_CACHED = 10_000
_CACHED_SECONDS = 30
"""How long a caller may be remembered: a bound on how late a change made by another process is seen."""


class TokenNotFound(NotFound):
    """Could not find token."""


class Named(Struct, frozen=True):
    id: str
    name: str


class TokenFacts(Struct, frozen=True, kw_only=True):
    """All that is to be said of a valid token."""

    digest: str
    user: Named
    user_domain: Named
    project: Named | None = None
    project_domain: Named | None = None
    domain: Named | None = None
    system: bool = False
    roles: tuple[Named, ...] = ()
    methods: tuple[str, ...]
    audit_ids: tuple[str, ...]
    """The token's own, then that of the token the chain of rescoping began with."""
    issued_at: str
    expires_at: str


class Scope(Struct, frozen=True, kw_only=True):
    """What a token is for: one of the three, or none."""

    project_id: str | None = None
    domain_id: str | None = None
    system: bool = False


UNSCOPED = Scope()


def issue(
    tx: Tx,
    user_id: str,
    scope: Scope = UNSCOPED,
    *,
    hours: float = 1.0,
    methods: Sequence[str] = ("password",),
    parent: TokenFacts | None = None,
) -> tuple[str, TokenFacts]:
    """A new token and what it is worth. One made from a `parent` ends when that does and continues its chain.

    Raises `Unauthenticated` where user or scope are disabled, or the user has no role there.
    """
    token = secrets.token_urlsafe(32)
    issued = now()
    tx.execute(sa.delete(tokens).where(tokens.c.expires_at < issued))
    digest = digest_of(token)
    row = {
        "digest": digest,
        "user_id": user_id,
        "project_id": scope.project_id,
        "domain_id": scope.domain_id,
        "system": scope.system,
        "methods": list(methods),
        "audit_id": secrets.token_urlsafe(16),
        "chain_id": parent.audit_ids[-1] if parent else None,
        "issued_at": issued,
        "expires_at": parent.expires_at if parent else _later(hours),
    }
    tx.execute(sa.insert(tokens), row)
    facts = _facts(tx, digest, issued)
    if facts is None:
        raise Unauthenticated
    return token, facts


def read_token(tx: Tx, token: str) -> TokenFacts:
    """Raises `TokenNotFound` where it is worth nothing (any more)."""
    facts = _facts(tx, digest_of(token), now())
    if facts is None:
        raise TokenNotFound
    return facts


def read_again(tx: Tx, had: TokenFacts) -> TokenFacts:
    """What a token that was read before is worth by now. Raises `TokenNotFound`."""
    facts = _facts(tx, had.digest, now())
    if facts is None:
        raise TokenNotFound
    return facts


def revoke(tx: Tx, token: str) -> None:
    """Raises `TokenNotFound`."""
    if tx.execute(sa.delete(tokens).where(tokens.c.digest == digest_of(token))).rowcount == 0:
        raise TokenNotFound
    identity_changed(tx)


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Tokens:
    """Who is calling, by token; remembers what it found until identity changes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, tuple[str, Context]] = OrderedDict()
        """Digest -> (until when it may be believed, who)."""
        self._generation = generation()

    async def authenticate(self, token: str, request_id: str) -> Context:
        """The caller a token stands for. Raises `Unauthenticated`."""
        if self._generation != generation():
            self._known.clear()
            self._generation = generation()
        digest = digest_of(token)
        found = self._known.get(digest)
        if found is None or found[0] <= now():
            found = await self._look(digest)
        return msgspec.structs.replace(found[1], request_id=request_id)

    async def _look(self, digest: str) -> tuple[str, Context]:
        before = generation()
        self._known.pop(digest, None)
        facts = await self._database.read(lambda tx: _facts(tx, digest, now()))
        if facts is None:
            raise Unauthenticated
        found = (min(facts.expires_at, _later(_CACHED_SECONDS / 3600)), context_of(facts))
        if before == generation() == self._generation:
            self._known[digest] = found
            if len(self._known) > _MOST_CACHED:
                self._known.popitem(last=False)
        return found


def context_of(facts: TokenFacts, request_id: str = "") -> Context:
    """The caller that has this token."""
    return Context(
        user_id=UserId(facts.user.id),
        user_name=facts.user.name,
        user_domain_id=facts.user_domain.id,
        project_id=ProjectId(facts.project.id if facts.project else ""),
        project_name=facts.project.name if facts.project else "",
        project_domain_id=facts.project_domain.id if facts.project_domain else "",
        roles=frozenset(role.name for role in facts.roles),
        token=facts.digest,
        request_id=request_id,
    )


def _facts(tx: Tx, digest: str, at: str) -> TokenFacts | None:
    row = tx.first(_TOKEN, {"digest": digest, "at": at})
    if row is None:
        return None
    target: tuple[Target, str] | None = None
    if row.project_id is not None:
        target = ("project", row.project_id)
        if not (row.project_enabled and row.project_domain_enabled):
            return None
    elif row.domain_id is not None:
        target = ("domain", row.domain_id)
        if not row.domain_enabled:
            return None
    elif row.system:
        target = ("system", SYSTEM)
    found = [] if target is None else effective_roles(tx, row.user_id, *target)
    if target is not None and not found:
        return None
    return TokenFacts(
        digest=digest,
        user=Named(row.user_id, row.user_name),
        user_domain=Named(row.user_domain_id, row.user_domain_name),
        project=Named(row.project_id, row.project_name) if row.project_id else None,
        project_domain=Named(row.project_domain_id, row.project_domain_name) if row.project_id else None,
        domain=Named(row.domain_id, row.domain_name) if row.domain_id else None,
        system=row.system,
        roles=tuple(Named(*role) for role in found),
        methods=tuple(row.methods),
        audit_ids=(row.audit_id,) if row.chain_id is None else (row.audit_id, row.chain_id),
        issued_at=row.issued_at,
        expires_at=row.expires_at,
    )


def _later(hours: float) -> str:
    return stored_time(datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours))


_user_domains = domains.alias("user_domains")
_project_domains = domains.alias("project_domains")
_TOKEN: sa.Select[Any] = (
    sa.select(
        tokens,
        users.c.name.label("user_name"),
        _user_domains.c.id.label("user_domain_id"),
        _user_domains.c.name.label("user_domain_name"),
        projects.c.name.label("project_name"),
        projects.c.enabled.label("project_enabled"),
        _project_domains.c.id.label("project_domain_id"),
        _project_domains.c.name.label("project_domain_name"),
        _project_domains.c.enabled.label("project_domain_enabled"),
        domains.c.name.label("domain_name"),
        domains.c.enabled.label("domain_enabled"),
    )
    .select_from(tokens)
    .join(users, users.c.id == tokens.c.user_id)
    .join(_user_domains, _user_domains.c.id == users.c.domain_id)
    .outerjoin(projects, projects.c.id == tokens.c.project_id)
    .outerjoin(_project_domains, _project_domains.c.id == projects.c.domain_id)
    .outerjoin(domains, domains.c.id == tokens.c.domain_id)
    .where(
        tokens.c.digest == sa.bindparam("digest"),
        tokens.c.expires_at > sa.bindparam("at"),
        users.c.enabled.is_(True),
        _user_domains.c.enabled.is_(True),
    )
)
