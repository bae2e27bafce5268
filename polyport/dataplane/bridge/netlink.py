"""Bridges and taps: netlink and tap descriptors, in the network namespace of the current thread.

No call lists all links but `vifs` and `bridges`, so plugging one port costs the same with one port and with thousands.
"""

import fcntl
import os
import socket
import struct
from contextlib import suppress
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from polyport.dataplane import DataplaneError, VifCounters
from polyport.names import BRIDGE_PREFIX, TAP_PREFIX

MOST_PORTS = 1023
"""Ports of one bridge (the kernel's BR_MAX_PORTS, less the bridge's own number)."""

_DOOMED = 0x706F6C79
"""A link group for links to be deleted together: one by one each waits for a grace period of the kernel, 20 ms."""

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000

_ENODEV = 19
_EXFULL = 54


class LinkError(DataplaneError):
    """The network link {name} could not be changed: {reason}."""


class BridgeFull(DataplaneError):
    """The network has {most} ports on this host, as many as a bridge can hold."""

    def __init__(self) -> None:
        super().__init__(most=MOST_PORTS)


class NoSuchLink(LinkError):
    """There is no network link {name}."""


class Links:
    """All calls raise `LinkError`."""

    def __init__(self) -> None:
        self._route: Any = IPRoute()

    def close(self) -> None:
        self._route.close()

    def index(self, name: str) -> int | None:
        """The kernel's number of a link; None where there is none of that name."""
        try:
            return socket.if_nametoindex(name)
        except OSError:
            return None

    def ensure_bridge(self, name: str, mac: str, mtu: int) -> int:
        """Make a bridge, or bring the one there to this MTU; its number."""
        index = self.index(name)
        if index is not None:
            self._ask(name, "set", index=index, mtu=mtu, state="up")
            return index
        # A bridge that guesses who wants a multicast cuts guests off that expect a plain switch.
        self._ask(name, "add", ifname=name, kind="bridge", address=mac, mtu=mtu, br_mcast_snooping=0, state="up")
        return self._index(name)

    def create_tap(self, name: str) -> int:
        """Make a tap, down and on no bridge; it lives until its last descriptor is closed."""
        try:
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise LinkError(name=name, reason=f"/dev/net/tun: {error.strerror}") from error
        request = struct.pack("16sH22x", name.encode("ascii"), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        try:
            fcntl.ioctl(descriptor, _TUNSETIFF, request)
        except OSError as error:
            os.close(descriptor)
            raise LinkError(name=name, reason=error.strerror) from error
        return descriptor

    def attach(self, name: str, bridge: str, mtu: int, *, up: bool) -> None:
        """Put a tap on a bridge, with this MTU, and up or down. Does nothing where it is so already."""
        self._ask(
            name,
            "set",
            index=self._index(name),
            master=self._index(bridge),
            mtu=mtu,
            state="up" if up else "down",
        )

    def delete(self, *names: str) -> None:
        """Remove links; those that are not there are no error."""
        present = {name: index for name in names if (index := self.index(name)) is not None}
        if len(present) == 1:
            (name, index), *_ = present.items()
            with suppress(NoSuchLink):
                self._ask(name, "del", index=index)
        elif present:
            for name, index in present.items():
                with suppress(NoSuchLink):
                    self._ask(name, "set", index=index, group=_DOOMED)
            with suppress(NoSuchLink):
                self._ask(", ".join(present), "del", group=_DOOMED)

    def vifs(self) -> dict[str, str | None]:
        """Every tap of ours, and the bridge it is on."""
        links = self._list()
        return {name: links.get(master, (None, 0))[0] for name, master in links.values() if name.startswith(TAP_PREFIX)}

    def bridges(self) -> tuple[str, ...]:
        """Every bridge of ours."""
        return tuple(name for name, _ in self._list().values() if name.startswith(BRIDGE_PREFIX))

    def counters(self, name: str) -> VifCounters | None:
        index = self.index(name)
        if index is None:
            return None
        try:
            (link,) = self._route.get_links(index)
        except NetlinkError as error:
            if error.code == _ENODEV:
                return None
            raise LinkError(name=name, reason=error) from error
        stats = link.get("stats64")
        return VifCounters(
            received_packets=stats["rx_packets"],
            received_bytes=stats["rx_bytes"],
            sent_packets=stats["tx_packets"],
            sent_bytes=stats["tx_bytes"],
        )

    def _index(self, name: str) -> int:
        index = self.index(name)
        if index is None:
            raise NoSuchLink(name=name)
        return index

    def _list(self) -> dict[int, tuple[str, int]]:
        """Number -> name and number of the master (0: none), of every link."""
        try:
            return {link["index"]: (link.get("ifname"), link.get("master") or 0) for link in self._route.get_links()}
        except NetlinkError as error:
            raise LinkError(name="*", reason=error) from error

    def _ask(self, name: str, verb: str, **what: Any) -> None:
        try:
            self._route.link(verb, **what)
        except NetlinkError as error:
            if error.code == _ENODEV:
                raise NoSuchLink(name=name) from error
            if error.code == _EXFULL:
                raise BridgeFull from error
            raise LinkError(name=name, reason=error) from error
