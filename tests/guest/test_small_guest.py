"""What the other stories need of the small guest itself."""

import base64
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from guest.channel import AGENT_SOCKET, connect_below
from tests.guest.rig import Rig, Server

pytestmark = pytest.mark.guest


@pytest.fixture
def server(network: Any, boot: Callable[..., Server]) -> Server:
    server = boot({"uuid": network.id}, {"uuid": network.id})
    server.nics(1, 2)
    return server


def test_it_answers_after_a_reader_that_left_in_the_midst_of_a_command(rig: Rig, server: Server) -> None:
    def request(name: str, command: str) -> bytes:
        return f"{name} 10 {base64.b64encode(command.encode()).decode()}\n".encode()

    server.guest.close()
    with socket.socket(socket.AF_UNIX) as reader:
        connect_below(reader, rig.cloud.server_directory(server.id), AGENT_SOCKET)
        reader.settimeout(60)
        reader.sendall(b"\n" + request("aa", "sleep 3") + request("bb", "true"))
        # Requests are taken in their order: when there is an answer to the second, the first is under way.
        assert reader.recv(3) == b"bb "
    # Long enough for the guest to see that nobody is there any more.
    time.sleep(1)
    assert server.guest.wait_ready(60).boot_id == server.boot_id


def test_a_nic_that_is_renamed_meanwhile_is_told_of(server: Server) -> None:
    """As every new one is, half a second after it came."""
    renames = "for n in 1 2 3 4 5 6 7 8 9 10; do ip link set eno2 name other; ip link set other name eno2; done"
    ran = server.guest.run(f"ip link set eno2 down; ({renames}) 2>/dev/null & while kill -0 $!; do nics; done")
    told = [[nic["slot"] for nic in json.loads(line)] for line in ran.text.splitlines()]
    assert len(told) > 1
    assert all(slots == [1, 2] for slots in told), told
