"""The small guest: what its image is made of, how it reads a configuration drive, and how one talks with it."""

import base64
import gzip
import json
import lzma
import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guest import cpio
from guest.build import FILES, MODULES, OUTPUT, SOURCES, build
from guest.channel import CommandFailed, Guest, GuestSilent
from guest.modules import KernelModules, ModuleMissing, dependencies_of, load_order, name_of

LIB = SOURCES / "root" / "lib"


@pytest.fixture(scope="module")
def busybox() -> Path:
    """The busybox of the guest; it runs on the host as well."""
    found = next(OUTPUT.glob("packages/unpacked/busybox-static*/**/bin/busybox"), None) or shutil.which("busybox")
    assert found is not None, "`make guest` brings busybox"
    return Path(found)


@pytest.fixture(scope="module")
def printing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The other half of the guest's JSON reader: prints what it finds."""
    program = tmp_path_factory.mktemp("awk") / "print.awk"
    program.write_text('function emit(path, text) { print path "\\t" text }\n')
    return program


def awk(busybox: Path, *programs: str, text: str) -> list[str]:
    files = [word for program in programs for word in ("-f", program)]
    ran = subprocess.run([busybox, "awk", *files], cwd=LIB, input=text, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


# The archive


def test_an_archive_unpacks_to_what_went_in(busybox: Path, tmp_path: Path) -> None:
    packed = cpio.archive(
        {
            "init": cpio.file(b"#!/bin/sh\n", executable=True),
            "lib/modules/odd": cpio.file(b"three"),
            "bin/sh": cpio.link("busybox"),
            "run": cpio.directory(),
        }
    )
    subprocess.run([busybox, "cpio", "-i", "-d"], cwd=tmp_path, input=packed, capture_output=True, check=True)
    assert (tmp_path / "lib/modules/odd").read_bytes() == b"three"
    assert stat.S_IMODE((tmp_path / "init").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "lib/modules/odd").stat().st_mode) == 0o644
    assert (tmp_path / "bin/sh").readlink() == Path("busybox")
    assert (tmp_path / "run").is_dir()


def test_equal_trees_give_equal_archives() -> None:
    nodes = {"b/x": cpio.file(b"1"), "a": cpio.file(b"2")}
    assert cpio.archive(nodes) == cpio.archive(dict(reversed(nodes.items())))


# Kernel modules


def module(*needs: str) -> bytes:
    return b"\x7fELF..\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0retpoline=Y\0"


def test_a_module_names_what_it_needs() -> None:
    assert dependencies_of(module("virtio", "virtio-ring")) == ("virtio", "virtio_ring")
    assert dependencies_of(module()) == ()


@pytest.mark.parametrize("path", ["kernel/net/virtio-net.ko", "virtio_net.ko.zst", "a.b/virtio_net.ko.xz"])
def test_a_module_has_one_name_in_every_distribution(path: str) -> None:
    assert name_of(path) == "virtio_net"


def test_what_a_module_needs_is_loaded_before_it_and_once() -> None:
    needs = {"net": ("ring", "failover"), "blk": ("ring",), "ring": ("virtio",), "virtio": (), "failover": ()}
    assert load_order(["blk", "net"], needs) == ["virtio", "ring", "blk", "failover", "net"]


def test_compressed_and_built_in_modules(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/virtio_net.ko.xz").write_bytes(lzma.compress(module("failover", "virtio")))
    (tmp_path / "kernel/failover.ko").write_bytes(module())
    (tmp_path / "modules.builtin").write_text("kernel/drivers/virtio/virtio.ko\nkernel/drivers/button.ko\n")
    modules = KernelModules(tmp_path)
    assert modules.closure(["button", "virtio_net"]) == ["failover", "virtio_net"]
    assert modules.content("virtio_net") == module("failover", "virtio")
    with pytest.raises(ModuleMissing, match="no module pktgen"):
        modules.closure(["pktgen"])


# The configuration drive, as the guest reads it


def flat(value: Any, path: str = "") -> list[str]:
    """What the guest's own reader should make of a JSON value."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [line for key, item in pairs for line in flat(item, f"{path}.{key}" if path else str(key))]
    return [f"{path}\t{value if isinstance(value, str) else json.dumps(value)}"]


text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(text, trees, min_size=1, max_size=3), st.sampled_from([None, 2]))
@settings(max_examples=60, deadline=None)
def test_the_guest_reads_json_as_it_was_written(
    busybox: Path, printing: Path, value: dict[str, Any], indent: int | None
) -> None:
    assert awk(busybox, "jflat.awk", str(printing), text=json.dumps(value, indent=indent)) == flat(value)


def test_the_guest_plans_what_network_data_says(busybox: Path) -> None:
    links = [
        {"id": "tap1", "type": "bridge", "mtu": 1450, "ethernet_mac_address": "FA:16:3E:00:00:01"},
        {"id": "tap2", "type": "bridge", "mtu": None, "ethernet_mac_address": "fa:16:3e:00:00:02"},
        {"id": "tap3", "type": "bridge", "mtu": 1500, "ethernet_mac_address": "fa:16:3e:00:00:03"},
    ]
    networks = [
        {
            "id": "network0",
            "type": "ipv4",
            "link": "tap2",
            "ip_address": "10.0.0.12",
            "netmask": "255.255.252.0",
            "routes": [
                {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"},
                {"network": "192.168.7.0", "netmask": "255.255.255.128", "gateway": "10.0.0.9"},
            ],
        },
        {"id": "network1", "type": "ipv4_dhcp", "link": "tap1"},
        {
            "id": "network2",
            "type": "ipv6",
            "link": "tap2",
            "ip_address": "fd00::12",
            "netmask": "ffff:ffff:ffff:ffff::",
            "routes": [{"network": "::", "netmask": "::", "gateway": "fd00::1"}],
        },
        {"id": "network3", "type": "ipv6_slaac", "link": "tap3"},
        {"id": "network4", "type": "ipv6", "link": "tap3", "ip_address": "fd01::3/80"},
    ]
    data = {"services": [{"type": "dns", "address": "9.9.9.9"}], "links": links, "networks": networks}
    assert sorted(awk(busybox, "jflat.awk", "plan.awk", text=json.dumps(data, indent=1))) == [
        "dhcp fa:16:3e:00:00:01",
        "dns 9.9.9.9",
        "link fa:16:3e:00:00:01 1450",
        "link fa:16:3e:00:00:02 0",
        "link fa:16:3e:00:00:03 1500",
        "route fa:16:3e:00:00:02 4 0.0.0.0 0 10.0.0.1",
        "route fa:16:3e:00:00:02 4 192.168.7.0 25 10.0.0.9",
        "route fa:16:3e:00:00:02 6 :: 0 fd00::1",
        "static fa:16:3e:00:00:02 4 10.0.0.12 22",
        "static fa:16:3e:00:00:02 6 fd00::12 64",
        "static fa:16:3e:00:00:03 6 fd01::3 80",
    ]


def test_the_guest_knows_addresses_and_advertised_gateways_by_interface(busybox: Path, tmp_path: Path) -> None:
    zero = "0" * 32
    gateway = "fe800000000000000000000000000001"
    (tmp_path / "ipv6_route").write_text(
        f"{zero} 00 {zero} 00 {gateway} 00000400 00000001 00000000 00450003 eno2\n"
        f"{zero} 00 {zero} 00 {gateway} 00000400 00000001 00000000 00000003 eno1\n"
        f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
    )
    (tmp_path / "addresses").write_text(
        "2: eno1    inet 10.0.0.11/24 brd 10.0.0.255 scope global eno1\n"
        "2: eno1    inet 10.0.0.99/24 scope global secondary eno1\n"
        "3: eno2    inet6 fd00::12/64 scope global\n"
        "3: eno2    inet6 fe80::1/64 scope link\n"
    )
    command = [busybox, "awk", "-f", LIB / "addresses.awk", tmp_path / "ipv6_route", tmp_path / "addresses"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert sorted(ran.stdout.splitlines()) == [
        "eno1 10.0.0.11/24,10.0.0.99/24 - -",
        "eno2 - fd00::12/64 fe80:0000:0000:0000:0000:0000:0000:0001",
    ]


# The built image


@pytest.mark.guest
def test_the_initrd_holds_every_module_in_an_order_that_loads(busybox: Path, tmp_path: Path) -> None:
    packed = gzip.decompress((OUTPUT / "initrd").read_bytes())
    subprocess.run([busybox, "cpio", "-i", "-d"], cwd=tmp_path, input=packed, capture_output=True, check=True)
    assert os.access(tmp_path / "init", os.X_OK)
    assert {path.name for path in (tmp_path / "sbin").iterdir()} >= {"agent", "nics", "send", "bridge", "flood"}
    loaded: set[str] = set()
    for name in MODULES:
        for line in (tmp_path / "lib/modules" / name).read_text().split():
            here = dependencies_of((tmp_path / f"lib/modules/{line}.ko").read_bytes())
            assert {need for need in here if (tmp_path / f"lib/modules/{need}.ko").exists()} <= loaded
            loaded.add(line)


@pytest.mark.guest
def test_building_again_does_nothing() -> None:
    before = {name: (OUTPUT / name).stat().st_mtime_ns for name in FILES}
    told: list[str] = []
    build(say=told.append)
    assert told == []
    assert {name: (OUTPUT / name).stat().st_mtime_ns for name in FILES} == before


# The channel


@pytest.fixture
def other_end(tmp_path: Path) -> Iterator[Callable[[Callable[[str], bytes]], Path]]:
    """A guest's end of the channel, which sends what a function makes of each request's id."""
    place = tmp_path / ("a-directory-with-a-name-that-is-long-" * 4)
    place.mkdir()
    threads: list[threading.Thread] = []

    def serve(listener: socket.socket, said: Callable[[str], bytes]) -> None:
        with listener, listener.accept()[0] as connection, connection.makefile("rb") as lines:
            for line in lines:
                if words := line.split():
                    connection.sendall(said(words[0].decode()))

    def start(said: Callable[[str], bytes]) -> Path:
        opened = os.open(place, os.O_PATH)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"/proc/self/fd/{opened}/agent.sock")
        listener.listen()
        os.close(opened)
        threads.append(threading.Thread(target=serve, args=(listener, said)))
        threads[-1].start()
        return place

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def coded(words: bytes) -> bytes:
    return base64.b64encode(words)


def test_answers_to_others_are_skipped_and_halves_of_lines_too(
    other_end: Callable[[Callable[[str], bytes]], Path],
) -> None:
    def said(name: str) -> bytes:
        stale = b"0123456789abcdef 0 " + coded(b"stale") + b" -\n"
        return b"le= -\n" + stale + b"%s 3 %s %s\n" % (name.encode(), coded(b"\x00\xff"), coded(b"no"))

    with Guest(other_end(said)) as guest:
        ran = guest.run("true")
        assert (ran.status, ran.output, ran.errors) == (3, b"\x00\xff", b"no")
        with pytest.raises(CommandFailed, match="ended with 3: no"):
            guest.run("true", check=True)


def test_a_guest_that_says_nothing_is_told_with_its_console(
    other_end: Callable[[Callable[[str], bytes]], Path],
) -> None:
    place = other_end(lambda name: b"")
    (place / "console.log").write_text("Kernel panic - not syncing\n")
    with Guest(place) as guest, pytest.raises(GuestSilent, match="Kernel panic"):
        guest.run("true", timeout=0.2)


def test_no_guest_at_all_is_told_at_once(tmp_path: Path) -> None:
    with Guest(tmp_path) as guest, pytest.raises(GuestSilent):
        guest.run("true")
