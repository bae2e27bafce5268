"""The compute API's microversions: one annotated list, and a named window for every change our calls show.

Code asks `version in NIC_TAG` and marks body fields `only(NIC_TAG)`, never compares numbers; so grep finds
every use of a change. An entry of `HISTORY` names the windows that begin or end with it; one without names
changed nothing in the calls that are served here. The last entry is the highest version that is advertised:
add one only when it is true. Source: the compute API's own version history.
"""

from typing import NamedTuple

from msgspec.structs import replace

from polyport.db.engine import Database, Tx
from polyport.errors import NotFound
from polyport.web.calls import Call, Reply
from polyport.web.microversions import Version, Window, either, since, version_of
from polyport.web.routes import Route

KEYPAIR_TYPE = since("2.2")
EXTENDED_ATTRIBUTES = since("2.3")
IP6_FILTER = since("2.5")
REMOTE_CONSOLES = since("2.6")
OWN_CONSOLE_ACTIONS = since("2.1", "2.5")
FLAVOR_ACCESS_OF_PUBLIC_REFUSED = since("2.7")
LOCKED = since("2.9")
KEYPAIR_OF_USER = since("2.10")
FORCED_DOWN = since("2.11")
SERVER_GROUP_OWNER = since("2.13")
SOFT_AFFINITY = since("2.15")
HOST_STATUS = since("2.16")
DESCRIPTION = since("2.19")
ACTIONS_OF_DELETED = since("2.21")
SERVER_TAGS = since("2.26")
CPU_INFO_OBJECT = since("2.28")
NIC_TAG = either(since("2.32", "2.36"), since("2.42"))
VOLUME_TAG = either(since("2.32", "2.32"), since("2.42"))
HYPERVISOR_PAGING = since("2.33")
KEYPAIR_PAGING = since("2.35")
PROXIES = since("2.1", "2.35")
NO_NETWORK_QUOTAS = since("2.36")
AUTO_NETWORKS = since("2.37")
STATUS_FILTER_CHECKED = since("2.38")
NO_IMAGE_METADATA_LIMIT = since("2.39")
USAGE_PAGING = since("2.40")
NO_MULTINIC_ACTIONS = since("2.44")
CREATE_IMAGE_BODY = since("2.45")
EMBEDDED_FLAVOR = since("2.47")
STANDARD_DIAGNOSTICS = since("2.48")
INTERFACE_TAG = since("2.49")
QUOTA_CLASS_NETWORKS = since("2.1", "2.49")
QUOTA_CLASS_SERVER_GROUPS = since("2.50")
ACTION_EVENTS_FOR_ALL = since("2.51")
CREATE_TAGS = since("2.52")
HOST_UUIDS = since("2.53")
HYPERVISOR_PATTERNS = since("2.1", "2.52")
REBUILD_KEY = since("2.54")
FLAVOR_DESCRIPTION = since("2.55")
PERSONALITY = since("2.1", "2.56")
REBUILD_USER_DATA = since("2.57")
NO_FILE_QUOTAS = since("2.57")
ACTIONS_PAGING = since("2.58")
FLAVOR_EXTRA_SPECS = since("2.61")
ACTION_EVENT_HOST = since("2.62")
TRUSTED_CERTIFICATES = since("2.63")
SERVER_GROUP_POLICY = since("2.64")
CHANGES_BEFORE = since("2.66")
VOLUME_TYPE = since("2.67")
INTERFACE_VIEW_TAG = since("2.70")
VOLUME_VIEW_TAG = since("2.70")
SERVER_GROUPS_IN_SERVER = since("2.71")
LOCK_REASON = since("2.73")
LOCKED_SEARCH = since("2.73")
CREATE_ON_HOST = since("2.74")
STRICT_QUERIES = since("2.75")
WHOLE_UPDATE_VIEW = since("2.75")
SWAP_NUMBER = since("2.75")
SERVER_TOPOLOGY = since("2.78")
VOLUME_DELETE_ON_TERMINATION = since("2.79")
MEMBER_FILTERS = since("2.83")
ACTION_EVENT_DETAILS = since("2.84")
EXTRA_SPECS_CHECKED = since("2.86")
HYPERVISOR_USAGE = since("2.1", "2.87")
HOSTNAME = since("2.90")
KEYPAIR_IMPORT_ONLY = since("2.92")
HOSTNAME_FQDN = since("2.94")
PINNED_ZONE = since("2.96")
IMAGE_PROPERTIES = since("2.98")
SCHEDULER_HINTS_IN_SERVER = since("2.100")


class Change(NamedTuple):
    """A microversion: its number, the windows that begin or end with it, and what changed in it."""

    version: Version
    windows: tuple[str, ...]
    what: str


def _change(number: str, windows: str, what: str) -> Change:
    return Change(version_of(number), tuple(windows.split()), what)


HISTORY: tuple[Change, ...] = (
    _change("2.1", "OWN_CONSOLE_ACTIONS PROXIES PERSONALITY", "the first; 2.0 with strict bodies"),
    _change("2.2", "KEYPAIR_TYPE", "key pairs have a type; create answers 201, delete 204"),
    _change("2.3", "EXTENDED_ATTRIBUTES", "hostname, user data, kernel, ... of a server for administrators"),
    _change("2.4", "", "reserved fixed IPs"),
    _change("2.5", "IP6_FILTER", "filter servers by ip6 for everybody"),
    _change("2.6", "REMOTE_CONSOLES", "remote-consoles instead of one action for each console"),
    _change("2.7", "FLAVOR_ACCESS_OF_PUBLIC_REFUSED", "no access list for a public flavor: 409"),
    _change("2.8", "", "one more kind of remote console"),
    _change("2.9", "LOCKED", "`locked` in a server"),
    _change("2.10", "KEYPAIR_OF_USER", "administrators handle key pairs of other users"),
    _change("2.11", "FORCED_DOWN", "`forced_down` of services"),
    _change("2.12", "", "network ids of virtual interfaces"),
    _change("2.13", "SERVER_GROUP_OWNER", "project and user of a server group"),
    _change("2.14", "", "evacuate without shared storage"),
    _change("2.15", "SOFT_AFFINITY", "soft affinity and anti-affinity"),
    _change("2.16", "HOST_STATUS", "`host_status` in a server for administrators"),
    _change("2.17", "", "crash dumps"),
    _change("2.18", "", "paths need no project id"),
    _change("2.19", "DESCRIPTION", "description of a server"),
    _change("2.20", "", "volumes of shelved servers"),
    _change("2.21", "ACTIONS_OF_DELETED", "actions of deleted servers can be read"),
    _change("2.22", "", "live migrations can be completed by force"),
    _change("2.23", "", "migrations of a server"),
    _change("2.24", "", "live migrations can be given up"),
    _change("2.25", "", "live migration chooses block migration"),
    _change("2.26", "SERVER_TAGS", "tags of servers, and filters by them"),
    _change("2.27", "", "the header OpenStack-API-Version (taken at any version here)"),
    _change("2.28", "CPU_INFO_OBJECT", "`cpu_info` of a hypervisor is an object"),
    _change("2.29", "", "evacuate checks its host"),
    _change("2.30", "", "live migration checks its host"),
    _change("2.31", "", "console tokens of each kind"),
    _change("2.32", "NIC_TAG VOLUME_TAG", "tags of NICs and disks at create (until 2.36 and 2.32)"),
    _change("2.33", "HYPERVISOR_PAGING", "hypervisors come in pages; disks lose their tag"),
    _change("2.34", "", "live migration checks in the background"),
    _change("2.35", "KEYPAIR_PAGING", "key pairs come in pages, by name"),
    _change("2.36", "NO_NETWORK_QUOTAS", "proxies to other services and network quotas are gone"),
    _change("2.37", "AUTO_NETWORKS", "`networks` is required, may be `auto` or `none`; NICs lose their tag"),
    _change("2.38", "STATUS_FILTER_CHECKED", "an unknown status to filter by is 400"),
    _change("2.39", "NO_IMAGE_METADATA_LIMIT", "no maxImageMeta, no image metadata"),
    _change("2.40", "USAGE_PAGING", "usage comes in pages"),
    _change("2.41", "", "ids of aggregates"),
    _change("2.42", "NIC_TAG VOLUME_TAG", "NICs and disks have their tag back"),
    _change("2.43", "", "hosts are gone"),
    _change("2.44", "NO_MULTINIC_ACTIONS", "actions on addresses and security-group lists of servers are gone"),
    _change("2.45", "CREATE_IMAGE_BODY", "createImage answers with the image id in its body"),
    _change("2.46", "", "the request id has a header of its own (sent at any version here)"),
    _change("2.47", "EMBEDDED_FLAVOR", "a server shows its flavor as it was at boot"),
    _change("2.48", "STANDARD_DIAGNOSTICS", "diagnostics that are the same for each hypervisor"),
    _change("2.49", "INTERFACE_TAG", "tags at attach"),
    _change(
        "2.50",
        "QUOTA_CLASS_NETWORKS QUOTA_CLASS_SERVER_GROUPS",
        "quota classes have server groups, and no networks any more",
    ),
    _change("2.51", "ACTION_EVENTS_FOR_ALL", "everybody sees the events of an action, without tracebacks"),
    _change("2.52", "CREATE_TAGS", "tags at create"),
    _change("2.53", "HOST_UUIDS HYPERVISOR_PATTERNS", "services and hypervisors have UUIDs"),
    _change("2.54", "REBUILD_KEY", "key pair at rebuild"),
    _change("2.55", "FLAVOR_DESCRIPTION", "description of a flavor, which can be updated"),
    _change("2.56", "", "migrate to a host"),
    _change("2.57", "PERSONALITY REBUILD_USER_DATA NO_FILE_QUOTAS", "no file injection; user data at rebuild"),
    _change("2.58", "ACTIONS_PAGING", "actions come in pages"),
    _change("2.59", "", "migrations come in pages"),
    _change("2.60", "", "volumes on several servers"),
    _change("2.61", "FLAVOR_EXTRA_SPECS", "extra specs in a flavor"),
    _change("2.62", "ACTION_EVENT_HOST", "host of an event"),
    _change("2.63", "TRUSTED_CERTIFICATES", "trusted certificates of images"),
    _change("2.64", "SERVER_GROUP_POLICY", "one policy with rules in a server group"),
    _change("2.65", "", "queued live migrations can be given up"),
    _change("2.66", "CHANGES_BEFORE", "filter by changes-before"),
    _change("2.67", "VOLUME_TYPE", "volume type at create"),
    _change("2.68", "", "no forced migration"),
    _change("2.69", "", "lists without a cell that is down"),
    _change("2.70", "INTERFACE_VIEW_TAG VOLUME_VIEW_TAG", "tags of NICs and volumes are shown"),
    _change("2.71", "SERVER_GROUPS_IN_SERVER", "`server_groups` in a server"),
    _change("2.72", "", "ports with guaranteed bandwidth at create"),
    _change("2.73", "LOCK_REASON LOCKED_SEARCH", "a reason for a lock; filter and sort by `locked`"),
    _change("2.74", "CREATE_ON_HOST", "create on a host of choice"),
    _change(
        "2.75",
        "STRICT_QUERIES WHOLE_UPDATE_VIEW SWAP_NUMBER",
        "unknown query parameters are 400; swap is a number",
    ),
    _change("2.76", "", "power-update events"),
    _change("2.77", "", "unshelve to a zone"),
    _change("2.78", "SERVER_TOPOLOGY", "topology of a server"),
    _change("2.79", "VOLUME_DELETE_ON_TERMINATION", "volumes that go with the server"),
    _change("2.80", "", "user and project of migrations"),
    _change("2.81", "", "images cached ahead"),
    _change("2.82", "", "accelerator events"),
    _change("2.83", "MEMBER_FILTERS", "more filters for everybody"),
    _change("2.84", "ACTION_EVENT_DETAILS", "why an event failed"),
    _change("2.85", "", "volumes that go with the server can be changed"),
    _change("2.86", "EXTRA_SPECS_CHECKED", "extra specs of known kinds are checked"),
    _change("2.87", "", "rescue of servers with volumes"),
    _change("2.88", "HYPERVISOR_USAGE", "hypervisors without usage, statistics, uptime and search"),
    _change("2.89", "", "attachment ids of volumes"),
    _change("2.90", "HOSTNAME", "hostname at create, update and rebuild, shown to everybody"),
    _change("2.91", "", "unshelve to a host"),
    _change("2.92", "KEYPAIR_IMPORT_ONLY", "key pairs are imported only; `@` and `.` in their names"),
    _change("2.93", "", "rebuild of servers with volumes"),
    _change("2.94", "HOSTNAME_FQDN", "a hostname may have a domain"),
    _change("2.95", "", "evacuated servers stay stopped"),
    _change("2.96", "PINNED_ZONE", "the zone a server was asked for"),
    _change("2.97", "", "shares"),
    _change("2.98", "IMAGE_PROPERTIES", "properties of the image in a server"),
    _change("2.99", "", "direct SPICE consoles"),
    _change("2.100", "SCHEDULER_HINTS_IN_SERVER", "scheduler hints in a server"),
)

LOWEST = HISTORY[0].version
HIGHEST = HISTORY[-1].version


class NotInThisVersion(NotFound):
    """API version '{version}' is not supported on this method."""


def during(window: Window, route: Route) -> Route:
    """`route` as it is in the versions of `window`; in others it is not found."""

    def check(call: Call) -> None:
        if call.version not in window:
            raise NotInThisVersion(version=call.version)

    if route.own is not None:
        waiting = route.own

        async def own(call: Call, database: Database) -> Reply:
            check(call)
            return await waiting(call, database)

        return replace(route, own=own)
    handler = route.read or route.write
    assert handler is not None

    def run(call: Call, tx: Tx) -> Reply:
        check(call)
        return handler(call, tx)

    return replace(route, read=run) if route.read is not None else replace(route, write=run)
