"""Changes of an image as a JSON patch (RFC 6902 in Glance's two dialects), worked out on plain values.

Media types: `application/openstack-images-v2.1-json-patch` with `{"op", "path", "value"}`, and `...-v2.0-...` with
`{"<op>": "<path>", "value"}`.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from polyport.api.image.fields import Attributes, attributes_of, change_of, check_property, properties_of
from polyport.errors import Conflict, Forbidden, Invalid
from polyport.image.images import Image, ImageChange
from polyport.web.bodies import MalformedBody, check_depth

_TYPES = {
    "application/openstack-images-v2.1-json-patch": 1,
    "application/openstack-images-v2.0-json-patch": 0,
}
_MOST_CHANGES = 1000
_OPERATIONS = ("add", "replace", "remove")


class NotAPatch(Invalid):
    """The Content-Type must be application/openstack-images-v2.1-json-patch or -v2.0-json-patch."""


class InvalidPatch(Invalid):
    """Invalid change number {number}: {reason}"""


class NoSuchProperty(Conflict):
    """Property {name} does not exist."""


class NotRemovable(Forbidden):
    """Property {name} may not be removed."""


class Change(Struct, frozen=True):
    operation: Literal["add", "replace", "remove"]
    name: str
    value: Any = None


def read_patch(body: bytes, content_type: str) -> list[Change]:
    """The changes in a body. Raises `NotAPatch`, `MalformedBody`, `InvalidPatch`."""
    minor = _TYPES.get(content_type.split(";")[0].strip().lower())
    if minor is None:
        raise NotAPatch
    try:
        entries = msgspec.json.decode(body, type=list[dict[str, Any]])
    except msgspec.ValidationError as error:
        raise InvalidPatch(number=1, reason="the body must be an array of objects.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody from error
    check_depth(entries)
    if len(entries) > _MOST_CHANGES:
        raise InvalidPatch(number=_MOST_CHANGES + 1, reason="these are too many.")
    return [_read(entry, number, minor) for number, entry in enumerate(entries, 1)]


def apply(image: Image, changes: list[Change]) -> ImageChange:
    """What the changes, one after another, make of an image. Raises errors that name the attribute."""
    attributes: dict[str, Any] = {}
    properties: dict[str, Any] = dict(image.properties)
    for change in changes:
        if change.name == "id":
            check_property("self")
        if change.name in Attributes.__struct_fields__:
            if change.operation == "remove":
                raise NotRemovable(name=change.name)
            attributes[change.name] = change.value
            continue
        check_property(change.name)
        if change.operation != "add" and change.name not in properties:
            raise NoSuchProperty(name=change.name)
        if change.operation == "remove":
            del properties[change.name]
        else:
            properties[change.name] = change.value
    return change_of(attributes_of(attributes), properties_of(properties))


def _read(entry: dict[str, Any], number: int, minor: int) -> Change:
    if minor == 1:
        operation, path = entry.get("op"), entry.get("path")
    else:
        named = [name for name in _OPERATIONS if name in entry]
        if len(named) != 1:
            raise InvalidPatch(number=number, reason="it names none or several of add, replace, remove.")
        operation, path = named[0], entry[named[0]]
    if operation not in _OPERATIONS:
        raise InvalidPatch(number=number, reason="its operation is none of add, replace, remove.")
    if operation != "remove" and "value" not in entry:
        raise InvalidPatch(number=number, reason="it has no value.")
    return Change(operation, _name_of(path, number), entry.get("value"))


def _name_of(path: object, number: int) -> str:
    """`/a~1b` -> `a/b`: a pointer (RFC 6901) of one step."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidPatch(number=number, reason="its path does not begin with '/'.")
    steps = path[1:].split("/")
    if len(steps) != 1 or not steps[0]:
        raise InvalidPatch(number=number, reason="its path must have exactly one step.")
    if "~" in steps[0].replace("~0", "").replace("~1", ""):
        raise InvalidPatch(number=number, reason="its path has '~' without 0 or 1 behind it.")
    return steps[0].replace("~1", "/").replace("~0", "~")
