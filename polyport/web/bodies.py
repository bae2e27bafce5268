"""Request bodies: strict types, and errors that name the field.

A body is a `msgspec.Struct` with `forbid_unknown_fields`. A field that exists only in some microversions is annotated
`Annotated[str | UnsetType, only(NIC_TAG)] = UNSET`: outside of its window it is refused as any unknown field is.
"""

import functools
import re
from typing import Any, TypeVar, get_type_hints

import msgspec

from polyport.errors import Invalid
from polyport.web.microversions import Version, Window

T = TypeVar("T")

_PATH = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_DEEPEST = 16
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class MalformedBody(Invalid):
    """Malformed request body"""


class TooDeep(MalformedBody):
    """Malformed request body: it is nested too deeply"""


class InvalidField(Invalid):
    """Invalid input for field/attribute {field}. Value: {value}. {reason}"""


class UnexpectedField(Invalid):
    """Invalid input for field/attribute {field}. Additional properties are not allowed ('{name}' was unexpected)"""


def only(window: Window) -> Any:
    """Marks a field as existing in the microversions of `window` only."""
    return msgspec.Meta(extra={"window": window})


def decode(body: bytes, shape: type[T], version: Version | None = None) -> T:
    """The body as `shape`. Raises `MalformedBody`, `InvalidField` or `UnexpectedField`."""
    try:
        value = msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise _field_error(body, error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody from error
    if version is not None:
        _check_windows(value, version, "")
    return value


def decode_any(body: bytes) -> dict[str, Any]:
    """A JSON object of free shape, for the services that let clients add attributes. Raises `MalformedBody`."""
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody from error
    check_depth(document)
    return document


def check_depth(value: Any) -> None:
    """Refuse JSON of free shape that could be decoded, if only just: to convert, to store or to show it takes some more
    of the stack, and what was stored must be readable from wherever it is shown. Raises `TooDeep`."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise TooDeep


def convert(value: Any, shape: type[T], field: str = "", version: Version | None = None, *, strict: bool = True) -> T:
    """A decoded JSON value as `shape`. Raises `InvalidField` naming the field below `field`. Where it need not be
    `strict`, numbers and booleans may come as text, which is what some services take from their clients."""
    try:
        found = msgspec.convert(value, type=shape, strict=strict)
    except msgspec.ValidationError as error:
        raise _explain(value, error, field) from error
    if version is not None:
        _check_windows(found, version, "")
    return found


def _field_error(body: bytes, error: msgspec.ValidationError) -> Invalid:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return MalformedBody()
    check_depth(value)
    return _explain(value, error, "")


def _explain(value: Any, error: msgspec.ValidationError, prefix: str) -> Invalid:
    text = str(error)
    found = _PATH.search(text)
    path = found.group(1) if found else ""
    reason = text[: found.start()] if found else text
    unknown = re.search(r"unknown field `([^`]*)`", reason)
    names: list[str] = [prefix] if prefix else []
    for name, index in _STEP.findall(path):
        try:
            if name:
                value = value[name] if isinstance(value, dict) else None
                names.append(name)
            else:
                names.append(index)
                value = value[int(index)] if isinstance(value, list) and index != "..." else value
        except (KeyError, IndexError):
            value = None
    field = _name_of(names)
    if unknown:
        return UnexpectedField(field=field, name=unknown.group(1)[:100])
    return InvalidField(field=field, value=str(value)[:200], reason=reason)


def _name_of(names: list[str]) -> str:
    """`["server", "networks", "3", "uuid"]` -> `networks[3].uuid`: the envelope is left out, as clients expect."""
    if len(names) > 1:
        names = names[1:]
    text = ""
    for name in names:
        text += f"[{name}]" if name.isdigit() or name == "..." else f".{name}" if text else name
    return text or "body"


@functools.cache
def _windows(shape: type) -> tuple[tuple[str, str, Window], ...]:
    hints = get_type_hints(shape, include_extras=True)
    renamed = dict(zip(shape.__struct_fields__, shape.__struct_encode_fields__, strict=True))  # type: ignore[attr-defined]
    found = []
    for name in shape.__struct_fields__:  # type: ignore[attr-defined]
        for meta in getattr(hints[name], "__metadata__", ()):
            window = (getattr(meta, "extra", None) or {}).get("window")
            if window is not None:
                found.append((name, renamed[name], window))
    return tuple(found)


_NESTED = (msgspec.Struct, list)


def _check_windows(value: Any, version: Version, field: str) -> None:
    if isinstance(value, msgspec.Struct):
        for name, encoded, window in _windows(type(value)):
            if getattr(value, name) is not msgspec.UNSET and version not in window:
                raise UnexpectedField(field=field or "body", name=encoded)
        for name, encoded in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            inner = getattr(value, name)
            if isinstance(inner, _NESTED):
                _check_windows(inner, version, f"{field}.{encoded}" if field else encoded)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if not isinstance(inner, msgspec.Struct):
                return
            _check_windows(inner, version, f"{field}[{index}]")
