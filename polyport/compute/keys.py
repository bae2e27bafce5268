"""Keys themselves: fingerprints of those that clients bring, and making new ones. No rows are touched; it is slow
enough to be called in a thread of its own.

The library is imported where it is used: many clouds never see a key, and it is larger than all of this package.
"""

import base64
import datetime
import hashlib
from typing import Literal, TypeAlias

from msgspec import Struct

from polyport.errors import Invalid

Kind: TypeAlias = Literal["ssh", "x509"]

MOST_KEY_BYTES = 16 * 1024
_SSH = ("ssh-rsa", "ssh-ed25519", "ecdsa-sha2-", "sk-ssh-ed25519", "sk-ecdsa-sha2-")
_UPN = "1.3.6.1.4.1.311.20.2.3"
"""The name Windows knows a user by who logs in with a certificate."""
_YEARS = 10


class InvalidPublicKey(Invalid):
    """Keypair data is invalid: {reason}"""


class PublicKey(Struct, frozen=True, kw_only=True):
    kind: Kind
    text: str
    """As it was sent: clients compare it with their file."""
    fingerprint: str
    """Pairs of hexadecimal digits with colons between them: MD5 of an SSH key, SHA-1 of a certificate."""


def public_key(text: str, kind: Kind = "ssh") -> PublicKey:
    """A key a client brings: OpenSSH's format, or a certificate in PEM. Raises `InvalidPublicKey`."""
    if len(text) > MOST_KEY_BYTES:
        raise InvalidPublicKey(reason=f"it is longer than {MOST_KEY_BYTES} bytes")
    fingerprint = _ssh_fingerprint(text.strip()) if kind == "ssh" else _certificate_fingerprint(text)
    return PublicKey(kind=kind, text=text, fingerprint=fingerprint)


def generate_ssh() -> tuple[PublicKey, str]:
    """A new Ed25519 key, and its private half in OpenSSH's format."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public_key(f"{public.decode()} Generated-by-polyport"), private.decode()


def generate_x509(user: str) -> tuple[PublicKey, str]:
    """A new certificate (RSA, 2048 bits, signed by itself) with which `user` logs in, and its private key in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user)])
    start = datetime.datetime.now(datetime.UTC)
    upn = x509.OtherName(x509.ObjectIdentifier(_UPN), _utf8_string(f"{user}@localhost"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([upn]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return public_key(certificate.public_bytes(serialization.Encoding.PEM).decode(), "x509"), private.decode()


def _ssh_fingerprint(text: str) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    if not text.isprintable():
        raise InvalidPublicKey(reason="it is not one printable line")
    if not text.startswith(_SSH):
        raise InvalidPublicKey(reason=f"it is none of {', '.join(_SSH)}")
    try:
        load_ssh_public_key(text.encode())
        blob = base64.b64decode(text.split()[1], validate=True)
    except (ValueError, RuntimeError, UnsupportedAlgorithm, IndexError) as error:
        # RuntimeError is the kind of what the library raises for points on a curve that it cannot read.
        raise InvalidPublicKey(reason="failed to generate fingerprint") from error
    return _pairs(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def _certificate_fingerprint(text: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        der = x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER)
    except (ValueError, x509.InvalidVersion) as error:
        raise InvalidPublicKey(reason="failed to generate X509 fingerprint") from error
    return _pairs(hashlib.sha1(der, usedforsecurity=False).hexdigest())


def _pairs(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _utf8_string(text: str) -> bytes:
    """In DER."""
    value = text.encode()
    size = len(value)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return b"\x0c" + length + value
