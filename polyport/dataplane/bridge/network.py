"""What the host side of a network and of its ports is called and numbered, derived from their ids."""

from polyport.dataplane import METADATA_ADDRESS, DataplaneError
from polyport.ids import NetworkId, PortId

RESPONDER_ADDRESS = METADATA_ADDRESS
"""The host's own address on every network: the DHCP server id too.

No subnet can contain it, so it never meets an address of a guest, also not where a guest is the gateway.
"""

CONNECTION_BITS = 4
"""The low bits of a packet mark, free for the state of its connection; the network's number stands above."""


class BadNetworkId(DataplaneError):
    """The network id {id} is not a UUID."""


def _digits(network_id: NetworkId) -> str:
    digits = network_id.replace("-", "").lower()
    if len(digits) != 32 or set(digits) - set("0123456789abcdef"):
        raise BadNetworkId(id=network_id)
    return digits


def mark_of(network_id: NetworkId) -> int:
    """The packet mark of frames on this network; never 0, which is that of frames from no known port."""
    number = int(_digits(network_id)[:7], 16) or 1
    return number << CONNECTION_BITS


def asker_of(port_id: PortId) -> int:
    """The packet mark by which a connection to the metadata service tells the port it came in by; never 0.

    It is the end of what the tap is named by, in which ports that were made together differ. Others may share one (28
    bits of their ids count): who reads it has to look whether it is one port's alone.
    """
    number = int(port_id.replace("-", "")[3:10], 16) or 1
    return number << CONNECTION_BITS


def responder_mac(network_id: NetworkId) -> str:
    """The MAC of the network's bridge: locally administered, and fixed.

    Left alone, a bridge takes the lowest MAC of its ports, and so changes it as ports come and go.
    """
    digits = _digits(network_id)[:10]
    return ":".join(["fe", *(digits[place : place + 2] for place in range(0, 10, 2))])
