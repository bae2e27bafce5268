"""How guests come by IPv6 addresses: what a subnet's modes say, told by advertisements and by DHCPv6.

    ipv6_ra_mode       slaac: make your own | dhcpv6-stateless: the same, and ask for the rest | dhcpv6-stateful: ask
    ipv6_address_mode  dhcpv6-stateless: questions for the rest are answered | dhcpv6-stateful: and for addresses

(Networking guide, "IPv6".) A subnet without the one or the other, or without DHCP, gets nothing of it from here. The
advertisements name no default router, as none of the host's stands behind them.
"""

import asyncio
import socket
from collections.abc import Container
from contextlib import suppress
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from polyport.dataplane import VifPlan
from polyport.dataplane.bridge import ipv6_packet as packet
from polyport.ids import PortId
from polyport.plan import SubnetPlan

VALID_SECONDS = 86400
PREFERRED_SECONDS = 14400
INTERVAL = 600.0
"""Seconds between two advertisements nobody asked for."""

STATELESS, STATEFUL = "dhcpv6-stateless", "dhcpv6-stateful"
_EVERY_NODE_MAC = bytes.fromhex("333300000001")


class Advertised(NamedTuple):
    """What a network's advertisements say."""

    managed: bool
    other: bool
    mtu: int
    prefixes: tuple[packet.Prefix, ...]
    servers: tuple[IPv6Address, ...]

    def frame(self, mac: bytes, target_mac: bytes, target: IPv6Address) -> bytes:
        return packet.build_advertisement(
            mac=mac, target_mac=target_mac, target=target, valid=VALID_SECONDS, preferred=PREFERRED_SECONDS,
            **self._asdict(),
        )  # fmt: skip


class Told(NamedTuple):
    """What one NIC is told."""

    port_id: PortId
    mac: bytes
    advertised: Advertised | None
    addresses: tuple[IPv6Address, ...]
    """By DHCPv6."""
    informed: bool
    """Whether DHCPv6 answers it at all."""
    servers: tuple[IPv6Address, ...]


def told_of(vif: VifPlan) -> Told | None:
    """What a NIC is told; None for nothing. Raises ValueError where the plan holds something that is no address."""
    subnets = {each.id: each for each in vif.network.subnets if each.ip_version == 6 and each.enable_dhcp}
    asked = [each for each in subnets.values() if each.ipv6_address_mode in (STATELESS, STATEFUL)]
    addresses = tuple(
        IPv6Address(fixed.ip_address)
        for fixed in vif.nic.fixed_ips
        if fixed.subnet_id in subnets and subnets[fixed.subnet_id].ipv6_address_mode == STATEFUL
    )
    advertised = _advertised([each for each in subnets.values() if each.ipv6_ra_mode], vif.network.mtu)
    if advertised is None and not asked:
        return None
    return Told(
        port_id=vif.nic.port_id,
        mac=bytes.fromhex(vif.nic.mac_address.replace(":", "")),
        advertised=advertised,
        addresses=addresses,
        informed=bool(asked),
        servers=_servers(asked),
    )


def _advertised(subnets: list[SubnetPlan], mtu: int) -> Advertised | None:
    if not subnets:
        return None
    modes = {subnet.ipv6_ra_mode for subnet in subnets}
    return Advertised(
        managed=STATEFUL in modes,
        other=STATELESS in modes,
        mtu=mtu,
        prefixes=tuple(packet.Prefix(IPv6Network(each.cidr), each.ipv6_ra_mode != STATEFUL) for each in subnets),
        servers=_servers(subnets),
    )


def _servers(subnets: list[SubnetPlan]) -> tuple[IPv6Address, ...]:
    names = [ip_address(server) for subnet in subnets for server in subnet.dns_nameservers]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, IPv6Address)))


def server_id(mac: bytes) -> bytes:
    """The DUID of a network's server: by its link-layer address (RFC 8415, section 11.4)."""
    return b"\x00\x03\x00\x01" + mac


def answer(question: packet.Solicitation | packet.Request, told: Told, mac: bytes) -> bytes | None:
    """The frame that answers a guest, from a host whose MAC is `mac`; None for silence."""
    if isinstance(question, packet.Solicitation):
        target = packet.EVERY_NODE if question.source == IPv6Address(0) else question.source
        # To the one MAC that asked, also where the address says everybody.
        return None if told.advertised is None else told.advertised.frame(mac, question.mac, target)
    if not told.informed or not _is_for(question, server_id(mac)):
        return None
    options = _options(question, told)
    if options is None:
        return None
    message = packet.ADVERTISE if question.message == packet.SOLICIT else packet.REPLY
    options += packet.dns_servers(told.servers)
    return packet.build_reply(question, message=message, mac=mac, server=server_id(mac), options=options)


def _is_for(question: packet.Request, server: bytes) -> bool:
    """Whether a message has the ids it should have (RFC 8415, section 16), and is for this server."""
    match question.message:
        case packet.INFORMATION_REQUEST:
            return question.server in (None, server)
        case packet.SOLICIT | packet.CONFIRM | packet.REBIND:
            return question.server is None and question.client != b""
        case packet.REQUEST | packet.RENEW | packet.RELEASE | packet.DECLINE:
            return question.server == server and question.client != b""
        case _:
            return False


def _options(question: packet.Request, told: Told) -> bytes | None:
    match question.message:
        case packet.INFORMATION_REQUEST:
            return b""
        case _ if not told.addresses:
            return None
        case packet.RELEASE | packet.DECLINE:
            # The address stays the port's: there is nothing to give back.
            return packet.status_of(packet.SUCCESS)
        case packet.CONFIRM:
            claimed = {address for each in question.associations for address in each.addresses}
            if not claimed:
                return None
            return packet.status_of(packet.SUCCESS if claimed <= set(told.addresses) else packet.NOT_ON_LINK)
        case _:
            return b"".join(_association(each, told, first=not at) for at, each in enumerate(question.associations))


def _association(asked: packet.Association, told: Told, *, first: bool) -> bytes:
    """The first association gets the port's addresses; what a client has beyond them it is to forget."""
    if not first:
        return packet.association(asked.number, (), packet.NO_ADDRESSES)
    stale = [address for address in dict.fromkeys(asked.addresses) if address not in told.addresses]
    good = [(address, PREFERRED_SECONDS, VALID_SECONDS) for address in told.addresses]
    # No more than a frame holds: a client has few.
    return packet.association(asked.number, [*good, *((address, 0, 0) for address in stale[:16])], None)


class Ipv6:
    """What guests are told, of all bridges, on the event loop."""

    def __init__(self) -> None:
        self._told: dict[str, dict[bytes, Told]] = {}
        self._places: dict[PortId, tuple[str, bytes]] = {}
        self._speaking: dict[str, asyncio.TimerHandle] = {}

    def offer(self, bridge: str, told: Told) -> None:
        """Tell a NIC this from now on, in place of what it was told before."""
        self.withdraw(told.port_id)
        self._told.setdefault(bridge, {})[told.mac] = told
        self._places[told.port_id] = (bridge, told.mac)

    def withdraw(self, port_id: PortId) -> None:
        """Tell a NIC nothing any more."""
        if (place := self._places.pop(port_id, None)) is not None:
            bridge, mac = place
            if self._told[bridge][mac].port_id == port_id:
                del self._told[bridge][mac]
            if not self._told[bridge]:
                del self._told[bridge]

    def keep(self, port_ids: Container[PortId]) -> None:
        """Tell no NIC anything but these."""
        for port_id in [port_id for port_id in self._places if port_id not in port_ids]:
            self.withdraw(port_id)

    def serve(self, bridge: str, speaker: socket.socket, mac: bytes) -> None:
        """Advertise on a bridge from now on, at intervals. The socket stays another's."""
        self.stop(bridge)

        def speak() -> None:
            self._speaking[bridge] = asyncio.get_running_loop().call_later(INTERVAL, speak)
            told = next((each for each in self._told.get(bridge, {}).values() if each.advertised), None)
            if told is not None and told.advertised is not None:
                with suppress(OSError):
                    speaker.send(told.advertised.frame(mac, _EVERY_NODE_MAC, packet.EVERY_NODE))

        self._speaking[bridge] = asyncio.get_running_loop().call_later(INTERVAL, speak)

    def stop(self, bridge: str) -> None:
        if (timer := self._speaking.pop(bridge, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        for bridge in list(self._speaking):
            self.stop(bridge)

    def reply_to(self, frame: bytes, bridge: str, mac: bytes) -> bytes | None:
        question = packet.parse(frame)
        if question is None or (told := self._told.get(bridge, {}).get(question.mac)) is None:
            return None
        return answer(question, told, mac)
