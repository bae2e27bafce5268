"""`/os-keypairs`"""

import asyncio
import re
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from polyport.api.compute.fields import Name, check_query
from polyport.api.compute.microversions import (
    KEYPAIR_IMPORT_ONLY,
    KEYPAIR_OF_USER,
    KEYPAIR_PAGING,
    KEYPAIR_TYPE,
)
from polyport.compute import keypairs, keys
from polyport.compute.keypairs import Keypair
from polyport.db.engine import Database, Tx
from polyport.errors import Invalid
from polyport.ids import UserId
from polyport.policy import PolicyNotAuthorized, member, reader
from polyport.web.bodies import InvalidField, only
from polyport.web.calls import Call, Reply
from polyport.web.paging import links, page_of
from polyport.web.routes import delete, get, own

_SAFE_NAME = re.compile(r"[a-zA-Z0-9_\- ]+")
_SAFE_NAME_OR_ADDRESS = re.compile(r"[a-zA-Z0-9_\- @.]+")


class UnsafeName(Invalid):
    """Keypair data is invalid: Keypair name contains unsafe characters"""


class MarkerNotFound(Invalid):
    """marker [{marker}] not found"""


OneUser: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+\Z")]
"""The id of a user. A certificate has room for 64 bytes of it."""


class KeypairBody(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Name
    public_key: str | UnsetType = UNSET
    type: Annotated[Literal["ssh", "x509"] | UnsetType, only(KEYPAIR_TYPE)] = UNSET
    user_id: Annotated[OneUser | UnsetType, only(KEYPAIR_OF_USER)] = UNSET


class CreateKeypair(Struct, forbid_unknown_fields=True, kw_only=True):
    keypair: KeypairBody


def list_keypairs(call: Call, tx: Tx) -> Reply:
    paging = call.version in KEYPAIR_PAGING
    check_query(call, ("limit", "marker", "user_id"))
    page = page_of(call.query, (), ())
    user_id = _asked_user(call)
    try:
        found = keypairs.list_keypairs(
            tx, user_id, limit=page.limit if paging else None, marker=page.marker if paging else None
        )
    except keypairs.KeypairNotFound as error:
        raise MarkerNotFound(marker=(page.marker or "")[:100]) from error
    body: dict[str, Any] = {"keypairs": [{"keypair": _brief_view(call, pair)} for pair in found]}
    if paging and (more := links(call, "keypairs", page, [pair.name for pair in found])):
        body["keypairs_links"] = [link for link in more if link["rel"] == "next"]
    return Reply(body=body)


def show(call: Call, tx: Tx) -> Reply:
    keypair = keypairs.get_keypair(tx, _asked_user(call), call.params["name"])
    view = {
        **_brief_view(call, keypair),
        "user_id": keypair.user_id,
        "id": keypair.number,
        "created_at": keypair.created_at,
        "updated_at": None,
        "deleted": False,
        "deleted_at": None,
    }
    return Reply(body={"keypair": view})


async def create(call: Call, database: Database) -> Reply:
    """Import a key, or make one until 2.91. Keys are looked at and made in a thread, before the transaction."""
    body = call.decode(CreateKeypair).keypair
    import_only = call.version in KEYPAIR_IMPORT_ONLY
    if (_SAFE_NAME_OR_ADDRESS if import_only else _SAFE_NAME).fullmatch(body.name) is None:
        raise UnsafeName
    if body.public_key is UNSET and import_only:
        raise InvalidField(field="keypair", value=body.name, reason="'public_key' is a required property")
    user_id = _user(call, None if body.user_id is UNSET else body.user_id)
    kind: keys.Kind = "ssh" if body.type is UNSET else body.type
    private: str | None = None
    if body.public_key is not UNSET:
        key = await asyncio.to_thread(keys.public_key, body.public_key, kind)
    elif kind == "ssh":
        key, private = await asyncio.to_thread(keys.generate_ssh)
    else:
        key, private = await asyncio.to_thread(keys.generate_x509, user_id)
    keypair = await database.write(lambda tx: keypairs.add_keypair(tx, call.context, user_id, body.name, key))
    view = {**_brief_view(call, keypair), "user_id": keypair.user_id}
    if private is not None:
        view["private_key"] = private
    return Reply(status=201 if call.version in KEYPAIR_TYPE else 200, body={"keypair": view})


def delete_keypair(call: Call, tx: Tx) -> Reply:
    keypairs.delete_keypair(tx, _asked_user(call), call.params["name"])
    return Reply(status=204 if call.version in KEYPAIR_TYPE else 202)


def _brief_view(call: Call, keypair: Keypair) -> dict[str, Any]:
    view: dict[str, Any] = {"name": keypair.name, "public_key": keypair.public_key, "fingerprint": keypair.fingerprint}
    if call.version in KEYPAIR_TYPE:
        view["type"] = keypair.type
    return view


def _asked_user(call: Call) -> UserId:
    return _user(call, call.query.get("user_id") if call.version in KEYPAIR_OF_USER else None)


def _user(call: Call, asked: str | None) -> UserId:
    """Whose key pairs are meant; others' are for administrators."""
    if asked is None or asked == call.context.user_id:
        return call.context.user_id
    if not call.context.is_admin:
        raise PolicyNotAuthorized(action="os_compute_api:os-keypairs")
    return UserId(asked)


ROUTES = (
    get("/os-keypairs", list_keypairs, reader),
    get("/os-keypairs/{name}", show, reader),
    own("POST", "/os-keypairs", create, member),
    delete("/os-keypairs/{name}", delete_keypair, member),
)
