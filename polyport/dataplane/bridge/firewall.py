"""Plans -> nftables text. Pure: nothing here touches the host.

One table holds everything (`table.nft`). Its chains never change while the host runs; what changes are the
elements of its sets and maps, so that a frame costs the same with one port and with thousands:

    from_guest (prerouting)       from a known port? -- port_security -- flood limit -- to the responder
    to_host (input)               the address of the responder, and nothing else of this host
    from_host (output)            what the metadata service says goes to the server that asked
    between_siblings (forward)    the tighter flood limit between two NICs of one server on one network

Security groups have tables of their own (`groups`). The packet mark holds the network's number and, in its low bits,
room for the state of a connection. A port that is in no set is not
heard: its elements come before its link is up.

Which elements a NIC has depends on its siblings (the other NICs of its server on the same network), and on
nothing else.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from importlib.resources import files
from ipaddress import (
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
from polyport.dataplane.bridge.causes import NUMBERS
from polyport.dataplane.bridge.network import RESPONDER_ADDRESS, asker_of, mark_of, responder_mac
from polyport.dataplane.bridge.probe import ETHERTYPE, probe_mac
from polyport.names import tap_of

TABLE = "bridge polyport"

FORWARD_PRIORITIES: Mapping[str, int] = {"to_looped": -60, "between_siblings": -50}
"""Priorities at the forward hook. A chain that accepts ends itself only, so each of them can drop. Those of security
groups are in `groups.PRIORITIES`; they leave the mark as it is here."""

SETS = (
    *("known", "unguarded", "watched", "siblings", "owners", "kin", "macs", "probed", "answers"),
    *("ip4s", "cidr4s", "ip6s", "cidr6s", "nd6s", "ndcidr6s"),
)
MAPS = ("ports", "hosts", "askers", "flood_limits", "pair_limits")
LIMITS = "limits"
"""Not a set: elements of this name are limits that ports have of their own, as `"tap" name rate burst`."""

QUARANTINE = 6
"""Seconds a looped port stays quarantined after the last probe came back."""

PROBE_GROUP = 7
"""The NFLOG group (of our own network namespace) that probes which come back are logged to."""

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
        to_looped=FORWARD_PRIORITIES["to_looped"],
        probe_type=hex(ETHERTYPE),
        probe_group=PROBE_GROUP,
        quarantine=QUARANTINE,
        broadcast_rate=config.broadcast_rate,
        broadcast_burst=config.broadcast_burst,
        sibling_rate=config.sibling_rate,
        **NUMBERS,
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
        limits = [_limit(verb, value) for value in values.pop(LIMITS, ())]
        some = [f"{verb} element {TABLE} {name} {{ {', '.join(each)} }}\n" for name, each in values.items()]
        # A limit is there before the element that names it, and goes after it.
        lines += limits + some if verb == "add" else some + limits
    return "".join(lines)


def _limit(verb: str, value: str) -> str:
    _, name, rate, burst = value.split()
    if verb == "delete":
        return f"delete limit {TABLE} {name}\n"
    return f"add limit {TABLE} {name} {{ rate over {rate}/second burst {burst} packets }}\n"


def limit_of(name: str, rate: int, burst: int) -> Element | None:
    """The element of a limit that was found in the kernel; None where it is none of ours."""
    found = _LIMIT.match(name)
    return Element(LIMITS, f'"tap{found[1]}-{found[2]}" {name} {rate} {burst}') if found else None


def difference(old: Collection[Element], new: Collection[Element]) -> str:
    """The text that leads from one state to another; what is in both stays, so no frame meets a gap."""
    return change(set(new) - set(old), set(old) - set(new))


def elements_of(siblings: Iterable[VifPlan]) -> frozenset[Element]:
    """The elements of the NICs of one server on one network. Raises `BadVif`."""
    ports = [Port(vif) for vif in siblings]
    return frozenset(wishes_of(ports, ports))


def wishes_of(siblings: Iterable["Port"], about: Iterable["Port"]) -> Counter[Element]:
    """What is wanted in the sets because of the ports `about`, of the NICs of one server on one network.

    Counted, as more than one of them may be the reason. What a plug changes is the difference between the wishes about
    the new port with and without it: work that grows with the number of siblings, not with its square.

    A port that is administratively down has no elements: it is neither heard nor spoken to.
    """
    ports = [port for port in siblings if port.up]
    asked = {port for port in about if port.up}
    wishes: Counter[Element] = Counter()
    for port in asked:
        wishes.update(port.plumbing())
        for other in ports:
            if other is not port:
                wishes.update(port.beside(other))
                if other not in asked:
                    wishes.update(other.beside(port))
    # Ranges that overlap would be refused, so those of all siblings are seen together.
    wide = any(port.ranges for port in ports)
    for port in ports:
        if wide and port.guarded:
            wishes.update(port.within(other for other in ports if other is not port))
    return wishes


def tap_in(element: Element) -> str | None:
    """The tap an element is about; None where it is about a network."""
    return element.value.split('"', 2)[1] if element.value.startswith('"') else None


def is_up(vif: VifPlan) -> bool:
    return vif.nic.admin_state_up and vif.network.admin_state_up


MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TAP = re.compile(r"tap[0-9a-f]{8}-[0-9a-f]{2}")


_LIMIT = re.compile(r"(?:flood|pair)_tap([0-9a-f]{8})_([0-9a-f]{2})_")
MOST_RATE = 1_000_000


class Port:
    """A vif with every value checked, in the form nft writes it. Raises `BadVif`."""

    def __init__(self, vif: VifPlan) -> None:
        nic = vif.nic
        self.vif = vif
        self.up = is_up(vif)
        self.guarded = nic.port_security_enabled
        tap = tap_of(nic.port_id)
        if not _TAP.fullmatch(tap):
            raise self._bad("its id is not a UUID")
        if not 68 <= vif.network.mtu <= MOST_MTU:
            raise self._bad(f"its MTU {vif.network.mtu} is not in 68..{MOST_MTU}")
        self.name = f'"{tap}"'
        self.mac = self._mac(nic.mac_address)
        if not _is_unicast(self.mac):
            raise self._bad(f"its MAC {self.mac} is no unicast address")
        self.flood = self._flood_limit()
        self.sibling_rate = self._sibling_rate()
        self.mark = hex(mark_of(vif.network.id))
        self.asker = hex(asker_of(nic.port_id))
        self.responder = responder_mac(vif.network.id)
        self.addresses: dict[str, set[tuple[str, str]]] = {self.mac: set()}
        """MAC -> set and value of each single address the port may use with it, besides its link-local one."""
        self.ranges: dict[str, list[IPv4Network | IPv6Network]] = {}
        """The same of wider ones."""
        for fixed in nic.fixed_ips:
            self._allow(self.mac, fixed.ip_address)
        for pair in nic.allowed_address_pairs:
            mac = self._mac(pair.mac_address)
            # A group MAC in a pair allows nothing (bridges drop frames from one), and must not become a known
            # one: that would lift the flood limit for broadcasts.
            if _is_unicast(mac):
                self._allow(mac, pair.ip_address)

    def _bad(self, reason: str) -> BadVif:
        return BadVif(port_id=self.vif.nic.port_id, reason=reason)

    def _mac(self, text: str) -> str:
        mac = text.lower()
        if not MAC.fullmatch(mac):
            raise self._bad(f"{text!r} is not a MAC address")
        return mac

    def _allow(self, mac: str, text: str) -> None:
        try:
            address = ip_interface(text)
        except ValueError as error:
            raise self._bad(f"{text!r} is not an address") from error
        if isinstance(address, IPv6Interface) and address.scope_id is not None:
            raise self._bad(f"{text!r} has a scope")
        network = address.network
        single = self.addresses.setdefault(mac, set())
        if network.prefixlen == network.max_prefixlen:
            single.update(_written(network))
        else:
            self.ranges.setdefault(mac, []).append(network)

    def _flood_limit(self) -> tuple[int, int] | None:
        """Rate and burst of broadcasts, where they are not the host's own; what the port says goes first."""
        for storm in (self.vif.nic.storm, self.vif.network.storm):
            if storm is not None and storm.flood_rate is not None:
                burst = 2 * storm.flood_rate if storm.flood_burst is None else storm.flood_burst
                return self._number(storm.flood_rate), self._number(burst)
        return None

    def _sibling_rate(self) -> int | None:
        for storm in (self.vif.nic.storm, self.vif.network.storm):
            if storm is not None and storm.sibling_rate is not None:
                return self._number(storm.sibling_rate)
        return None

    def _number(self, value: int) -> int:
        if not 1 <= value <= 2 * MOST_RATE:
            raise self._bad(f"the limit {value} is not in 1..{MOST_RATE}")
        return value

    def _limited(self, kind: str, key: str, taps: str, rate: int, burst: int) -> set[Element]:
        """A limit of the port's own, and where it counts. Its name says all, so that another limit is another one."""
        name = f"{kind}_{taps}_{rate}_{burst}".replace('"', "").replace("-", "_")
        return {
            Element(LIMITS, f"{self.name} {name} {rate} {burst}"),
            Element(f"{kind}_limits", f"{key} : {name}"),
        }

    def plumbing(self) -> set[Element]:
        """What the port has for itself."""
        elements = {
            Element("ports", f"{self.name} : {self.mark}"),
            Element("hosts", f"{self.mark} : {self.responder}"),
            Element("askers", f"{self.name} : {self.asker}"),
            Element("answers", f"{self.name} . {self.asker}"),
            Element("known", f"{self.mark} . {self.responder}"),
            Element("owners", f"{self.name} . {self.mac}"),
            *(Element("known", f"{self.mark} . {mac}") for mac in self.addresses),
            *(Element("macs", f"{self.name} . {mac}") for mac in self.addresses),
        }
        if self.flood is not None:
            elements |= self._limited("flood", self.name, self.name, *self.flood)
        if not self.guarded:
            return elements | {
                Element("unguarded", self.name),
                Element("watched", self.mark),
                Element("kin", f"{self.name} . {self.mac}"),
            }
        for mac, single in self.addresses.items():
            elements |= self._with(mac, single)
            elements |= self._with(mac, _written(IPv6Network(_link_local(mac))))
        return elements

    def beside(self, sibling: "Port") -> set[Element]:
        """What the port has because of another NIC of its server on its network.

        An unmodified guest with two NICs on one subnet answers for either address on either NIC. So what one NIC of
        a server may use the others may use too, each with its own MAC (unless its network says otherwise).
        """
        elements = {
            Element("siblings", f"{self.name} . {sibling.name}"),
            Element("answers", f"{self.name} . {sibling.asker}"),
        }
        if (self.vif.nic.slot, self.name) > (sibling.vif.nic.slot, sibling.name):
            # Of two that are joined the higher one is quarantined, so that the other stays in service.
            elements.add(Element("probed", f"{self.name} . {probe_mac(sibling.vif.nic.port_id)}"))
        if self.sibling_rate is not None:
            pair, taps = f"{self.name} . {sibling.name}", f"{self.name}_{sibling.name}"
            elements |= self._limited("pair", pair, taps, self.sibling_rate, self.sibling_rate)
        if not self.guarded:
            return elements | {Element("kin", f"{self.name} . {sibling.mac}")}
        if not self.vif.network.sibling_addresses:
            return elements
        return elements | self._with(self.mac, sibling.addresses[sibling.mac])

    def within(self, siblings: Iterable["Port"]) -> set[Element]:
        """The ranges the port may use, its siblings' included."""
        shared: list[IPv4Network | IPv6Network] = []
        if self.vif.network.sibling_addresses:
            shared = [network for sibling in siblings for network in sibling.ranges.get(sibling.mac, ())]
        elements = set()
        for mac in {self.mac, *self.ranges}:
            networks = self.ranges.get(mac, []) + (shared if mac == self.mac else [])
            for four in collapse_addresses(each for each in networks if isinstance(each, IPv4Network)):
                elements |= self._with(mac, _written(four))
            for six in collapse_addresses(each for each in networks if isinstance(each, IPv6Network)):
                elements |= self._with(mac, _written(six))
        return elements

    def _with(self, mac: str, written: Iterable[tuple[str, str]]) -> set[Element]:
        return {Element(name, f"{self.name} . {mac} . {value}") for name, value in written}


def _written(network: IPv4Network | IPv6Network) -> tuple[tuple[str, str], ...]:
    """The sets a network or single address is in, and how it is written there."""
    single = network.prefixlen == network.max_prefixlen
    first, last = int(network.network_address), int(network.broadcast_address)
    if isinstance(network, IPv4Network):
        return (("ip4s", str(network.network_address)),) if single else (("cidr4s", str(network)),)
    if single:
        return ("ip6s", str(network.network_address)), ("nd6s", hex(first))
    return ("cidr6s", str(network)), ("ndcidr6s", f"{hex(first)}-{hex(last)}")


def _is_unicast(mac: str) -> bool:
    return mac != "00:00:00:00:00:00" and not int(mac[:2], 16) & 1


def _link_local(mac: str) -> IPv6Address:
    """The address every IPv6 host gives itself, by the modified EUI-64 of RFC 4291."""
    octets = bytes.fromhex(mac.replace(":", ""))
    tail = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return IPv6Address(b"\xfe\x80" + bytes(6) + tail)
