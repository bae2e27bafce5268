"""Regular expressions in filters, matched in bounded time.

Clients may filter servers by regular expressions on names and addresses, as databases of OpenStack match them: anywhere
in the text, without regard to case. What a client sends must not be able to hold up the service, so the expressions
are followed as sets of positions, never by trying and going back: the time is the length of the text times that of
the expression, at most. Known: `.` `[...]` `*` `+` `?` `^` `$` `|`, `\\` before any of them, `\\d` `\\w` `\\s`; no
groups.
"""

from collections.abc import Callable

from msgspec import Struct

from polyport.errors import Invalid

MOST_LENGTH = 255

Matcher = Callable[[str], bool]

_CLASSES: dict[str, Callable[[str], bool]] = {
    "d": str.isdigit,
    "w": lambda char: char.isalnum() or char == "_",
    "s": str.isspace,
}


class PatternInvalid(Invalid):
    """Invalid regular expression '{text}': {reason}"""


class _Item(Struct, frozen=True):
    """One step of an expression: which characters it takes, and how often."""

    takes: Callable[[str], bool]
    optional: bool
    repeats: bool


class _Branch(Struct, frozen=True):
    items: tuple[_Item, ...]
    from_start: bool
    to_end: bool


def matcher(text: str) -> Matcher:
    """Whether a text matches an expression. Raises `PatternInvalid`."""
    if len(text) > MOST_LENGTH:
        raise PatternInvalid(text=text[:50], reason=f"it is longer than {MOST_LENGTH} characters.")
    branches = [_branch(part, text) for part in _split(text)]
    return lambda candidate: any(_matches(branch, candidate.lower()) for branch in branches)


def is_plain(text: str) -> bool:
    """Whether an expression is nothing but the text to look for."""
    return not any(char in text for char in ".[]*+?^$|\\(){}")


def _split(text: str) -> list[str]:
    parts, start, at, in_class = [], 0, 0, False
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
        elif char == "[":
            in_class = True
        elif char == "]":
            in_class = False
        elif char == "|" and not in_class:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def _branch(part: str, whole: str) -> _Branch:
    from_start = part.startswith("^")
    at = 1 if from_start else 0
    items: list[_Item] = []
    to_end = False
    while at < len(part):
        char = part[at]
        if char == "$" and at == len(part) - 1:
            to_end = True
            break
        if char in "(){}*+?":
            raise PatternInvalid(text=whole, reason=f"'{char}' is not supported here.")
        takes, at = _step(part, at, whole)
        quantifier = part[at] if at < len(part) else ""
        if quantifier and quantifier in "*+?":
            at += 1
            items.append(_Item(takes, quantifier in "*?", quantifier in "*+"))
        else:
            items.append(_Item(takes, False, False))
    return _Branch(tuple(items), from_start, to_end)


def _step(part: str, at: int, whole: str) -> tuple[Callable[[str], bool], int]:
    """What one step takes, and where the next begins."""
    char = part[at]
    if char == ".":
        return (lambda _: True), at + 1
    if char == "[":
        return _set(part, at + 1, whole)
    if char == "\\":
        if at + 1 == len(part):
            raise PatternInvalid(text=whole, reason="it ends with a backslash.")
        escaped = part[at + 1]
        if escaped in _CLASSES:
            return _CLASSES[escaped], at + 2
        return _is(escaped.lower()), at + 2
    return _is(char.lower()), at + 1


def _set(part: str, at: int, whole: str) -> tuple[Callable[[str], bool], int]:
    """A set of characters, from behind its opening bracket."""
    end = part.find("]", at + 1 if part[at : at + 1] != "^" else at + 2)
    if end < 0:
        raise PatternInvalid(text=whole, reason="a '[' has no ']'.")
    body = part[at:end].lower()
    inverted = body.startswith("^")
    body = body[1:] if inverted else body
    ranges: list[tuple[str, str]] = []
    index = 0
    while index < len(body):
        if index + 2 < len(body) and body[index + 1] == "-":
            ranges.append((body[index], body[index + 2]))
            index += 3
        else:
            ranges.append((body[index], body[index]))
            index += 1

    def takes(char: str) -> bool:
        return any(first <= char <= last for first, last in ranges) != inverted

    return takes, end + 1


def _is(wanted: str) -> Callable[[str], bool]:
    return lambda char: char == wanted


def _matches(branch: _Branch, text: str) -> bool:
    items, last = branch.items, len(branch.items)
    positions = _closed({0}, items)
    for char in text:
        if last in positions and not branch.to_end:
            return True
        reached: set[int] = set()
        for at in positions:
            if at < last and items[at].takes(char):
                reached.add(at + 1)
                if items[at].repeats:
                    reached.add(at)
        if not branch.from_start:
            reached.add(0)
        positions = _closed(reached, items)
    return last in positions


def _closed(positions: set[int], items: tuple[_Item, ...]) -> set[int]:
    """The positions with those that can be reached by leaving out what is optional."""
    found: set[int] = set()
    for at in positions:
        while at not in found:
            found.add(at)
            if at < len(items) and items[at].optional:
                at += 1
    return found
