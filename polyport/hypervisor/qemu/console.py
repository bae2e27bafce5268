"""Logs a guest can fill: QEMU appends to them, a guest may write as much as it likes, and the host must live
with it.

A log is cut in place: QEMU holds it open for appending, so its next byte lands at the new end. What is
written between the copy and the cut is lost; what comes after it is there.
"""

from pathlib import Path

LOG = "console.log"
"""What the guest wrote to its console, through all its starts."""
MOST_BYTES = 4 << 20
KEPT_BYTES = 1 << 20


def tail(path: Path, most: int) -> bytes:
    """The last `most` bytes of a file; nothing where there is no such file."""
    try:
        with path.open("rb") as log:
            end = log.seek(0, 2)
            log.seek(max(0, end - most))
            return log.read(most)
    except FileNotFoundError:
        return b""


def trim(path: Path) -> None:
    """Cut a log that has grown over `MOST_BYTES` down to its last `KEPT_BYTES`."""
    try:
        if path.stat().st_size <= MOST_BYTES:
            return
        kept = tail(path, KEPT_BYTES)
        with path.open("r+b") as log:
            log.write(kept)
            log.truncate()
    except FileNotFoundError:
        return
