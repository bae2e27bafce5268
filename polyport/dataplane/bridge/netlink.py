"""Bridges and taps: netlink and tap descriptors, in the network namespace of the current thread.

Only `vifs` and `ours` list all links: plugging a port costs the same with one port and with thousands.
"""

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress
from typing import NamedTuple

from polyport.dataplane import DataplaneError
from polyport.dataplane.bridge import rtnetlink
from polyport.dataplane.bridge.rtnetlink import Route
from polyport.names import BRIDGE_PREFIX, TAP_PREFIX

MOST_PORTS = 1023
"""Ports of one bridge (the kernel's BR_MAX_PORTS, less the bridge's own number)."""

_DOOMED = 0x706F6C79
"""A link group for links to be deleted together: one by one, each waits 20 ms for a grace period of the kernel."""

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000


class Passed(NamedTuple):
    """What has passed a tap since it was made, as the host sees it: `in` is what the guest sent."""

    packets_in: int
    packets_out: int
    octets_in: int
    octets_out: int
    dropped_out: int
    """Packets that did not go out, as the guest did not take those before them."""


class LinkError(DataplaneError):
    """The network link {name} could not be changed: {reason}."""


class NoSuchLink(LinkError):
    """There is no network link {name}."""


class BridgeFull(DataplaneError):
    """The network has {most} ports on this host, as many as a bridge can hold."""

    def __init__(self) -> None:
        super().__init__(most=MOST_PORTS)


class Links:
    """All calls raise `LinkError`."""

    def __init__(self) -> None:
        self._route = Route()
        self._mtus: dict[int, int] = {}
        """Number of a bridge -> the MTU it was given; a number is never used twice."""

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
        if index is None:
            # A bridge that guesses who wants a multicast cuts guests off that expect a plain switch.
            snooping = rtnetlink.attribute(rtnetlink.IFLA_BR_MCAST_SNOOPING, b"\0")
            kind = rtnetlink.attribute(rtnetlink.IFLA_INFO_KIND, b"bridge")
            self._change(
                name,
                rtnetlink.RTM_NEWLINK,
                rtnetlink.text(rtnetlink.IFLA_IFNAME, name),
                rtnetlink.attribute(rtnetlink.IFLA_ADDRESS, bytes.fromhex(mac.replace(":", ""))),
                rtnetlink.number(rtnetlink.IFLA_MTU, mtu),
                rtnetlink.attribute(
                    rtnetlink.IFLA_LINKINFO, kind + rtnetlink.attribute(rtnetlink.IFLA_INFO_DATA, snooping)
                ),
                up=True,
                flags=rtnetlink.NLM_F_CREATE | rtnetlink.NLM_F_EXCL,
            )
            index = self._index(name)
        elif self._mtus.get(index) != mtu:
            self._change(
                name,
                rtnetlink.RTM_NEWLINK,
                rtnetlink.number(rtnetlink.IFLA_MTU, mtu),
                index=index,
                up=True,
            )
        self._mtus[index] = mtu
        return index

    def ensure_address(self, name: str, address: bytes) -> None:
        """Let a link have an IPv4 address, which leads to no network."""
        try:
            self._route.address(self._index(name), address)
        except OSError as error:
            raise LinkError(name=name, reason=error.strerror) from error

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
        self._change(
            name,
            rtnetlink.RTM_NEWLINK,
            rtnetlink.number(rtnetlink.IFLA_MASTER, self._index(bridge)),
            rtnetlink.number(rtnetlink.IFLA_MTU, mtu),
            index=self._index(name),
            up=up,
        )

    def delete(self, *names: str) -> None:
        """Remove links; those that are not there are no error."""
        present = {name: index for name in names if (index := self.index(name)) is not None}
        if len(present) == 1:
            (name, index), *_ = present.items()
            with suppress(NoSuchLink):
                self._change(name, rtnetlink.RTM_DELLINK, index=index)
        elif present:
            doomed = rtnetlink.number(rtnetlink.IFLA_GROUP, _DOOMED)
            for name, index in present.items():
                with suppress(NoSuchLink):
                    self._change(name, rtnetlink.RTM_NEWLINK, doomed, index=index)
            with suppress(NoSuchLink):
                self._change(", ".join(present), rtnetlink.RTM_DELLINK, doomed)

    def vifs(self) -> dict[str, str | None]:
        """Every tap of ours, and the bridge it is on."""
        return self.ours()[0]

    def ours(self) -> tuple[dict[str, str | None], set[str]]:
        """The same, and every bridge of ours."""
        try:
            links = self._route.links()
        except OSError as error:
            raise LinkError(name="list", reason=error.strerror) from error
        names = {link.number: link.name for link in links}
        return (
            {link.name: names.get(link.master) for link in links if link.name.startswith(TAP_PREFIX)},
            {link.name for link in links if link.name.startswith(BRIDGE_PREFIX)},
        )

    def passed(self, name: str) -> Passed | None:
        """What has passed a tap; None where it is not there."""
        index = self.index(name)
        if index is None:
            return None
        try:
            return Passed(*self._route.statistics(index))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise LinkError(name=name, reason=error.strerror) from error

    def _index(self, name: str) -> int:
        index = self.index(name)
        if index is None:
            raise NoSuchLink(name=name)
        return index

    def _change(
        self, name: str, kind: int, *details: bytes, index: int = 0, up: bool | None = None, flags: int = 0
    ) -> None:
        try:
            self._route.change(kind, *details, index=index, up=up, flags=flags)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise NoSuchLink(name=name) from error
            if error.errno == errno.EXFULL:
                raise BridgeFull from error
            raise LinkError(name=name, reason=error.strerror) from error
