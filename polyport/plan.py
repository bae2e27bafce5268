"""The two values that pass between the cloud half and the host half.

    cloud half --- HostPlan: what should be --->  agent
    cloud half <-- HostReport: what is ---------  agent

Both are plain data (msgspec structs, JSON on the wire when the agent is on another machine). A plan is incremental: it
holds every server of the host that changed after the revision the agent names, or all of them when `whole` is true. The
agent keeps the sum. A server that shall go is in the plan as `wanted="gone"` until the agent has reported it gone.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from polyport.ids import HostName, ImageId, NetworkId, PortId, SecurityGroupId, ServerId, SubnetId


class FixedIp(Struct, frozen=True):
    """One address of a port."""

    subnet_id: SubnetId
    ip_address: str


class AddressPair(Struct, frozen=True):
    """An address (or CIDR) a port may use besides its own; `mac_address` is always filled in."""

    mac_address: str
    ip_address: str


class StormPlan(Struct, frozen=True, kw_only=True):
    """Limits of the storm guard where they differ from the host's own; None leaves the host's."""

    flood_rate: int | None = None
    """Broadcast, multicast and unknown-unicast frames a second that a port may send."""
    flood_burst: int | None = None
    sibling_rate: int | None = None
    """The same between two NICs of one server on one network."""


class NicPlan(Struct, frozen=True, kw_only=True):
    """One NIC of one server: a port in a slot. `slot` counts from 1 and is the NIC's for life."""

    port_id: PortId
    slot: int
    network_id: NetworkId
    mac_address: str
    fixed_ips: tuple[FixedIp, ...] = ()
    tag: str | None = None
    admin_state_up: bool = True
    port_security_enabled: bool = True
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    security_groups: tuple[SecurityGroupId, ...] = ()
    extra_dhcp_opts: tuple[tuple[str, str, int], ...] = ()
    """(option name, value, IP version) as the port's `extra_dhcp_opts` says."""
    storm: StormPlan | None = None
    default_route: bool = False
    """Whether the server's default routes shall be this NIC's; what comes of it, `agent.vifs.default_route` says."""


class RulePlan(Struct, frozen=True, kw_only=True):
    """One rule of a security group: what it lets pass."""

    id: str
    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"]
    protocol: int | None = None
    """The number in the IP header; None is any."""
    port_range_min: int | None = None
    """First port; for ICMP the type."""
    port_range_max: int | None = None
    """Last port; for ICMP the code."""
    remote_ip_prefix: str | None = None
    remote_group_id: SecurityGroupId | None = None
    """Peers are the addresses of ports in that group."""


class SecurityGroupPlan(Struct, frozen=True, kw_only=True):
    """A security group as the host needs it. Who is in it follows from the NICs of the plan."""

    id: SecurityGroupId
    stateful: bool = True
    rules: tuple[RulePlan, ...] = ()


class SubnetPlan(Struct, frozen=True, kw_only=True):
    """A subnet as the host needs it: to answer DHCP, to announce IPv6 prefixes and to write a config drive."""

    id: SubnetId
    cidr: str
    ip_version: Literal[4, 6]
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[tuple[str, str], ...] = ()
    """(destination CIDR, next hop)"""
    ipv6_address_mode: str | None = None
    ipv6_ra_mode: str | None = None


class NetworkPlan(Struct, frozen=True, kw_only=True):
    """A network that some NIC of this host is on."""

    id: NetworkId
    name: str
    mtu: int = 1500
    admin_state_up: bool = True
    subnets: tuple[SubnetPlan, ...] = ()
    storm: StormPlan | None = None
    sibling_addresses: bool = True
    """Whether a NIC may use the addresses of other NICs of its server on this network, as guests without policy
    routing do."""


class ImagePlan(Struct, frozen=True, kw_only=True):
    """An image a server needs on its host. `file_format` is what its bytes were checked to be at upload."""

    id: ImageId
    file_format: Literal["qcow2", "raw"]
    size: int
    """Bytes of the image file."""


class ServerPlan(Struct, frozen=True, kw_only=True):
    """A server as it should be.

    `boot` counts the starts the user asked for (create, reboot, start after stop ...): a guest that runs with a lower
    number is restarted, softly or hard as `restart` says. `disk` counts the root disks (rebuild makes a new one).
    """

    id: ServerId
    name: str
    hostname: str
    project_id: str
    user_id: str
    revision: int
    wanted: Literal["running", "stopped", "paused", "gone"]
    boot: int
    restart: Literal["soft", "hard"] = "hard"
    disk: int = 1
    vcpus: int
    memory_mb: int
    root_gb: int
    """Size of the root disk in GiB; 0 means as large as the image."""
    image: ImagePlan | None = None
    kernel: ImagePlan | None = None
    ramdisk: ImagePlan | None = None
    kernel_arguments: str = ""
    nic_slots: int
    """How many NIC slots the guest has places for; fixed while it runs."""
    nics: tuple[NicPlan, ...] = ()
    """In slot order."""
    config_drive: bool = True
    user_data: str | None = None
    """Base64, as the user sent it."""
    files: tuple[tuple[str, str], ...] = ()
    """(path in the guest, content as base64)"""
    public_keys: tuple[tuple[str, str], ...] = ()
    """(key pair name, public key)"""
    metadata: tuple[tuple[str, str], ...] = ()
    availability_zone: str = "nova"
    launch_index: int = 0
    reservation_id: str = ""
    admin_password: str | None = None


class HostPlan(Struct, frozen=True, kw_only=True):
    """What should be on one host. `revision` is what the agent names the next time it asks."""

    revision: int
    whole: bool
    servers: tuple[ServerPlan, ...] = ()
    networks: tuple[NetworkPlan, ...] = ()
    """Every network the NICs of `servers` are on, and every changed network some NIC of this host is on."""
    security_groups: tuple[SecurityGroupPlan, ...] = ()
    """Every group the NICs of `servers` are in, every group a rule of those names, and every changed group of these."""


class NicReport(Struct, frozen=True, kw_only=True):
    """A NIC that is in the guest (or ready for its next start, where the server is stopped)."""

    port_id: PortId
    plugged: bool
    quarantined: bool = False


class ServerReport(Struct, frozen=True, kw_only=True):
    """What became of one server. `revision` is that of the plan which was carried out; a report about an older
    revision than the database's changes facts (power), never what is wanted."""

    id: ServerId
    revision: int
    power: Literal["running", "paused", "stopped", "crashed", "gone"]
    boot: int
    """The highest `boot` number that was carried out."""
    nics: tuple[NicReport, ...] = ()
    error: str | None = None
    """Why the plan could not be carried out, in words a user may read; the cause is in the host's log."""


class HostFacts(Struct, frozen=True, kw_only=True):
    """What a host can do and has: sent at start and on the slow timer."""

    hypervisor: str
    hypervisor_version: str
    accelerator: str
    dataplane: str
    cpus: int
    memory_mb: int
    disk_gb: int


class RefusedGroup(Struct, frozen=True, kw_only=True):
    """A security group that is not in force on a host as it is planned: as it was before, or not at all."""

    id: SecurityGroupId
    reason: str
    """In words a user may read; the cause is in the host's log."""


class HostReport(Struct, frozen=True, kw_only=True):
    """Facts from one host. `facts` comes with the first report and on the slow timer only."""

    host: HostName
    servers: tuple[ServerReport, ...] = ()
    facts: HostFacts | None = None
    refused_groups: tuple[RefusedGroup, ...] | None = None
    """All of them; None where nothing has changed since the last report."""


class Traffic(Struct, frozen=True, kw_only=True):
    """What went one way through a port since it was plugged."""

    packets: int
    bytes: int
    dropped: Mapping[str, int]
    """Cause -> frames; with every cause there is for this direction."""


class PortCounters(Struct, frozen=True, kw_only=True):
    """What a host has counted at a port. Directions are the guest's, as those of security groups are."""

    ingress: Traffic
    """What reached the guest; what was dropped before comes on top."""
    egress: Traffic
    """All that the guest sent, what was dropped of it included."""


class HostFigures(Struct, frozen=True, kw_only=True):
    """What a host counts of itself. Totals are those since its agent began."""

    guests: Mapping[str, int]
    """Power state -> guests."""
    quarantines: int
    """Times that the storm guard has cut a port off."""
    recoveries: int
    """Times that a port was no longer cut off: the loop had gone, or the port."""
    last_round: float | None
    """When the agent last had read its plan and handed out the work, in seconds since 1970; None for never."""
