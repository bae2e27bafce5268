"""A guest writes what it likes; the host keeps the end of it."""

import os
from pathlib import Path

from polyport.hypervisor.qemu import console


def test_the_tail_is_the_end(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"first\nlast\n")
    assert console.tail(log, 5) == b"last\n"
    assert console.tail(log, 1000) == b"first\nlast\n"
    assert console.tail(log, 0) == b""


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert console.tail(tmp_path / "console.log", 10) == b""
    console.trim(tmp_path / "console.log")
    assert not (tmp_path / "console.log").exists()


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"x" * console.MOST_BYTES)
    console.trim(log)
    assert log.stat().st_size == console.MOST_BYTES


def test_a_large_log_is_cut_under_the_pen_of_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    writer = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(writer, b"a" * console.MOST_BYTES)
        os.write(writer, b"last words\n")
        console.trim(log)
        assert log.stat().st_size == console.KEPT_BYTES
        os.write(writer, b"and more\n")
    finally:
        os.close(writer)
    assert log.stat().st_size == console.KEPT_BYTES + len(b"and more\n")
    assert console.tail(log, 20) == b"last words\nand more\n"
