"""Members of a shared image: projects it is offered to.

    pending --(the member says)--> accepted | rejected

An offered image can be had by its id at once; it is in the member's list when the member has accepted it.
"""

from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.exc import IntegrityError

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.image import members
from polyport.db.tables.metadata import now
from polyport.errors import Conflict, Forbidden, NotFound
from polyport.image.images import Image, TooManyOfImage, get_image, own_image

MOST_MEMBERS = 128

MemberStatus = Literal["pending", "accepted", "rejected"]


class MemberNotFound(NotFound):
    """Member {member_id} of image {image_id} is not found."""


class MemberTaken(Conflict):
    """Image member {member_id} for image {image_id} already exists"""


class NotShared(Forbidden):
    """Only shared images have members."""


class NotTheMember(Forbidden):
    """Only the member itself may say whether it accepts image {image_id}."""


class Member(Struct, frozen=True, kw_only=True):
    image_id: str
    member_id: str
    status: MemberStatus
    created_at: str
    updated_at: str


def add_member(tx: Tx, context: Context, image_id: str, member_id: str) -> Member:
    """Offer an image to a project. Raises `ImageNotFound`, `NotImageOwner`, `NotShared`, `MemberTaken`,
    `TooManyOfImage`."""
    image = own_image(tx, context, image_id)
    if image.visibility != "shared":
        raise NotShared
    count = tx.value(sa.select(sa.func.count()).where(members.c.image_id == image_id))
    if count >= MOST_MEMBERS:
        raise TooManyOfImage(noun="members", count=count + 1, most=MOST_MEMBERS)
    at = now()
    member = Member(image_id=image_id, member_id=member_id, status="pending", created_at=at, updated_at=at)
    try:
        tx.execute(sa.insert(members), msgspec.structs.asdict(member))
    except IntegrityError as error:
        raise MemberTaken(image_id=image_id, member_id=member_id) from error
    return member


def get_member(tx: Tx, context: Context, image_id: str, member_id: str) -> Member:
    """The owner sees every member, a member itself. Raises `ImageNotFound`, `MemberNotFound`."""
    image = get_image(tx, context, image_id)
    statement = sa.select(members).where(members.c.image_id == image_id, members.c.member_id == member_id)
    row = tx.first(statement) if _sees(context, image, member_id) else None
    if row is None:
        raise MemberNotFound(image_id=image_id, member_id=member_id)
    return _read(row)


def list_members(tx: Tx, context: Context, image_id: str) -> list[Member]:
    """The members the caller sees, by project id. Raises `ImageNotFound`, `NotShared`."""
    image = get_image(tx, context, image_id)
    if image.visibility != "shared":
        raise NotShared
    statement = sa.select(members).where(members.c.image_id == image_id).order_by(members.c.member_id)
    return [_read(row) for row in tx.all(statement) if _sees(context, image, row.member_id)]


def answer(tx: Tx, context: Context, image_id: str, member_id: str, status: MemberStatus) -> Member:
    """A member accepts or rejects what it was offered. Raises `ImageNotFound`, `MemberNotFound`, `NotTheMember`."""
    get_member(tx, context, image_id, member_id)
    if not context.is_admin and context.project_id != member_id:
        raise NotTheMember(image_id=image_id)
    statement = sa.update(members).where(members.c.image_id == image_id, members.c.member_id == member_id)
    tx.execute(statement.values(status=status, updated_at=now()))
    return get_member(tx, context, image_id, member_id)


def remove_member(tx: Tx, context: Context, image_id: str, member_id: str) -> None:
    """Raises `ImageNotFound`, `NotImageOwner`, `MemberNotFound`."""
    own_image(tx, context, image_id)
    statement = sa.delete(members).where(members.c.image_id == image_id, members.c.member_id == member_id)
    if tx.execute(statement).rowcount == 0:
        raise MemberNotFound(image_id=image_id, member_id=member_id)


def _sees(context: Context, image: Image, member_id: str) -> bool:
    return context.is_admin or context.project_id in (image.project_id, member_id)


def _read(row: sa.Row[Any]) -> Member:
    return Member(**row._mapping)
