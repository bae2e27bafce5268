"""The parser of image headers trusts no byte."""

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.image.formats import DISK_FORMATS, HEAD_BYTES, TAIL_BYTES, Found, UnusableData, inspect


def inspect_file(disk_format: str, data: bytes) -> Found:
    return inspect(disk_format, data[:HEAD_BYTES], data[-TAIL_BYTES:], len(data))


@given(
    st.sampled_from(DISK_FORMATS),
    st.sampled_from((b"", b"QFI\xfb\0\0\0\2", b"QFI\xfb\0\0\0\3")),
    st.binary(max_size=300),
)
def test_whatever_comes_is_known_or_refused(disk_format: str, start: bytes, rest: bytes) -> None:
    data = start + rest
    with contextlib.suppress(UnusableData):
        found = inspect_file(disk_format, data)
        assert found.file_format == ("qcow2" if data.startswith(b"QFI\xfb") else "raw")
        assert found.virtual_size >= 0


def test_nothing_is_a_raw_image_of_no_bytes() -> None:
    assert inspect_file("raw", b"") == Found("raw", 0)


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
class TestImagesOfQemu:
    """What QEMU itself makes."""

    def make(self, path: Path, *arguments: str) -> bytes:
        subprocess.run(["qemu-img", "create", "-q", *arguments], check=True, cwd=path.parent)
        return path.read_bytes()

    @pytest.mark.parametrize(
        "options",
        [
            "compat=1.1",
            "compat=0.10",
            "cluster_size=512",
            "cluster_size=2M",
            "extended_l2=on",
            "compression_type=zstd",
            "lazy_refcounts=on",
        ],
    )
    def test_plain(self, tmp_path: Path, options: str) -> None:
        data = self.make(tmp_path / "a", "-f", "qcow2", "-o", options, "a", "77M")
        assert inspect_file("qcow2", data) == Found("qcow2", 77 << 20)
        with pytest.raises(UnusableData, match="qcow2"):
            inspect_file("raw", data)

    def test_with_a_backing_file(self, tmp_path: Path) -> None:
        self.make(tmp_path / "base", "-f", "raw", "base", "1M")
        for options in ("compat=1.1", "compat=0.10"):
            data = self.make(tmp_path / "a", "-f", "qcow2", "-o", options, "-b", "base", "-F", "raw", "a")
            with pytest.raises(UnusableData, match="backing"):
                inspect_file("qcow2", data)

    def test_with_a_data_file(self, tmp_path: Path) -> None:
        data = self.make(tmp_path / "a", "-f", "qcow2", "-o", "data_file=b,data_file_raw=on", "a", "1M")
        with pytest.raises(UnusableData, match="external"):
            inspect_file("qcow2", data)

    def test_encrypted(self, tmp_path: Path) -> None:
        options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
        data = self.make(tmp_path / "a", "--object", "secret,id=s,data=x", "-f", "qcow2", "-o", options, "a", "1M")
        with pytest.raises(UnusableData, match="encrypted"):
            inspect_file("qcow2", data)

    @pytest.mark.parametrize("other", ["vmdk", "vpc", "vhdx", "vdi", "qed", "parallels", "luks"])
    def test_other_formats_are_not_taken_for_raw(self, tmp_path: Path, other: str) -> None:
        secret = ["--object", "secret,id=s,data=x", "-o", "key-secret=s,iter-time=10"] if other == "luks" else []
        data = self.make(tmp_path / "a", *secret, "-f", other, "a", "4M")
        with pytest.raises(UnusableData):
            inspect_file("raw", data)
        with pytest.raises(UnusableData):
            inspect_file("qcow2", data)

    @pytest.mark.parametrize("subformat", ["monolithicSparse", "monolithicFlat", "streamOptimized"])
    def test_vmdk_in_its_kinds(self, tmp_path: Path, subformat: str) -> None:
        data = self.make(tmp_path / "a", "-f", "vmdk", "-o", f"subformat={subformat}", "a", "4M")
        with pytest.raises(UnusableData):
            inspect_file("raw", data)

    def test_a_fixed_vhd_shows_at_its_end(self, tmp_path: Path) -> None:
        data = self.make(tmp_path / "a", "-f", "vpc", "-o", "subformat=fixed,force_size=on", "a", "4M")
        with pytest.raises(UnusableData, match="vhd"):
            inspect_file("raw", data)
