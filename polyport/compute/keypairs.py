"""Key pairs: public keys that servers are given at boot. They belong to a user, not to a project."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.exc import IntegrityError

from polyport import quotas
from polyport.compute.keys import PublicKey
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.compute import keypairs
from polyport.db.tables.metadata import now
from polyport.errors import Conflict, NotFound, OverQuota
from polyport.ids import UserId


class KeypairNotFound(NotFound):
    """Keypair {name} not found for user {user_id}"""


class KeypairExists(Conflict):
    """Key pair '{name}' already exists."""


class TooManyKeypairs(OverQuota):
    """Quota exceeded, too many key pairs."""


class Keypair(Struct, frozen=True, kw_only=True):
    number: int
    user_id: UserId
    name: str
    type: str
    """ssh | x509"""
    fingerprint: str
    public_key: str
    created_at: str


def get_keypair(tx: Tx, user_id: UserId, name: str) -> Keypair:
    """Raises `KeypairNotFound`."""
    row = tx.first(_BY_NAME, {"user": user_id, "called": name})
    if row is None:
        raise KeypairNotFound(name=name, user_id=user_id)
    return read_keypair(row)


def list_keypairs(tx: Tx, user_id: UserId, *, limit: int | None = None, marker: str | None = None) -> Sequence[Keypair]:
    """A user's key pairs by name, those after `marker`. Raises `KeypairNotFound` for a marker that is not there."""
    statement = sa.select(keypairs).where(keypairs.c.user_id == user_id).order_by(keypairs.c.name)
    if marker is not None:
        statement = statement.where(keypairs.c.name > get_keypair(tx, user_id, marker).name)
    return [read_keypair(row) for row in tx.all(statement if limit is None else statement.limit(limit))]


def add_keypair(tx: Tx, context: Context, user_id: UserId, name: str, key: PublicKey) -> Keypair:
    """Keep a public key for a user. Raises `TooManyKeypairs` or `KeypairExists`."""
    # Counted, not charged: the limit is the project's, but key pairs belong to users and stay when projects change.
    most = quotas.limits_of(tx, context.project_id).get("key_pairs", quotas.UNLIMITED)
    had = tx.value(sa.select(sa.func.count()).where(keypairs.c.user_id == user_id))
    if most != quotas.UNLIMITED and had >= most:
        raise TooManyKeypairs
    row = {
        "user_id": user_id,
        "name": name,
        "type": key.kind,
        "fingerprint": key.fingerprint,
        "public_key": key.text,
        "created_at": now(),
    }
    try:
        tx.execute(sa.insert(keypairs), row)
    except IntegrityError as error:
        raise KeypairExists(name=name) from error
    return get_keypair(tx, user_id, name)


def delete_keypair(tx: Tx, user_id: UserId, name: str) -> None:
    """Raises `KeypairNotFound`. Servers keep the key they were given."""
    gone = tx.execute(sa.delete(keypairs).where(keypairs.c.user_id == user_id, keypairs.c.name == name))
    if gone.rowcount == 0:
        raise KeypairNotFound(name=name, user_id=user_id)


def read_keypair(row: sa.Row[Any]) -> Keypair:
    return Keypair(
        number=row.id,
        user_id=row.user_id,
        name=row.name,
        type=row.type,
        fingerprint=row.fingerprint,
        public_key=row.public_key,
        created_at=row.created_at,
    )


_BY_NAME = sa.select(keypairs).where(
    keypairs.c.user_id == sa.bindparam("user"), keypairs.c.name == sa.bindparam("called")
)
