"""Rules of the repository, checked: what nobody remembers to look at."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked(*patterns: str) -> list[Path]:
    """Files git knows, or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


SOURCES = tracked("*.py")
TEXTS = [path for path in tracked() if path.suffix in {".py", ".md", ".toml", ".sh", ".lock", ".txt", ""}]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_one_room(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_junk_rooms(path: Path) -> None:
    assert not re.search(r"(^|_)(manager|utils?|helpers?|common|base|misc)($|_)", path.stem)


@pytest.mark.parametrize("path", [path for path in SOURCES if "polyport" in path.parts], ids=lambda path: path.name)
def test_a_module_says_what_it_is(path: Path) -> None:
    first = path.read_text().lstrip()
    assert not first or first.startswith(('"""', "#!")), "a module begins with its docstring"


def test_no_absolute_path_of_a_machine_and_no_registry_host() -> None:
    # Written in pieces, so that this file does not find itself.
    paths = "|".join(("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/"))
    hosts = "|".join(("pypi" + "[.]org", "pythonhosted" + "[.]org", "deb[.]deb" + "ian[.]org"))
    forbidden = re.compile(rf"(?<![\w.])(?:{paths})|{hosts}")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in TEXTS
        for match in forbidden.finditer(path.read_text(errors="replace"))
    ]
    assert not found


def test_nothing_is_left_for_later() -> None:
    words = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")))
    found = [str(path.relative_to(ROOT)) for path in SOURCES if words.search(path.read_text())]
    assert not found


def test_links_in_the_documents_lead_somewhere() -> None:
    broken = []
    for path in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)} -> {target}")
    assert not broken


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert versions[0] == "Unreleased"
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_decisions_have_their_three_parts() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text()
        for part in ("**Context.**", "**Decision.**", "**What it costs.**"):
            assert part in text, f"{page.name} has no {part}"
