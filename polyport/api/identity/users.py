"""`/v3/users`, their passwords and projects."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from polyport.api.identity.fields import (
    Id,
    Name,
    Password,
    Text,
    Unchangeable,
    body_of,
    check_options,
    filtered,
    list_view,
)
from polyport.api.identity.projects import home_domain, project_view
from polyport.db.engine import Database, Tx
from polyport.errors import Unauthenticated
from polyport.identity import assignments, projects, users
from polyport.identity.passwords import Hashing
from polyport.identity.users import User, UserChange
from polyport.policy import PolicyNotAuthorized
from polyport.web.calls import Call, Reply

_HARMLESS_OPTIONS = frozenset(
    (
        "ignore_change_password_upon_first_use",
        "ignore_password_expiry",
        "ignore_lockout_failure_attempts",
        "ignore_user_inactivity",
    )
)
"""They lift rules that are not there; what they say is kept."""


class CreateUser(Struct, frozen=True, kw_only=True):
    name: Name
    domain_id: Id | None = None
    default_project_id: Id | None = None
    password: Password | None = None
    description: Text | None = None
    enabled: bool = True
    options: dict[str, Any] = {}


class UpdateUser(Struct, frozen=True, kw_only=True):
    name: Name | UnsetType = UNSET
    domain_id: Id | UnsetType = UNSET
    default_project_id: Id | UnsetType | None = UNSET
    password: Password | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    options: dict[str, Any] | UnsetType = UNSET


class ChangePassword(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    password: Password
    original_password: str


class ChangePasswordBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user: ChangePassword


class Registry:
    """The calls that hash passwords: outside of transactions, a few at a time."""

    def __init__(self, hashing: Hashing) -> None:
        self._hashing = hashing

    async def create(self, call: Call, database: Database) -> Reply:
        wanted, extra = body_of(call, "user", CreateUser)
        check_options(wanted.options, _HARMLESS_OPTIONS)
        digest = await self._hashing.hash(wanted.password) if wanted.password is not None else None

        def work(tx: Tx) -> User:
            return users.create_user(
                tx,
                wanted.name,
                domain_id=wanted.domain_id or home_domain(call.context),
                password_hash=digest,
                default_project_id=wanted.default_project_id,
                description=wanted.description or "",
                enabled=wanted.enabled,
                options=wanted.options,
                extra=extra,
            )

        return Reply(status=201, body={"user": user_view(call, await database.write(work))})

    async def update(self, call: Call, database: Database) -> Reply:
        wanted, extra = body_of(call, "user", UpdateUser)
        if wanted.options is not UNSET:
            check_options(wanted.options, _HARMLESS_OPTIONS)
        digest: str | UnsetType | None = UNSET
        if wanted.password is not UNSET:
            digest = None if wanted.password is None else await self._hashing.hash(wanted.password)
        change = UserChange(
            name=wanted.name,
            default_project_id=wanted.default_project_id,
            description=wanted.description or "" if wanted.description is not UNSET else UNSET,
            enabled=wanted.enabled,
            options=wanted.options,
            password_hash=digest,
            extra=extra,
        )

        def work(tx: Tx) -> User:
            had = users.get_user(tx, call.params["id"])
            if wanted.domain_id not in (UNSET, had.domain_id):
                raise Unchangeable(name="domain_id")
            return users.update_user(tx, had.id, change)

        return Reply(body={"user": user_view(call, await database.write(work))})

    async def change_password(self, call: Call, database: Database) -> Reply:
        """A user's own change: whoever knows the old password may set a new one."""
        wanted = call.decode(ChangePasswordBody).user
        login = await database.read(lambda tx: users.get_login(tx, call.params["id"]))
        stored = login.password_hash if login is not None else None
        if not await self._hashing.verify(wanted.original_password, stored) or login is None:
            raise Unauthenticated
        digest = await self._hashing.hash(wanted.password)

        def work(tx: Tx) -> None:
            if users.get_login(tx, login.user_id) != login or not users.get_user(tx, login.user_id).enabled:
                raise Unauthenticated
            users.update_user(tx, login.user_id, UserChange(password_hash=digest))

        await database.write(work)
        return Reply(status=204)


def index(call: Call, tx: Tx) -> Reply:
    found = users.list_users(tx, domain_id=call.query.get("domain_id"), name=call.query.get("name"))
    views = filtered(call.query, [user_view(call, user) for user in found], ("name",))
    return Reply(body=list_view(call, "users", views))


def show(call: Call, tx: Tx) -> Reply:
    _check_self(call, "identity:get_user")
    return Reply(body={"user": user_view(call, users.get_user(tx, call.params["id"]))})


def delete(call: Call, tx: Tx) -> Reply:
    users.delete_user(tx, call.params["id"])
    return Reply(status=204)


def list_projects(call: Call, tx: Tx) -> Reply:
    _check_self(call, "identity:list_user_projects")
    user = users.get_user(tx, call.params["id"])
    found = projects.list_projects(tx, ids=assignments.targets_of(tx, user.id, "project"))
    views = filtered(call.query, [project_view(call, project) for project in found], ("name", "domain_id"))
    return Reply(body=list_view(call, "projects", views))


def user_view(call: Call, user: User) -> dict[str, Any]:
    view = {
        **user.extra,
        "id": user.id,
        "name": user.name,
        "domain_id": user.domain_id,
        "description": user.description,
        "enabled": user.enabled,
        "options": user.options,
        "password_expires_at": None,
        "links": {"self": f"{call.base_url}/v3/users/{user.id}"},
    }
    if user.default_project_id is not None:
        view["default_project_id"] = user.default_project_id
    return view


def _check_self(call: Call, action: str) -> None:
    if not call.context.is_admin and call.params["id"] != call.context.user_id:
        raise PolicyNotAuthorized(action=action)
