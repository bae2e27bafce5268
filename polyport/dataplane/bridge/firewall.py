"""Plans -> nftables text. Pure: nothing here touches the host.

One table holds everything (`table.nft`). Its chains never change while the host runs; what changes are the
elements of its sets and maps, so that a frame costs the same with one port and with thousands:

    from_guest (prerouting)       from a known port? -- port_security -- flood limit -- to the responder
    between_siblings (forward)    the tighter flood limit between two NICs of one server on one network

Chains for security groups have their place at the forward hook (`FORWARD_PRIORITIES`). The packet mark holds
the network's number and, in its low bits, room for the state of a connection. A port that is in no set is not
heard: its elements come before its link is up.

Which elements a NIC has depends on its siblings (the other NICs of its server on the same network), and on
nothing else; `elements_of` is given one such group at a time.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    collapse_addresses,
    ip_interface,
)
from string import Template
from typing import NamedTuple

from polyport.config import DataplaneConfig
from polyport.dataplane import DataplaneError, VifPlan
from polyport.dataplane.bridge.network import RESPONDER_ADDRESS, mark_of, responder_mac
from polyport.names import tap_of

TABLE = "bridge polyport"

FORWARD_PRIORITIES: Mapping[str, int] = {"between_siblings": -50, "from_port": 10, "to_port": 20}
"""Priorities at the forward hook. A chain that accepts ends itself only, so each of them can drop."""

SETS = (
    *("known", "unguarded", "watched", "siblings", "owners", "kin", "macs"),
    *("ip4s", "cidr4s", "ip6s", "cidr6s", "nd6s", "ndcidr6s"),
)
MAPS = ("ports", "hosts")

MOST_MTU = 65521
"""Of a tap; 68 is the least that IPv4 allows."""

_TEMPLATE = Template(files(__package__).joinpath("table.nft").read_text(encoding="ascii"))


class BadVif(DataplaneError):
    """The plan of port {port_id} cannot be carried out: {reason}."""


class Element(NamedTuple):
    """An element of one of the table's sets or maps, as nft writes it."""

    set: str
    value: str


def base_of(config: DataplaneConfig) -> str:
    """The table without elements: the text to load into an empty namespace."""
    text = _TEMPLATE.substitute(
        responder=RESPONDER_ADDRESS,
        between_siblings=FORWARD_PRIORITIES["between_siblings"],
        broadcast_rate=config.broadcast_rate,
        broadcast_burst=config.broadcast_burst,
        sibling_rate=config.sibling_rate,
    )
    return f"{text}\nadd chain {TABLE} {_label(text)}\n"


def label_of(config: DataplaneConfig) -> str:
    """The name of an empty chain by which a loaded table is known to be `base_of(config)`."""
    return _label(base_of(config).rpartition("\nadd chain ")[0])


def _label(text: str) -> str:
    return "base_" + hashlib.sha256(text.encode()).hexdigest()[:16]


def change(added: Iterable[Element], removed: Iterable[Element] = ()) -> str:
    """The text that takes and adds elements, to be loaded as one transaction; empty for nothing to do."""
    lines = []
    for verb, elements in (("delete", removed), ("add", added)):
        values: dict[str, list[str]] = {}
        for element in sorted(elements):
            values.setdefault(element.set, []).append(element.value)
        lines += [f"{verb} element {TABLE} {name} {{ {', '.join(some)} }}\n" for name, some in values.items()]
    return "".join(lines)


def difference(old: Collection[Element], new: Collection[Element]) -> str:
    """The text that leads from one state to another; what is in both stays, so no frame meets a gap."""
    return change(set(new) - set(old), set(old) - set(new))


def elements_of(siblings: Iterable[VifPlan]) -> frozenset[Element]:
    """The elements of the NICs of one server on one network. Raises `BadVif`.

    A NIC whose port or network is administratively down has none: it is neither heard nor spoken to.
    """
    ports = [_Port(vif) for vif in siblings if is_up(vif)]
    elements: set[Element] = set()
    for port in ports:
        elements |= port.plumbing()
        others = [other for other in ports if other is not port]
        elements |= {Element("siblings", f"{port.name} . {other.name}") for other in others}
        if not port.guarded:
            elements |= {Element("unguarded", port.name), Element("watched", port.mark)}
            elements |= {Element("kin", f"{port.name} . {each.mac}") for each in ports}
            continue
        # An unmodified guest with two NICs on one subnet answers for either address on either NIC. So what one
        # NIC of a server may use the others may use too, each with its own MAC.
        shared = [(port.mac, address) for other in others for address in other.own]
        elements |= port.identity([*port.pairs, *shared])
    return frozenset(elements)


def check(vif: VifPlan) -> None:
    """Raises `BadVif` where the plan holds a value that cannot be carried out."""
    if not 68 <= vif.network.mtu <= MOST_MTU:
        raise BadVif(port_id=vif.nic.port_id, reason=f"its MTU {vif.network.mtu} is not in 68..{MOST_MTU}")
    _Port(vif)


def is_up(vif: VifPlan) -> bool:
    return vif.nic.admin_state_up and vif.network.admin_state_up


def tap_in(element: Element) -> str | None:
    """The tap an element is about; None where it is about a network."""
    return element.value.split('"', 2)[1] if element.value.startswith('"') else None


MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TAP = re.compile(r"tap[0-9a-f]{8}-[0-9a-f]{2}")


class _Port:
    """A vif with every value checked, in the form nft writes it."""

    def __init__(self, vif: VifPlan) -> None:
        nic = vif.nic
        self._port_id = nic.port_id
        tap = tap_of(nic.port_id)
        if not _TAP.fullmatch(tap):
            raise BadVif(port_id=nic.port_id, reason="its id is not a UUID")
        self.name = f'"{tap}"'
        self.mac = self._mac(nic.mac_address)
        if not _is_unicast(self.mac):
            raise BadVif(port_id=nic.port_id, reason=f"its MAC {self.mac} is no unicast address")
        self.guarded = nic.port_security_enabled
        self.mark = hex(mark_of(vif.network.id))
        self.responder = responder_mac(vif.network.id)
        fixed = [(self.mac, self._address(each.ip_address)) for each in nic.fixed_ips]
        given = [(self._mac(each.mac_address), self._address(each.ip_address)) for each in nic.allowed_address_pairs]
        # A group MAC in a pair allows nothing (bridges drop frames from one), and must not become a known one:
        # that would lift the flood limit for broadcasts.
        self.pairs = [*fixed, *((mac, address) for mac, address in given if _is_unicast(mac))]
        self.own = [address for mac, address in self.pairs if mac == self.mac]

    def _mac(self, text: str) -> str:
        mac = text.lower()
        if not MAC.fullmatch(mac):
            raise BadVif(port_id=self._port_id, reason=f"{text!r} is not a MAC address")
        return mac

    def _address(self, text: str) -> IPv4Interface | IPv6Interface:
        try:
            address = ip_interface(text)
        except ValueError as error:
            raise BadVif(port_id=self._port_id, reason=f"{text!r} is not an address") from error
        if isinstance(address, IPv6Interface) and address.scope_id is not None:
            raise BadVif(port_id=self._port_id, reason=f"{text!r} has a scope")
        return address

    def plumbing(self) -> set[Element]:
        """What every port has, guarded or not."""
        macs = {mac for mac, _ in self.pairs} | {self.mac}
        return {
            Element("ports", f"{self.name} : {self.mark}"),
            Element("hosts", f"{self.mark} : {self.responder}"),
            Element("known", f"{self.mark} . {self.responder}"),
            Element("owners", f"{self.name} . {self.mac}"),
            *(Element("known", f"{self.mark} . {mac}") for mac in macs),
            *(Element("macs", f"{self.name} . {mac}") for mac in macs),
        }

    def identity(self, pairs: Sequence[tuple[str, IPv4Interface | IPv6Interface]]) -> set[Element]:
        """What a guarded port may say it is."""
        elements = set()
        ranges: dict[str, list[IPv4Network | IPv6Network]] = {self.mac: []}
        for mac, address in pairs:
            ranges.setdefault(mac, []).append(address.network)
        for mac, networks in ranges.items():
            place = f"{self.name} . {mac}"
            four = [each for each in networks if isinstance(each, IPv4Network)]
            six = [each for each in networks if isinstance(each, IPv6Network)]
            six.append(IPv6Network(_link_local(mac)))
            # Ranges that overlap would be refused, so what lies in a wider one is left out.
            for net in collapse_addresses(four):
                elements.add(
                    Element("ip4s", f"{place} . {net.network_address}")
                    if net.prefixlen == 32
                    else Element("cidr4s", f"{place} . {net}")
                )
            for net6 in collapse_addresses(six):
                first, last = hex(int(net6.network_address)), hex(int(net6.broadcast_address))
                if net6.prefixlen == 128:
                    elements.add(Element("ip6s", f"{place} . {net6.network_address}"))
                    elements.add(Element("nd6s", f"{place} . {first}"))
                else:
                    elements.add(Element("cidr6s", f"{place} . {net6}"))
                    elements.add(Element("ndcidr6s", f"{place} . {first}-{last}"))
        return elements


def _is_unicast(mac: str) -> bool:
    return mac != "00:00:00:00:00:00" and not int(mac[:2], 16) & 1


def _link_local(mac: str) -> IPv6Address:
    """The address every IPv6 host gives itself, by the modified EUI-64 of RFC 4291."""
    octets = bytes.fromhex(mac.replace(":", ""))
    tail = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return IPv6Address(b"\xfe\x80" + bytes(6) + tail)
