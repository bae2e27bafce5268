"""The field types of the network service, and what its bodies have around them."""

from typing import Annotated, Any, TypeVar

from msgspec import Meta

from polyport.errors import Invalid, PreconditionFailed
from polyport.ids import ProjectId
from polyport.web import bodies
from polyport.web.calls import Call

T = TypeVar("T")

MOST_BULK = 1000
"""Things one request may make."""

_NO_NUL = r"^[^\x00]*\Z"
_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z"

Text = Annotated[str, Meta(max_length=255, pattern=_NO_NUL)]
Uuid = Annotated[str, Meta(pattern=_UUID)]
Project = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NO_NUL)]
Address = Annotated[str, Meta(max_length=64, pattern=_NO_NUL)]


class NoSuchBody(Invalid):
    """Unable to find '{noun}' in request body."""


class TooMany(Invalid):
    """At most {most} {plural} can be made in one request."""


class TwoProjects(Invalid):
    """'project_id' and 'tenant_id' do not match."""


class InvalidRevisionMatch(Invalid):
    """Bad input: the header If-Match must be 'revision_number=' and a number."""


class RevisionNumberConstraintFailed(PreconditionFailed):
    """Constrained to {wanted}, but current revision is {current}."""


def one_of(call: Call, noun: str, shape: type[T]) -> T:
    """What a body holds inside of its envelope: `{"port": {...}}`. Raises errors that name the field.

    As in Neutron numbers and booleans may come as text: OpenStack's own command line sends them so.
    """
    document = bodies.decode_any(call.body)
    if noun not in document:
        raise NoSuchBody(noun=noun)
    _refuse_others(document, noun)
    return bodies.convert(document[noun], shape, noun, strict=False)


def one_or_many(call: Call, noun: str, plural: str, shape: type[T]) -> tuple[list[T], bool]:
    """What a body holds, be it one thing or a list of them, and whether it was a list."""
    document = bodies.decode_any(call.body)
    if plural not in document:
        if noun not in document:
            raise NoSuchBody(noun=noun)
        _refuse_others(document, noun)
        return [bodies.convert(document[noun], shape, noun, strict=False)], False
    _refuse_others(document, plural)
    entries = document[plural]
    if not isinstance(entries, list) or not entries:
        raise bodies.InvalidField(field=plural, value=str(entries)[:100], reason="it is not a list of entries")
    if len(entries) > MOST_BULK:
        raise TooMany(most=MOST_BULK, plural=plural)
    # Each entry may have an envelope of its own, as Neutron takes it too.
    bare = [entry[noun] if isinstance(entry, dict) and entry.keys() == {noun} else entry for entry in entries]
    return bodies.convert(bare, list[shape], plural, strict=False), True  # type: ignore[valid-type]


def wrapped(views: list[dict[str, Any]], noun: str, plural: str, many: bool) -> dict[str, Any]:
    return {plural: views} if many else {noun: views[0]}


def project_of(project_id: str | None, tenant_id: str | None) -> ProjectId | None:
    """Whose a thing shall be: one field under its new and its old name."""
    if project_id is not None and tenant_id is not None and project_id != tenant_id:
        raise TwoProjects
    found = project_id if project_id is not None else tenant_id
    return None if found is None else ProjectId(found)


def check_match(call: Call, current: int) -> None:
    """`If-Match: revision_number=N` against the revision there is. Raises `RevisionNumberConstraintFailed`."""
    wanted = call.headers.get("if-match")
    if wanted is None:
        return
    name, _, number = wanted.strip().strip('"').partition("=")
    if name != "revision_number" or not (number.isascii() and number.isdigit()) or len(number) > 10:
        raise InvalidRevisionMatch
    if int(number) != current:
        raise RevisionNumberConstraintFailed(wanted=int(number), current=current)


def time_view(stored: str) -> str:
    """`2026-11-22T18:00:00Z`"""
    return stored[:19] + "Z"


def _refuse_others(document: dict[str, Any], name: str) -> None:
    for other in document:
        if other != name:
            raise bodies.UnexpectedField(field="body", name=other[:100])
