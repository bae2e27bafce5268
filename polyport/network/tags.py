"""Tags of networks, subnets, ports and security groups: short words, each once, in the order they were given."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.metadata import now
from polyport.db.tables.network import networks, ports, security_groups, subnets
from polyport.errors import NotFound
from polyport.network import InvalidInput
from polyport.network.networks import get_network
from polyport.network.ports import get_port
from polyport.network.security_groups import get_group
from polyport.network.subnets import get_subnet
from polyport.policy import PolicyNotAuthorized

MOST_TAGS = 50
MOST_CHARACTERS = 255

_TABLES = {"networks": networks, "subnets": subnets, "ports": ports, "security-groups": security_groups}
_READERS: dict[str, Any] = {
    "networks": get_network,
    "subnets": get_subnet,
    "ports": get_port,
    "security-groups": get_group,
}
COLLECTIONS = tuple(_TABLES)


class TagNotFound(NotFound):
    """Tag {tag} could not be found."""


class TagResourceNotFound(NotFound):
    """Resource {resource} {id} could not be found."""


class Tagged(Struct, frozen=True):
    """Something with tags: in which collection it is, and its id."""

    collection: str
    id: str


def read_tags(tx: Tx, context: Context, thing: Tagged) -> tuple[str, ...]:
    """Raises the collection's own not-found error."""
    tags: tuple[str, ...] = _READERS[thing.collection](tx, context, thing.id).tags
    return tags


def set_tags(tx: Tx, context: Context, thing: Tagged, tags: Sequence[str]) -> tuple[str, ...]:
    """Replace all tags. Raises `InvalidInput` for a word that cannot be one."""
    found = _READERS[thing.collection](tx, context, thing.id)
    if found.project_id != context.project_id and not context.is_admin:
        raise PolicyNotAuthorized(action="update_tags")
    wanted = checked_tags(tags)
    table = _TABLES[thing.collection]
    tx.execute(
        sa.update(table)
        .where(table.c.id == found.id)
        .values(tags=wanted, revision_number=table.c.revision_number + 1, updated_at=now())
    )
    return wanted


def add_tags(tx: Tx, context: Context, thing: Tagged, tags: Sequence[str]) -> tuple[str, ...]:
    return set_tags(tx, context, thing, (*read_tags(tx, context, thing), *tags))


def remove_tag(tx: Tx, context: Context, thing: Tagged, tag: str) -> None:
    """Raises `TagNotFound` where it is not there."""
    before = read_tags(tx, context, thing)
    if tag not in before:
        raise TagNotFound(tag=tag[:MOST_CHARACTERS])
    set_tags(tx, context, thing, [other for other in before if other != tag])


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags, each once. A comma cannot be in one: filters separate tags by it."""
    wanted = tuple(dict.fromkeys(tags))
    if len(wanted) > MOST_TAGS:
        raise InvalidInput(reason=f"There may be at most {MOST_TAGS} tags")
    for tag in wanted:
        if not 1 <= len(tag) <= MOST_CHARACTERS or "," in tag or "\0" in tag:
            raise InvalidInput(reason=f"'{tag[:50]}' is not a tag: 1 to {MOST_CHARACTERS} characters, no comma")
    return wanted
