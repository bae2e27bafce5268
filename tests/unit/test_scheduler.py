"""Which host a server goes to."""

import pytest

from polyport.compute.scheduler import Candidate, NoValidHost, choose_host
from polyport.ids import HostName


def host(name: str, **more: int | bool) -> Candidate:
    values = {"up": True, "enabled": True, "vcpus": 4, "memory_mb": 8192, "promised_memory_mb": 0, **more}
    return Candidate(name=HostName(name), **values)  # type: ignore[arg-type]


def test_the_host_with_the_least_promised_for_its_size() -> None:
    full = host("full", promised_memory_mb=8000)
    large = host("large", memory_mb=65536, promised_memory_mb=10000)
    assert choose_host([full, large], vcpus=1, memory_mb=512) == "large"
    assert choose_host([host("b"), host("a")], vcpus=1, memory_mb=512) == "a"


def test_memory_may_be_promised_more_than_once() -> None:
    assert choose_host([host("a", promised_memory_mb=1_000_000)], vcpus=1, memory_mb=512) == "a"


def test_a_host_that_has_not_told_its_size_takes_what_comes() -> None:
    assert choose_host([host("new", vcpus=0, memory_mb=0)], vcpus=64, memory_mb=1 << 20) == "new"


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ([], "No host has registered yet"),
        ([host("a", up=False)], "No host is up"),
        ([host("a", enabled=False), host("b", up=False)], "No host is up"),
        ([host("a", vcpus=1)], "could run 17 vCPUs with 512 MB"),
        ([host("a", memory_mb=256, vcpus=16)], "could run 17 vCPUs with 512 MB"),
    ],
)
def test_why_there_is_none(hosts: list[Candidate], words: str) -> None:
    with pytest.raises(NoValidHost, match=f"^No valid host was found. .*{words}"):
        choose_host(hosts, vcpus=17, memory_mb=512)
