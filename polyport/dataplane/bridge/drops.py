"""What rules have dropped of each port, by cause, as the kernel counts it in the sets `drops`.

These sets are dumped for all ports together, and a dump answers for a moment, so that asking for a thousand ports is
one dump. It is made by messages of our own (linux/netfilter/nf_tables.h): faster than libnftables, and beside the
namespace's thread, which plugs meanwhile.
"""

import asyncio
import errno
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from polyport.dataplane import EGRESS_CAUSES, INGRESS_CAUSES
from polyport.dataplane.bridge.causes import NUMBERS, QUEUE_FULL
from polyport.dataplane.bridge.netlink import Passed
from polyport.dataplane.bridge.nft import Nft, NftError
from polyport.dataplane.bridge.rtnetlink import (
    HEADER,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    attributes,
    messages,
    text,
)
from polyport.plan import PortCounters, Traffic

KEPT = 1.0
"""Seconds for which a dump answers."""

Counts = Mapping[int, int]
"""Number of a cause -> frames."""

_NETLINK_NETFILTER = 12
_GET_ELEMENTS = 10 << 8 | 13  # NFT_MSG_GETSETELEM of NFNL_SUBSYS_NFTABLES
_REQUEST_DUMP = 0x1 | 0x300
_BRIDGE = 7  # NFPROTO_BRIDGE
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_ELEMENT_KEY, _ELEMENT_EXPRESSION = 1, 7
_EXPRESSION_DATA, _COUNTER_PACKETS = 2, 2
_GENERAL = struct.Struct("!BBH")
_NAME_OCTETS = 16
_MOST_DUMPS = 3
_NOTHING: Counts = {}


class Drops:
    """The sets `drops` of these tables, in the network namespace of the thread that makes this."""

    def __init__(self, tables: Iterable[str]) -> None:
        self._tables = tuple(tables)
        self._nft = Nft()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._lock = threading.Lock()
        self._sequence = 0
        self._counts: dict[str, dict[int, int]] = {}
        self._until = 0.0

    def close(self) -> None:
        with self._lock:
            self._socket.close()
        self._nft.close()

    async def of(self, tap: str) -> Counts:
        """What was dropped of a tap, as it was at most `KEPT` seconds ago. Raises `NftError`."""
        if time.monotonic() >= self._until:
            await asyncio.to_thread(self._renew)
        return self._counts.get(tap, _NOTHING)

    def forget(self, taps: Iterable[str]) -> None:
        """Count these taps from 0 again. On the namespace's thread."""
        some = tuple(taps)
        keys = ", ".join(f'"{tap}" . {number}' for tap in some for number in NUMBERS.values())
        for tap in some:
            self._counts.pop(tap, None)
        # Deleting an element that is not there is an error, adding one that is there is none.
        for table in self._tables if keys else ():
            # Where somebody took the table away there is nothing to forget; it is put right elsewhere.
            with suppress(NftError):
                self._nft.run("".join(f"{verb} element {table} drops {{ {keys} }}\n" for verb in ("add", "delete")))

    def keep(self, taps: Iterable[str]) -> None:
        """Forget all others. On the namespace's thread."""
        with self._lock:
            found = self._read()
        self.forget(found.keys() - set(taps))

    def _renew(self) -> None:
        with self._lock:
            if time.monotonic() >= self._until:
                self._counts = self._read()
                self._until = time.monotonic() + KEPT

    def _read(self) -> dict[str, dict[int, int]]:
        counts: dict[str, dict[int, int]] = {}
        for table in self._tables:
            for key, packets in self._elements(table.removeprefix("bridge ")).items():
                tap = key[:_NAME_OCTETS].rstrip(b"\0").decode("ascii", "replace")
                counts.setdefault(tap, {})[int.from_bytes(key[_NAME_OCTETS:], sys.byteorder)] = packets
        return counts

    def _elements(self, table: str) -> dict[bytes, int]:
        """Key -> packets, of one set; empty where it is not there."""
        named = text(_LIST_TABLE, table) + text(_LIST_SET, "drops")
        found: dict[bytes, int] = {}
        # Where rules changed during a dump, elements may have been passed over; those found are good. On a host whose
        # rules always change the next dump will find them.
        for _ in range(_MOST_DUMPS):
            whole = True
            for flags, body in self._dump(_GENERAL.pack(_BRIDGE, 0, 0) + named):
                whole = whole and not flags & NLM_F_DUMP_INTR
                for kind, elements in attributes(body[_GENERAL.size :]):
                    if kind == _LIST_ELEMENTS:
                        found |= (_element(each) for _, each in attributes(elements))
            if whole:
                break
        return found

    def _dump(self, request: bytes) -> Iterator[tuple[int, bytes]]:
        self._sequence += 1
        head = HEADER.pack(HEADER.size + len(request), _GET_ELEMENTS, _REQUEST_DUMP, self._sequence, 0)
        try:
            self._socket.send(head + request)
            for kind, flags, part in messages(self._socket, self._sequence):
                if kind == NLMSG_ERROR and (code := -struct.unpack_from("=i", part)[0]) != errno.ENOENT:
                    raise OSError(code, os.strerror(code))
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return
                yield flags, part
        except OSError as error:
            raise NftError(reason=error.strerror) from error


def counters_of(passed: Passed, drops: Counts) -> PortCounters:
    """What has passed a tap and what was dropped of it, from the guest's point of view."""
    counts = {name: drops.get(number, 0) for name, number in NUMBERS.items()} | {QUEUE_FULL: passed.dropped_out}
    return PortCounters(
        ingress=Traffic(
            packets=passed.packets_out,
            bytes=passed.octets_out,
            dropped={cause: counts[f"ingress_{cause}"] for cause in INGRESS_CAUSES},
        ),
        egress=Traffic(
            packets=passed.packets_in,
            bytes=passed.octets_in,
            dropped={cause: counts[f"egress_{cause}"] for cause in EGRESS_CAUSES},
        ),
    )


def _element(element: bytes) -> tuple[bytes, int]:
    details = dict(attributes(element))
    _, key = next(attributes(details[_ELEMENT_KEY]))
    counter = dict(attributes(details.get(_ELEMENT_EXPRESSION, b""))).get(_EXPRESSION_DATA, b"")
    return key, int.from_bytes(dict(attributes(counter)).get(_COUNTER_PACKETS, b""), "big")
