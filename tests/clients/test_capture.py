"""`polyport capture` and `polyport counters`, as a person calls them."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.scratch import ROOT, ScratchCloud
from polyport.capture import HEADER_SIZE
from polyport.dataplane import EGRESS_CAUSES, INGRESS_CAUSES

pytestmark = pytest.mark.clients

PATIENCE = 30.0


@pytest.fixture
def port(sdk: Any, image: Any, net1: Any) -> Iterator[Any]:
    """The port of a server that runs."""
    port = sdk.network.create_port(network_id=net1.id, name="looked-at")
    server = sdk.compute.create_server(name="vm9", image_id=image.id, flavor_id="1", networks=[{"port": port.id}])
    sdk.compute.wait_for_server(server, interval=0.05)
    yield port
    sdk.compute.delete_server(server)
    sdk.compute.wait_for_delete(server, interval=0.05)
    sdk.network.delete_port(port)


def command(*words: str, verb: str = "capture") -> list[str]:
    return [sys.executable, "-m", "polyport", verb, *words]


def run(*words: str, verb: str = "capture", **environment: str) -> subprocess.CompletedProcess[bytes]:
    ran = {"env": os.environ | environment, "cwd": ROOT, "timeout": PATIENCE}
    return subprocess.run(command(*words, verb=verb), capture_output=True, check=False, **ran)


def start(*words: str, **more: Any) -> subprocess.Popen[bytes]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.Popen(command(*words), cwd=ROOT, **pipes)


@pytest.mark.parametrize("called", ["id", "name"])
def test_a_port_by_id_or_name(port: Any, called: str) -> None:
    ran = run("--os-cloud", "polyport", port[called], "--seconds", "1", "--snaplen", "100", "--direction", "egress")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert len(ran.stdout) == HEADER_SIZE
    assert ran.stdout[16:20] == (100).to_bytes(4, "little")


def test_the_environment_says_which_cloud(cloud: ScratchCloud, sdk: Any, port: Any) -> None:
    auth = sdk.config.config["auth"]
    words = {f"OS_{name.upper()}": value for name, value in auth.items()} | {"OS_CLIENT_CONFIG_FILE": "/nowhere"}
    assert len(run(port.id, "--bytes", str(HEADER_SIZE), "--seconds", "1", **words).stdout) == HEADER_SIZE
    ran = run(port.id, **words | {"OS_PASSWORD": "wrong"})
    assert ran.returncode == 1
    assert b"HTTP 401" in ran.stderr
    ran = run(port.id, **words | {"OS_AUTH_URL": "http://127.0.0.1:1/identity"})
    assert ran.returncode == 1
    assert b"http://127.0.0.1:1 cannot be reached" in ran.stderr


def test_interrupted_it_ends_quietly(port: Any) -> None:
    # What is started in a shell's background is deaf to it, and so are its children, unless they are told.
    hearing = ["env", "--default-signal=INT", *command(port.id)]
    with subprocess.Popen(hearing, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert len(running.stdout.read(HEADER_SIZE)) == HEADER_SIZE
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=PATIENCE) == (b"", b"")
    assert running.returncode == 0


def test_a_reader_that_leaves_ends_it_quietly(port: Any) -> None:
    with start(port.id) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert len(running.stdout.read(HEADER_SIZE)) == HEADER_SIZE
        running.stdout.close()
        assert running.wait(PATIENCE) == 0
        assert running.stderr.read() == b""


def test_a_terminal_gets_no_frames(port: Any) -> None:
    ours, theirs = pty.openpty()
    with start(port.id, stdout=theirs) as running:
        _, said = running.communicate(timeout=PATIENCE)
    os.close(theirs)
    os.close(ours)
    assert running.returncode == 2
    assert b"| wireshark -k -i -" in said


def test_what_is_wrong_is_said(sdk: Any, net1: Any, port: Any, tmp_path: Path) -> None:
    twins = [sdk.network.create_port(network_id=net1.id, name="twin") for _ in range(2)]
    try:
        for words, said in (
            (["nobody"], "There is no port nobody."),
            ([net1.id], f"There is no port {net1.id}."),
            (["twin"], twins[0].id),
            ([twins[0].id], "is not plugged: no running server uses it. (HTTP 409)"),
            ([port.id, "--seconds", "100000"], "seconds"),
            (["--os-cloud", "other", port.id], "it has no cloud other"),
        ):
            ran = run(*words)
            assert (ran.returncode, ran.stdout) == (1, b""), words
            assert said in ran.stderr.decode()
            assert ran.stderr.count(b"\n") == 1, "a sentence, not a trace"
    finally:
        for twin in twins:
            sdk.network.delete_port(twin)


def test_a_server_that_stops_ends_it(sdk: Any, port: Any) -> None:
    with start(port.id) as running:
        assert running.stdout is not None
        assert len(running.stdout.read(HEADER_SIZE)) == HEADER_SIZE
        sdk.compute.stop_server(sdk.network.get_port(port.id).device_id)
        assert running.communicate(timeout=PATIENCE) == (b"", b"")
    assert running.returncode == 0


def test_a_cloud_that_goes_is_an_error() -> None:
    with ScratchCloud(hypervisor="fake", dataplane="fake") as cloud:
        words = {"OS_CLIENT_CONFIG_FILE": str(cloud.clouds)}
        assert run("nobody", **words).returncode == 1
        cloud.stop()
        ran = run("nobody", **words)
        assert ran.returncode == 1
        assert b"cannot be reached" in ran.stderr


@pytest.mark.parametrize("called", ["id", "name"])
def test_the_counters_of_a_port(sdk: Any, port: Any, called: str) -> None:
    ran = run("--os-cloud", "polyport", port[called], verb="counters")
    assert (ran.returncode, ran.stderr) == (0, b"")
    shown = [line.rsplit(maxsplit=1) for line in ran.stdout.decode().splitlines()]
    counted = sdk.network.get(f"/ports/{port.id}").json()["port"]["polyport:counters"]
    wanted = []
    for direction, causes in (("ingress", INGRESS_CAUSES), ("egress", EGRESS_CAUSES)):
        figures = counted[direction]
        wanted += [[f"{direction:8}{name}", str(figures[name])] for name in ("packets", "bytes")]
        wanted += [[f"{direction:8}dropped {cause}", str(figures["dropped"][cause])] for cause in causes]
    assert shown == wanted


def test_a_port_without_counters(sdk: Any, net1: Any) -> None:
    unused = sdk.network.create_port(network_id=net1.id, name="unused")
    for name, words in (("unused", f"Port {unused.id} has no counters"), ("nothing", "There is no port nothing.")):
        ran = run(name, verb="counters")
        assert (ran.returncode, ran.stdout) == (1, b"")
        assert words in ran.stderr.decode()
    sdk.network.delete_port(unused)
