"""Key pairs: public keys that servers are given at boot. They belong to a user, not to a project."""

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.exc import IntegrityError

from polyport import quotas
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.compute import keypairs
from polyport.db.tables.metadata import now
from polyport.errors import Conflict, Invalid, NotFound, OverQuota
from polyport.ids import UserId

MOST_KEY_BYTES = 16 * 1024
_KINDS = ("ssh-rsa", "ssh-ed25519", "ecdsa-sha2-", "sk-ssh-ed25519", "sk-ecdsa-sha2-")


class KeypairNotFound(NotFound):
    """Keypair {name} not found for user {user_id}"""


class KeypairExists(Conflict):
    """Key pair '{name}' already exists."""


class TooManyKeypairs(OverQuota):
    """Quota exceeded, too many key pairs."""


class InvalidPublicKey(Invalid):
    """Keypair data is invalid: {reason}"""


class Keypair(Struct, frozen=True, kw_only=True):
    number: int
    user_id: UserId
    name: str
    type: str
    fingerprint: str
    """MD5 of the key, as 16 pairs of hexadecimal digits with colons between them."""
    public_key: str
    """As it was sent: clients compare it with their file."""
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


def import_keypair(tx: Tx, context: Context, user_id: UserId, name: str, public_key: str) -> Keypair:
    """Keep a public key for a user. Raises `InvalidPublicKey`, `TooManyKeypairs` or `KeypairExists`."""
    return _add(tx, context, user_id, name, public_key, fingerprint_of(public_key))


def generate_keypair(tx: Tx, context: Context, user_id: UserId, name: str) -> tuple[Keypair, str]:
    """Make a key pair, an Ed25519 one; the private key (OpenSSH's format) is returned and kept nowhere. Raises
    `TooManyKeypairs` or `KeypairExists`."""
    # Few clouds ever make a key, and the library costs more memory than all of this package.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    text = f"{public} Generated-by-polyport"
    return _add(tx, context, user_id, name, text, fingerprint_of(text)), private


def delete_keypair(tx: Tx, user_id: UserId, name: str) -> None:
    """Raises `KeypairNotFound`. Servers keep the key they were given."""
    gone = tx.execute(sa.delete(keypairs).where(keypairs.c.user_id == user_id, keypairs.c.name == name))
    if gone.rowcount == 0:
        raise KeypairNotFound(name=name, user_id=user_id)


def fingerprint_of(public_key: str) -> str:
    """The fingerprint of an OpenSSH public key (RSA, ECDSA, Ed25519, also on a security key). Raises
    `InvalidPublicKey`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    text = public_key.strip()
    if len(public_key) > MOST_KEY_BYTES:
        raise InvalidPublicKey(reason=f"it is longer than {MOST_KEY_BYTES} bytes")
    if not text.isprintable():
        raise InvalidPublicKey(reason="it is not one printable line")
    if not text.startswith(_KINDS):
        raise InvalidPublicKey(reason=f"it is none of {', '.join(_KINDS)}")
    try:
        load_ssh_public_key(text.encode())
        blob = base64.b64decode(text.split()[1], validate=True)
    except (ValueError, NotImplementedError, UnsupportedAlgorithm, IndexError) as error:
        raise InvalidPublicKey(reason="failed to generate fingerprint") from error
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


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


def _add(tx: Tx, context: Context, user_id: UserId, name: str, public_key: str, fingerprint: str) -> Keypair:
    # Counted, not charged: the limit is the project's, but key pairs belong to users and stay when projects change.
    most = quotas.limits_of(tx, context.project_id).get("key_pairs", quotas.UNLIMITED)
    had = tx.value(sa.select(sa.func.count()).where(keypairs.c.user_id == user_id))
    if most != quotas.UNLIMITED and had >= most:
        raise TooManyKeypairs(most=most, used=had)
    row = {
        "user_id": user_id,
        "name": name,
        "type": "ssh",
        "fingerprint": fingerprint,
        "public_key": public_key,
        "created_at": now(),
    }
    try:
        tx.execute(sa.insert(keypairs), row)
    except IntegrityError as error:
        raise KeypairExists(name=name) from error
    return get_keypair(tx, user_id, name)


_BY_NAME = sa.select(keypairs).where(
    keypairs.c.user_id == sa.bindparam("user"), keypairs.c.name == sa.bindparam("called")
)
