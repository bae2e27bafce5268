"""What a client asks for in `networks`: each entry becomes one NIC, in the order given.

One network may be named any number of times. An entry names a network (a port is made on it) or a port that is there
already; where it names both, the port wins. Everything that can be known to be wrong is found here, before anything is
made, and every error names its entry. Words and kinds are those OpenStack answers a boot with.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from polyport.context import Context
from polyport.db.engine import Tx
from polyport.errors import Conflict, Forbidden, Invalid, NotFound, OverQuota, PolyportError
from polyport.ids import HostName, NetworkId, PortId, SecurityGroupId
from polyport.network import ipam, networks, ports, security_groups
from polyport.network.ports import NewPort, Port
from polyport.quotas import QuotaExceeded

OWNER = "compute:"
"""`device_owner` of a server's port is this and the server's zone."""


class NetworkMissing(Invalid):
    """Network {network_id} could not be found.{at}"""


class PortMissing(Invalid):
    """Port id {port_id} could not be found.{at}"""


class PortTaken(Conflict):
    """Port {port_id} is still in use.{at}"""


class PortTwice(Invalid):
    """Port ID '{port_id}' was specified twice: you cannot attach a port multiple times.{at}"""


class PortWithFixedIp(Invalid):
    """Specified Fixed IP '{fixed_ip}' cannot be used with port '{port_id}': the two cannot be specified
    together.{at}"""


class NothingNamed(Invalid):
    """Bad network format: missing 'uuid'{at}"""


class NetworkWithoutSubnet(Invalid):
    """Network {network_id} requires a subnet in order to boot instances on.{at}"""


class NetworkAmbiguous(Conflict):
    """Multiple possible networks found, use a Network ID to be more specific."""


class NoNetworkToChoose(Invalid):
    """Unable to automatically allocate a network for project {project_id}"""


class FixedIpTaken(Invalid):
    """Fixed IP address {fixed_ip} is already in use.{at}"""


class FixedIpInvalid(Invalid):
    """Fixed IP {fixed_ip} is not a valid ip address for network {network_id}.{at}"""


class NoAddressLeft(Invalid):
    """No fixed IP addresses available for network: {network_id}{at}"""


class PortQuotaExceeded(OverQuota):
    """Maximum number of ports exceeded"""


class NotAllowed(Forbidden):
    """{words}{at}"""


class EntryInvalid(Invalid):
    """{words}{at}"""


class SecurityGroupMissing(Invalid):
    """Unable to find security_group with name or id '{name}'"""


class SecurityGroupAmbiguous(Conflict):
    """Multiple security_group matches found for name '{name}', use an ID to be more specific."""


class WantedNic(Struct, frozen=True, kw_only=True):
    """One entry as it was sent."""

    network_id: str | None = None
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None


Choice: TypeAlias = Literal["auto", "none", "left out"] | Sequence[WantedNic]


class Resolved(Struct, frozen=True, kw_only=True):
    """An entry that was found good: a port that is there, or a network to make one on."""

    port: Port | None = None
    network_id: NetworkId
    fixed_ip: str | None = None
    tag: str | None = None
    at: str = ""
    """How errors call the entry."""


def resolve(tx: Tx, context: Context, choice: Choice) -> list[Resolved]:
    """The entries of `networks`, checked against what the caller sees: three queries at most, however many."""
    if choice == "none":
        return []
    if isinstance(choice, str) or not choice:
        return _chosen(tx, context, choice)
    return _resolve(tx, context, choice, [f" (networks[{index}])" for index in range(len(choice))])


def resolve_one(tx: Tx, context: Context, wanted: WantedNic) -> Resolved:
    """The same for a single NIC that is attached; without a network or port it goes on the project's only network."""
    if wanted.network_id is None and wanted.port_id is None:
        chosen = _chosen(tx, context, "auto")
        return Resolved(network_id=chosen[0].network_id, fixed_ip=wanted.fixed_ip, tag=wanted.tag)
    return _resolve(tx, context, [wanted], [""])[0]


def security_group_ids(tx: Tx, context: Context, names: Sequence[str]) -> tuple[SecurityGroupId, ...] | None:
    """The groups a client names (or gives ids of) for the ports made for a server; None is the project's default."""
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return None
    found = security_groups.groups_by_name(tx, context, wanted)
    ids: list[SecurityGroupId] = []
    for name in wanted:
        if not found[name] and name == "default":
            ids.append(security_groups.default_group(tx, context.project_id))
        elif not found[name]:
            raise SecurityGroupMissing(name=name[:255])
        elif len(found[name]) > 1:
            raise SecurityGroupAmbiguous(name=name[:255])
        else:
            ids.append(found[name][0])
    return tuple(ids)


def create_ports(
    tx: Tx, context: Context, wanted: Sequence[NewPort], at: Sequence[str], *, counted: bool = False
) -> list[Port]:
    """Make the ports of NICs, in OpenStack's words where one cannot be had. `at` names the entry of each port."""
    try:
        return ports.create_ports(tx, context, wanted, counted=counted)
    except QuotaExceeded as error:
        raise PortQuotaExceeded from error
    except (Invalid, Conflict, Forbidden, NotFound) as error:
        index = error.facts.get("index")
        place = at[index] if isinstance(index, int) else ""
        network_id = wanted[index].network_id if isinstance(index, int) else ""
        raise _in_words(error, network_id, place) from error


def bind_ports(tx: Tx, slots: Mapping[PortId, int], *, server_id: str, zone: str, host: str, at: Sequence[str]) -> None:
    """Put ports that were brought along to use. Raises `PortTaken` for one that somebody else was faster with."""
    try:
        ports.bind_ports(tx, slots, device_id=server_id, device_owner=OWNER + zone, host=HostName(host))
    except ports.PortInUse as error:
        index = error.facts["index"]
        place = at[index] if isinstance(index, int) else ""
        raise PortTaken(port_id=error.facts["port_id"], at=place) from error


def _in_words(error: PolyportError, network_id: str, at: str) -> PolyportError:
    if isinstance(error, ipam.IpAddressInUse):
        return FixedIpTaken(fixed_ip=error.facts["ip_address"], at=at)
    if isinstance(error, ipam.InvalidIpForNetwork | ipam.InvalidIpForSubnet):
        return FixedIpInvalid(fixed_ip=error.facts["ip_address"], network_id=network_id, at=at)
    if isinstance(error, ipam.IpAddressGenerationFailure):
        return NoAddressLeft(network_id=network_id, at=at)
    if isinstance(error, Forbidden):
        return NotAllowed(words=error.message, at=at)
    return EntryInvalid(words=error.message, at=at)


def _resolve(tx: Tx, context: Context, wanted: Sequence[WantedNic], at: Sequence[str]) -> list[Resolved]:
    for place, entry in zip(at, wanted, strict=True):
        if entry.network_id is None and entry.port_id is None:
            raise NothingNamed(at=place)
        if entry.port_id is not None and entry.fixed_ip is not None:
            raise PortWithFixedIp(fixed_ip=entry.fixed_ip, port_id=entry.port_id, at=place)
    brought = _ports_of(tx, context, wanted, at)
    known = _networks_of(tx, context, wanted)
    found = []
    for place, entry in zip(at, wanted, strict=True):
        if entry.port_id is not None:
            port = brought[entry.port_id]
            found.append(Resolved(port=port, network_id=port.network_id, tag=entry.tag, at=place))
            continue
        network_id = NetworkId(entry.network_id or "")
        if network_id not in known:
            raise NetworkMissing(network_id=network_id, at=place)
        if not known[network_id]:
            raise NetworkWithoutSubnet(network_id=network_id, at=place)
        found.append(Resolved(network_id=network_id, fixed_ip=entry.fixed_ip, tag=entry.tag, at=place))
    return found


def _ports_of(tx: Tx, context: Context, wanted: Sequence[WantedNic], at: Sequence[str]) -> dict[str, Port]:
    """The ports that were brought along: each there, free, and named once."""
    named: set[str] = set()
    for place, entry in zip(at, wanted, strict=True):
        if entry.port_id is None:
            continue
        if entry.port_id in named:
            raise PortTwice(port_id=entry.port_id, at=place)
        named.add(entry.port_id)
    if not named:
        return {}
    found = ports.read_ports(tx, [PortId(port_id) for port_id in named])
    for place, entry in zip(at, wanted, strict=True):
        if entry.port_id is None:
            continue
        port = found.get(PortId(entry.port_id))
        if port is None or (port.project_id != context.project_id and not context.is_admin):
            raise PortMissing(port_id=entry.port_id, at=place)
        if port.device_id:
            raise PortTaken(port_id=entry.port_id, at=place)
    return {port.id: port for port in found.values()}


def _networks_of(tx: Tx, context: Context, wanted: Sequence[WantedNic]) -> dict[NetworkId, bool]:
    """The networks that are named, and whether they have a subnet."""
    ids = {NetworkId(entry.network_id) for entry in wanted if entry.port_id is None and entry.network_id}
    return networks.with_subnets(tx, context, ids) if ids else {}


def _chosen(tx: Tx, context: Context, choice: object) -> list[Resolved]:
    """Nothing was named: the project's only network, or, unless one must be had, none."""
    usable = networks.usable_networks(tx, context)
    if len(usable) > 1:
        raise NetworkAmbiguous
    if not usable:
        if choice == "auto":
            raise NoNetworkToChoose(project_id=context.project_id)
        return []
    if not usable[0].subnets:
        raise NetworkWithoutSubnet(network_id=usable[0].id, at="")
    return [Resolved(network_id=usable[0].id)]
