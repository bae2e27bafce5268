"""The raw socket through which a bridge's responders (DHCPv4, DHCPv6, router advertisements) hear and speak."""

import ctypes
import socket
import struct

from polyport.dataplane import DataplaneError
from polyport.dataplane.bridge.dhcp_packet import SERVER_PORT

ROUTER_SOLICITATION = 133
SERVER_PORT_6 = 547


class ListenFailed(DataplaneError):
    """Nobody can be answered on bridge {bridge}: {reason}."""


_SO_ATTACH_FILTER = 26
_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_QDISC_BYPASS = 20

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_AT_X, _LOAD_X_HEADER = 0x48, 0xB1
_IF_EQUAL, _IF_SET, _RETURN = 0x15, 0x45, 0x06
_PACKET_TYPE, _VLAN_PRESENT = 0xFFFFF004, 0xFFFFF030

# Instruction, how many lines to skip if true and if not, operand. Offsets count from the Ethernet header.
_FILTER = (
    (_LOAD_WORD, 0, 0, _PACKET_TYPE),
    (_IF_EQUAL, 19, 0, 4),  # sent by this host
    (_LOAD_WORD, 0, 0, _VLAN_PRESENT),
    (_IF_EQUAL, 0, 17, 0),
    (_LOAD_HALF, 0, 0, 12),
    (_IF_EQUAL, 0, 7, 0x0800),  # IPv4 ...
    (_LOAD_BYTE, 0, 0, 23),
    (_IF_EQUAL, 0, 13, 17),  # ... UDP ...
    (_LOAD_HALF, 0, 0, 20),
    (_IF_SET, 11, 0, 0x3FFF),  # ... whole ...
    (_LOAD_X_HEADER, 0, 0, 14),
    (_LOAD_HALF_AT_X, 0, 0, 16),
    (_IF_EQUAL, 9, 8, SERVER_PORT),
    (_IF_EQUAL, 0, 7, 0x86DD),  # IPv6 ...
    (_LOAD_BYTE, 0, 0, 20),
    (_IF_EQUAL, 0, 2, 58),  # ... ICMPv6 ...
    (_LOAD_BYTE, 0, 0, 54),
    (_IF_EQUAL, 4, 3, ROUTER_SOLICITATION),
    (_IF_EQUAL, 0, 2, 17),  # ... or UDP
    (_LOAD_HALF, 0, 0, 56),
    (_IF_EQUAL, 1, 0, SERVER_PORT_6),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, 2048),
)


def listen(bridge: str) -> socket.socket:
    """A socket that hears DHCP requests and router solicitations on a bridge of this thread's namespace."""
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _FILTER))
        attach = struct.pack("HL", len(_FILTER), ctypes.addressof(program))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attach)
        # A bridge's queue starts up to a second after its first port does, and drops frames until then.
        listener.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        # The protocol comes last: no frame gets in before the filter.
        listener.bind((bridge, _ETH_P_ALL))
    except OSError as error:
        listener.close()
        raise ListenFailed(bridge=bridge, reason=error.strerror) from error
    return listener
