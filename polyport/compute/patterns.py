"""Regular expressions in filters, matched in bounded time.

Clients may filter servers by regular expressions on names and addresses, as databases of OpenStack match them: anywhere
in the text, without regard to case. What a client sends must not be able to hold up the service, so the expressions
are followed as sets of positions, never by trying and going back. A set is the bits of one number: a character of a
text costs a few operations, however many positions are in it. Known: `.` `[...]` `*` `+` `?` `^` `$` `|`, `\\` before
any of them, `\\d` `\\w` `\\s`; no groups.
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


class _Branch(Struct, frozen=True):
    """One expression between bars: a step takes one character, and is the bit of its place in `optional`, `repeats` and
    what `taking` answers."""

    steps: tuple[Callable[[str], bool], ...]
    optional: int
    repeats: int
    from_start: bool
    to_end: bool
    known: dict[str, int]

    def taking(self, char: str) -> int:
        """The steps that take a character."""
        if char not in self.known:
            self.known[char] = sum(1 << at for at, takes in enumerate(self.steps) if takes(char))
        return self.known[char]


def matcher(text: str, *, from_start: bool = False) -> Matcher:
    """Whether a text matches an expression; `from_start`: from its first character on, as if each branch began with
    `^`. Raises `PatternInvalid`."""
    if len(text) > MOST_LENGTH:
        raise PatternInvalid(text=text[:50], reason=f"it is longer than {MOST_LENGTH} characters.")
    branches = [_branch(part, text, from_start) for part in _split(text)]
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


def _branch(part: str, whole: str, from_start: bool) -> _Branch:
    begins = part.startswith("^")
    at = 1 if begins else 0
    steps: list[Callable[[str], bool]] = []
    optional = repeats = 0
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
            optional |= (quantifier in "*?") << len(steps)
            repeats |= (quantifier in "*+") << len(steps)
        steps.append(takes)
    return _Branch(tuple(steps), optional, repeats, begins or from_start, to_end, {})


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
    end = 1 << len(branch.steps)
    again = 0 if branch.from_start else 1
    positions = _closed(1, branch.optional)
    for char in text:
        if positions & end and not branch.to_end:
            return True
        taken = positions & branch.taking(char)
        positions = _closed(taken << 1 | taken & branch.repeats | again, branch.optional)
    return positions & end != 0


def _closed(positions: int, optional: int) -> int:
    """The positions with those that can be reached by leaving out what is optional: adding a position to the run of
    optional steps it is in carries it to the run's end, and what the sum differs in was passed by the way."""
    return positions | (optional + (positions & optional)) ^ optional
