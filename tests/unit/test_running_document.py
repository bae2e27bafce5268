"""docs/running.md says every key of the configuration with its default, and none that is not there."""

import re
from pathlib import Path
from typing import Any

import msgspec

from polyport.config import Config

DOCUMENT = Path(__file__).parents[2] / "docs" / "running.md"
SAID_IN_WORDS = {"database", "admin_password", "public_url"}
"""Keys whose default is something that polyport makes or finds."""


def keys_told() -> dict[str, str | None]:
    """`section.key` -> default as written; None where it is said in words."""
    told: dict[str, str | None] = {}
    section = ""
    for line in DOCUMENT.read_text().split("## Configuration")[1].splitlines():
        if named := re.match(r"\| \*\*`\[(\w+)\]`\*\*", line):
            section = named[1] + "."
        elif line.startswith("| `"):
            names, defaults = (re.findall(r"`([^`]*)`", cell) for cell in line.split("|")[1:3])
            for at, name in enumerate(names):
                told[section + name] = None if name in SAID_IN_WORDS else defaults[at]
    return told


def keys_known() -> dict[str, str | None]:
    known: dict[str, str | None] = {}
    defaults: dict[str, Any] = msgspec.to_builtins(Config(), enc_hook=str)
    for name, value in defaults.items():
        for key, default in value.items() if isinstance(value, dict) else [("", value)]:
            written = None if (key or name) in SAID_IN_WORDS else msgspec.json.encode(default).decode()
            known[f"{name}.{key}".rstrip(".")] = written
    return known


def test_the_document_and_the_configuration_say_the_same() -> None:
    assert keys_told() == keys_known()
