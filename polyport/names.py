"""Host-side names, all derived from ids that are stored first: nothing can leak unnamed.

Linux allows 15 bytes in an interface name. A prefix and the first 11 characters of the UUID (10 hexadecimal digits
and a hyphen) fit, and are what operators know from OpenStack's own hosts.
"""

from polyport.ids import NetworkId, PortId, ServerId

TAP_PREFIX = "tap"
BRIDGE_PREFIX = "brq"


def tap_of(port_id: PortId) -> str:
    """The name of the tap device of a port."""
    return TAP_PREFIX + port_id[:11]


def bridge_of(network_id: NetworkId) -> str:
    """The name of the Linux bridge of a network."""
    return BRIDGE_PREFIX + network_id[:11]


def directory_of(server_id: ServerId) -> str:
    """The name of a server's own directory below the agent's state directory."""
    return server_id
