"""API microversions: a version is a pair of numbers, and a feature's name stands for a window of versions."""

import re
from typing import NamedTuple

from msgspec import Struct

from polyport.errors import Invalid, NotAcceptable


class Version(NamedTuple):
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class MalformedVersion(Invalid):
    """API Version String '{text}' is of invalid format. It must be of format MajorNum.MinorNum."""


class UnsupportedVersion(NotAcceptable):
    """Version {version} is not supported by the API. Minimum is {lowest} and maximum is {highest}."""


class Window(Struct, frozen=True):
    """The versions in which a feature is there: one or more closed ranges; an open end is None."""

    ranges: tuple[tuple[Version, Version | None], ...]

    def __contains__(self, version: Version) -> bool:
        return any(first <= version and (last is None or version <= last) for first, last in self.ranges)


def version_of(text: str) -> Version:
    """`"2.42"` -> Version(2, 42). Raises `MalformedVersion`."""
    if not re.fullmatch(r"[1-9][0-9]{0,3}\.(0|[1-9][0-9]{0,3})", text):
        raise MalformedVersion(text=text[:40])
    major, minor = text.split(".")
    return Version(int(major), int(minor))


def since(first: str, last: str | None = None) -> Window:
    """The window from `first` up to and with `last`; without `last` it stays open."""
    return Window(((version_of(first), version_of(last) if last else None),))


def either(*windows: Window) -> Window:
    """The union of windows, for a feature that came, went and came back."""
    return Window(tuple(pair for window in windows for pair in window.ranges))


def negotiate(wanted: str | None, lowest: Version, highest: Version) -> Version:
    """The version a request is served at: the lowest where it names none, ours for `latest`.

    Raises `MalformedVersion`, or `UnsupportedVersion` for one outside of what is served.
    """
    if wanted is None:
        return lowest
    if wanted == "latest":
        return highest
    version = version_of(wanted)
    if not lowest <= version <= highest:
        raise UnsupportedVersion(version=version, lowest=lowest, highest=highest)
    return version
