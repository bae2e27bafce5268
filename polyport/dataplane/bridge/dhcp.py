"""The DHCPv4 server of every network: answers from the plans, keeps no leases of its own.

A NIC's address is its port's for life, so a lease is a view of the plan (`lease_of`), and a request is answered by
a pure function (`answer`). One raw socket on each bridge hears what guests broadcast, and what they send to the
server id; frames between guests never pass it.

The server id is 169.254.169.254 on every network. It has to be an address that answers for as long as leases are
renewed: a gateway may be a guest, or not exist. A client that renews asks for it by ARP, which the kernel answers; or
sends to its gateway, which the firewall turns to the bridge; or finds no way there, and then rebinds by broadcast.
"""

import asyncio
import logging
import re
import socket
import struct
from collections.abc import Callable, Container
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import NamedTuple

from polyport.dataplane import VifPlan
from polyport.dataplane.bridge import dhcp_options as options
from polyport.dataplane.bridge import dhcp_packet as packet
from polyport.dataplane.bridge.network import RESPONDER_ADDRESS
from polyport.ids import PortId
from polyport.plan import SubnetPlan

log = logging.getLogger(__name__)

LEASE_SECONDS = 86400
SERVER = IPv4Address(RESPONDER_ADDRESS)
NOBODY = IPv4Address(0)
EVERYBODY = IPv4Address(0xFFFFFFFF)

_BATCH = 64
"""Frames answered before the event loop may do something else."""


class Lease(NamedTuple):
    """What one NIC is told."""

    port_id: PortId
    mac: bytes
    address: IPv4Address
    options: tuple[tuple[int, bytes], ...]
    """In order of weight: the last ones are left out where a client takes short messages only."""
    next_server: IPv4Address
    bootfile: bytes


def lease_of(vif: VifPlan) -> Lease | None:
    """What DHCP tells a vif: of its first IPv4 address on a subnet with DHCP. None where it has none.

    Raises ValueError where the plan holds something that is no address.
    """
    subnets = {subnet.id: subnet for subnet in vif.network.subnets}
    for fixed in vif.nic.fixed_ips:
        subnet = subnets.get(fixed.subnet_id)
        if subnet is not None and subnet.ip_version == 4 and subnet.enable_dhcp:
            return _lease(vif, subnet, IPv4Address(fixed.ip_address))
    return None


def _lease(vif: VifPlan, subnet: SubnetPlan, address: IPv4Address) -> Lease:
    network = IPv4Network(subnet.cidr)
    router = subnet.gateway_ip if vif.default_route else None
    told: dict[int, bytes] = {
        options.LEASE_TIME: struct.pack("!I", LEASE_SECONDS),
        options.NETMASK: network.netmask.packed,
    }
    if router is not None:
        told[options.ROUTER] = options.addresses(router)
    servers = [server for server in subnet.dns_nameservers if ip_address(server).version == 4]
    if servers:
        told[options.DNS_SERVER] = options.addresses(",".join(servers))
    told[options.MTU] = struct.pack("!H", vif.network.mtu)
    # A client that reads these ignores the router option (RFC 3442), so they repeat the default route. Metadata is on
    # the link itself: there may be no router, or one that knows nothing of it.
    default = [("0.0.0.0/0", router)] if router is not None else []
    routes = [(f"{RESPONDER_ADDRESS}/32", "0.0.0.0"), *subnet.host_routes, *default]  # noqa: S104 - nothing is bound
    told[options.CLASSLESS_ROUTES] = options.classless(routes)
    if _HOSTNAME.fullmatch(vif.hostname):
        told[options.HOSTNAME] = vif.hostname.encode("ascii")
    next_server = NOBODY
    for name, value, ip_version in vif.nic.extra_dhcp_opts:
        encoded = options.encode(name, value) if ip_version == 4 else None
        if name == options.SERVER_ADDRESS and ip_version == 4:
            try:
                next_server = IPv4Address(value)
            except ValueError:
                _log_option(vif, name, value)
        elif encoded is not None:
            code, data = encoded
            if data is None:
                told.pop(code, None)
            else:
                told[code] = data
        elif ip_version == 4:
            _log_option(vif, name, value)
    if next_server == NOBODY and (named := told.get(options.TFTP_SERVER)) is not None:
        # Boot loaders read the header rather than the option.
        next_server = _address_or_nobody(named)
    if network.prefixlen < 31:
        told.setdefault(options.BROADCAST, network.broadcast_address.packed)
    return Lease(
        port_id=vif.nic.port_id,
        mac=bytes.fromhex(vif.nic.mac_address.replace(":", "")),
        address=address,
        options=tuple(told.items()),
        next_server=next_server,
        bootfile=told.get(options.BOOTFILE, b""),
    )


def _log_option(vif: VifPlan, name: str, value: str) -> None:
    log.warning("DHCP option %r=%r left out", name, value, extra={"action": "dhcp", "port": vif.nic.port_id})


_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def _address_or_nobody(text: bytes) -> IPv4Address:
    try:
        return IPv4Address(text.decode("ascii", "replace"))
    except ValueError:
        return NOBODY


def answer(request: packet.Request, lease: Lease, mac: bytes) -> bytes | None:
    """The frame that answers a client (RFC 2131, section 4.3), from a server whose MAC is `mac`; None for silence."""
    match request.message:
        case packet.DISCOVER:
            return _reply(packet.OFFER, request, lease, mac)
        case packet.REQUEST:
            if request.server not in (None, SERVER):
                return None
            wanted = request.requested if request.client == NOBODY else request.client
            if wanted is None:
                return None
            return _reply(packet.ACK if wanted == lease.address else packet.NAK, request, lease, mac)
        case packet.INFORM:
            return _reply(packet.ACK, request, lease, mac)
        case _:
            return None


_TIMES = {options.LEASE_TIME, options.RENEWAL_TIME, options.REBINDING_TIME}


def _reply(message: int, request: packet.Request, lease: Lease, mac: bytes) -> bytes:
    told = [(packet.MESSAGE_TYPE, bytes([message])), (packet.SERVER_ID, SERVER.packed)]
    your, target = lease.address, EVERYBODY
    if message == packet.NAK:
        your = NOBODY
        content = packet.build_reply(request, your=NOBODY, next_server=NOBODY, bootfile=b"", options=told)
    else:
        informed = request.message == packet.INFORM
        told += [(code, data) for code, data in lease.options if not (informed and code in _TIMES)]
        if informed:
            your = NOBODY
        if request.client != NOBODY:
            target = request.client
        elif not request.flags & 0x8000:
            target = lease.address
        content = packet.build_reply(
            request, your=your, next_server=lease.next_server, bootfile=lease.bootfile, options=told
        )
    # To the one MAC that asked, also where the IP address says everybody: nobody else has use for it.
    return packet.build_frame(source_mac=mac, target_mac=request.mac, source=SERVER, target=target, message=content)


class Dhcp:
    """The responders of all bridges, on the event loop.

    `others(frame, bridge, MAC)` answers what the same sockets hear and is not DHCPv4.
    """

    def __init__(self, others: Callable[[bytes, str, bytes], bytes | None] = lambda frame, bridge, mac: None) -> None:
        self._others = others
        self._sockets: dict[str, socket.socket] = {}
        self._leases: dict[str, dict[bytes, Lease]] = {}
        self._places: dict[PortId, tuple[str, bytes]] = {}

    def serve(self, bridge: str, listener: socket.socket, mac: bytes) -> None:
        """Answer on a bridge; the socket is ours from here on. It takes the place of the one before, if any."""
        self.stop(bridge)
        self._sockets[bridge] = listener
        asyncio.get_running_loop().add_reader(listener, self._read, bridge, listener, mac)

    def stop(self, bridge: str) -> None:
        """Answer no longer on a bridge. Its leases stay, for a socket that comes later."""
        if (listener := self._sockets.pop(bridge, None)) is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()

    def close(self) -> None:
        for bridge in list(self._sockets):
            self.stop(bridge)

    def offer(self, bridge: str, lease: Lease) -> None:
        """Tell a NIC this from now on, in place of what it was told before."""
        self.withdraw(lease.port_id)
        self._leases.setdefault(bridge, {})[lease.mac] = lease
        self._places[lease.port_id] = (bridge, lease.mac)

    def withdraw(self, port_id: PortId) -> None:
        """Tell a NIC nothing any more."""
        if (place := self._places.pop(port_id, None)) is not None:
            bridge, mac = place
            leases = self._leases[bridge]
            if leases[mac].port_id == port_id:
                del leases[mac]
            if not leases:
                del self._leases[bridge]

    def keep(self, port_ids: Container[PortId]) -> None:
        """Tell no NIC anything but these."""
        for port_id in [port_id for port_id in self._places if port_id not in port_ids]:
            self.withdraw(port_id)

    def _read(self, bridge: str, listener: socket.socket, mac: bytes) -> None:
        for _ in range(_BATCH):
            try:
                frame = listener.recv(2048)
            except OSError:
                # Nothing more to read, or the bridge is down or gone; a new bridge brings a new socket.
                return
            if (reply := self._reply_to(frame, bridge, mac)) is not None:
                # A full queue: the client asks again.
                with suppress(OSError):
                    listener.send(reply)

    def _reply_to(self, frame: bytes, bridge: str, mac: bytes) -> bytes | None:
        question = packet.parse(frame)
        if question is None:
            return self._others(frame, bridge, mac)
        if (lease := self._leases.get(bridge, {}).get(question.mac)) is None:
            return None
        return answer(question, lease, mac)
