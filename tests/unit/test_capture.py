"""The pcap stream: octet for octet, and as tcpdump reads it."""

import shutil
import subprocess

import pytest

from polyport import capture
from polyport.capture import Frame
from tests.host.wire import udp

GOLDEN = (
    "4d3cb2a1 0200 0400 00000000 00000000 00000400 01000000"  # nanoseconds, 2.4, snaplen 262144, Ethernet
    "15cd5b07 15cd5b07 04000000 dc050000 0a0b0c0d"
)


def test_a_stream_is_what_the_format_says() -> None:
    frame = Frame(time=123456789_123456789, data=b"\n\x0b\x0c\r", length=1500, direction="egress")
    stream = capture.header(1 << 18) + capture.record(frame)
    assert stream == bytes.fromhex(GOLDEN)
    assert len(capture.header(1)) == capture.HEADER_SIZE


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
def test_tcpdump_reads_it() -> None:
    data = udp("fa:16:3e:00:00:01", "fa:16:3e:00:00:02", "10.0.0.5", "10.0.0.6", ports=(1000, 2000), data=bytes(100))
    stream = capture.header(60) + capture.record(Frame(1_000_000_000_000_000_007, data[:60], len(data), "ingress"))
    command = ["tcpdump", "--nano", "-tt", "-n", "-e", "-r", "-"]
    shown = subprocess.run(command, input=stream, capture_output=True, check=True).stdout.decode()
    assert shown.startswith("1000000000.000000007 fa:16:3e:00:00:01 > fa:16:3e:00:00:02")
    assert "length 142: 10.0.0.5.1000 > 10.0.0.6.2000: UDP, length 100" in shown
