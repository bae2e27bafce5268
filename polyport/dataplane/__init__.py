"""What a dataplane driver must do, and the table of the drivers there are.

A dataplane carries the frames of ports: it makes the host side of a NIC (the **vif**), guards it, and takes it away.
Calls are idempotent by port id and raise `DataplaneError`; after an error nothing of that call is left.

A tap lives as long as somebody holds its descriptor: the agent between `plug` and the guest's start, the guest after
that. So a crash in between leaves no tap behind, and a guest that ends takes its taps with it; `unplug` removes what
remains (rules, leases, the bridge when its last port goes).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from polyport.capture import Capture
from polyport.errors import HostError
from polyport.ids import NetworkId, PortId, SecurityGroupId, ServerId
from polyport.plan import NetworkPlan, NicPlan, PortCounters, SecurityGroupPlan

EGRESS_CAUSES = (
    "spoofed_mac",
    "spoofed_arp",
    "spoofed_ipv4",
    "spoofed_ipv6",
    "rogue_server",
    "ethertype",
    "reflected",
    "flood_limit",
    "sibling_limit",
    "security_group",
    "invalid_state",
    "quarantine",
)
"""Why frames that a guest sent are dropped, in the words that people see; `docs/figures.md` explains them."""

INGRESS_CAUSES = ("security_group", "invalid_state", "quarantine", "queue_full")
"""Why frames to a guest are dropped."""

METADATA_ADDRESS = "169.254.169.254"
"""Where guests look for metadata: on the link of every NIC, whether or not its subnet has a gateway."""


class DataplaneError(HostError):
    """The dataplane could not do what was asked of it."""


class VifPlan(Struct, frozen=True, kw_only=True):
    """The host side of one NIC as it should be."""

    server_id: ServerId
    hostname: str
    nic: NicPlan
    network: NetworkPlan
    default_route: bool
    """Whether DHCP gives this NIC the default route: one NIC of a server has it at most."""


class FoundVif(Struct, frozen=True, kw_only=True):
    """A vif that exists on this host now."""

    port_id_prefix: str
    """What its name tells of the port id (names are cut to the length the kernel allows)."""
    tap: str
    network_id_prefix: str | None
    """The same of the network whose bridge it is on; None where it is on no bridge."""


class DataplaneFacts(Struct, frozen=True, kw_only=True):
    name: str
    version: str


class Answer(Struct, frozen=True, kw_only=True):
    """What the metadata service says to one request."""

    content: bytes
    content_type: str


Metadata: TypeAlias = Callable[[ServerId, PortId, str], Answer | None]
"""(server, port, path of the URL) -> what the guest is told; None where nothing is there (404).

Server and port are those of the vif the request came in by, whatever the guest says of itself. Called on the event
loop, so it answers from what is at hand.
"""


class Dataplane(Protocol):
    async def open(
        self,
        *,
        quarantined: Callable[[frozenset[PortId]], None] | None = None,
        metadata: Metadata | None = None,
    ) -> DataplaneFacts:
        """Get ready (namespace, base rules). What exists already keeps working through this. Called once.

        `quarantined` is called whenever the ports that the storm guard has cut off change, with all of them.
        `metadata` answers what guests ask at http://169.254.169.254/, from any NIC; None: nothing listens there.
        """

    async def close(self) -> None:
        """Let go without taking anything down."""

    async def found(self) -> tuple[FoundVif, ...]:
        """The vifs that exist now."""

    async def ensure_groups(self, groups: Iterable[SecurityGroupPlan]) -> Mapping[SecurityGroupId, str]:
        """Have security groups as their plans say, for all vifs that are in them or will be; what is known stays.

        Connections that the rules let begin once and would not let begin now are cut. A group that cannot be had as
        planned stays as it was and stops no other; what is returned says which, and why, in words a user may read. A
        vif in a group that was never told of gets nothing from it. Who is in a group follows from the vifs.
        """

    async def plug(self, vif: VifPlan) -> int:
        """Make a vif with its rules, on its bridge, and up. Returns a tap descriptor, the caller's to close.

        A vif of that port that was left over is replaced.
        """

    async def plug_all(self, vifs: Sequence[VifPlan]) -> tuple[int, ...]:
        """The same for several vifs, all of them or none; their descriptors, in the same order."""

    async def ensure(self, vifs: Iterable[VifPlan]) -> None:
        """Bring vifs that exist (their taps held by guests) to their plan, whatever differs: repairs and updates."""

    async def unplug(self, *port_ids: PortId) -> None:
        """Remove vifs and all that belongs to them; their bridges too, when they were the last there. No-op where
        absent."""

    async def sweep(self, keep: Mapping[PortId, NetworkId]) -> tuple[str, ...]:
        """Remove every vif and bridge that belongs to no port of `keep`; the names of what was removed."""

    async def counters(self, port_id: PortId) -> PortCounters | None:
        """What went through a vif since it was plugged, and what was dropped of it (that may be a second old); None
        where it is not here."""

    async def capture(self, port_id: PortId, snaplen: int) -> Capture | None:
        """The frames of a vif from now on, each cut to `snaplen` octets; None where it is not plugged.

        Seen are all frames the guest sends, dropped ones too, and those frames to the guest that rules let pass. A
        VLAN tag is in its place. The capture ends when the vif goes, also where it is replaced.
        """


DRIVERS = {
    "bridge": "polyport.dataplane.bridge.driver:BridgeDataplane",
    "fake": "polyport.dataplane.fake:FakeDataplane",
}
"""Driver name -> where its class is. Chosen here, in the open, by the configuration's `dataplane.driver`."""
