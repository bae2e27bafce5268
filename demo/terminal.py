"""What the demonstration shows while it runs: steps, proofs and tables."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_BEGAN = time.monotonic()


class ProofFailed(Exception):
    """Something that was promised did not hold."""


def say(text: str = "") -> None:
    print(text, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """One step: its name, a sign of life while it takes time, and how long it took."""
    begin = time.monotonic()
    over = threading.Event()
    shown = f"{begin - _BEGAN:6.1f} s  {text}"
    print(shown, end="", flush=True)

    def live() -> None:
        while not over.wait(1.0):
            print(".", end="", flush=True)

    thread = threading.Thread(target=live, daemon=True)
    if sys.stdout.isatty():
        thread.start()
    try:
        yield
    except BaseException:
        print("  FAILED", flush=True)
        raise
    finally:
        over.set()
    print(f"  ({time.monotonic() - begin:.1f} s)", flush=True)


def prove(holds: bool, text: str) -> None:
    """Say a proof; raise `ProofFailed` where it does not hold."""
    say(f"          {'proven' if holds else 'FAILED'}: {text}")
    if not holds:
        raise ProofFailed(text)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [[str(head) for head in heads], *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    for number, row in enumerate(cells):
        say("          " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            say("          " + "  ".join("-" * width for width in widths))
