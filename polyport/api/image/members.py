"""`/v2/images/{id}/members`: projects a shared image is offered to."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from polyport.api.image.fields import NO_NUL, id_of, time_view
from polyport.db.engine import Tx
from polyport.image import members
from polyport.image.members import Member, MemberStatus
from polyport.web.calls import Call, Reply


class AddMember(Struct, frozen=True, forbid_unknown_fields=True):
    member: Annotated[str, Meta(min_length=1, max_length=64, pattern=NO_NUL)]


class AnswerOffer(Struct, frozen=True, forbid_unknown_fields=True):
    status: MemberStatus


def add(call: Call, tx: Tx) -> Reply:
    image_id = id_of(call)
    wanted = call.decode(AddMember)
    return Reply(body=member_view(members.add_member(tx, call.context, image_id, wanted.member)))


def index(call: Call, tx: Tx) -> Reply:
    found = members.list_members(tx, call.context, id_of(call))
    return Reply(body={"members": [member_view(member) for member in found], "schema": "/v2/schemas/members"})


def show(call: Call, tx: Tx) -> Reply:
    return Reply(body=member_view(members.get_member(tx, call.context, id_of(call), call.params["member_id"])))


def answer(call: Call, tx: Tx) -> Reply:
    image_id = id_of(call)
    wanted = call.decode(AnswerOffer)
    member = members.answer(tx, call.context, image_id, call.params["member_id"], wanted.status)
    return Reply(body=member_view(member))


def remove(call: Call, tx: Tx) -> Reply:
    members.remove_member(tx, call.context, id_of(call), call.params["member_id"])
    return Reply(status=204)


def member_view(member: Member) -> dict[str, Any]:
    return {
        "image_id": member.image_id,
        "member_id": member.member_id,
        "status": member.status,
        "created_at": time_view(member.created_at),
        "updated_at": time_view(member.updated_at),
        "schema": "/v2/schemas/member",
    }
