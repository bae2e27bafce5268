"""What people see of a real guest's NIC: `polyport capture PORT | tcpdump -r -`."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from demo.scratch import ROOT
from tests.guest.rig import Rig, Server

pytestmark = [pytest.mark.guest, pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")]

PATIENCE = 60.0


def test_tcpdump_prints_the_pings_of_a_guest(rig: Rig, network: Any, boot: Callable[..., Server]) -> None:
    server = boot({"uuid": network.id}, {"uuid": network.id})
    source, target = server.nics(1, 2)
    port = server.ports()[0]
    polyport = [sys.executable, "-m", "polyport", "capture", "--os-cloud", "polyport", port.id]
    tcpdump = ["tcpdump", "-l", "-e", "-n", "-r", "-", "icmp"]
    with subprocess.Popen(polyport, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as capturing:
        with subprocess.Popen(
            tcpdump, stdin=capturing.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as showing:
            assert capturing.stdout is not None
            capturing.stdout.close()
            assert showing.stderr is not None
            # Said when the stream's header has come: from then on every frame is seen.
            assert "reading from file -, link-type EN10MB" in showing.stderr.readline()
            sent, _ = server.send(1, 2, 3)
            assert sent.received == 3
            server.stop()
            shown, _ = showing.communicate(timeout=PATIENCE)
        assert capturing.wait(PATIENCE) == 0, "the port was unplugged: the end"
    lines = shown.splitlines()
    requests = [line for line in lines if "ICMP echo request" in line]
    replies = [line for line in lines if "ICMP echo reply" in line]
    assert len(requests) == len(replies) == 3, shown
    assert all(f"{source.mac} > {target.mac}" in line for line in requests)
    assert all(f"{target.mac} > {source.mac}" in line for line in replies)
