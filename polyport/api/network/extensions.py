"""`/v2.0/extensions`: what of Neutron's API is here beyond its core, and nothing that is not."""

from msgspec import Struct

from polyport.db.engine import Tx
from polyport.errors import NotFound
from polyport.web.calls import Call, Reply


class ExtensionNotFound(NotFound):
    """Extension with alias {alias} does not exist."""


class Extension(Struct, frozen=True):
    alias: str
    name: str
    description: str
    updated: str


EXTENSIONS = (
    Extension(
        "allowed-address-pairs", "Allowed Address Pairs", "Addresses a port may use besides its own", "2013-07-23"
    ),
    Extension("binding", "Port Binding", "Where a port is plugged, and how", "2014-02-03"),
    Extension("empty-string-filtering", "Empty String Filtering", "Lists filtered by empty values", "2018-05-01"),
    Extension("extra_dhcp_opt", "Extra DHCP Options", "DHCP options of a port", "2013-03-17"),
    Extension("filter-validation", "Filter Validation", "Unknown filters are refused", "2018-03-21"),
    Extension("ip-substring-filtering", "IP Address Substring", "Ports by a part of an address", "2017-11-28"),
    Extension("net-mtu", "Network MTU", "The MTU of a network", "2015-03-25"),
    Extension("net-mtu-writable", "Network MTU (writable)", "The MTU of a network can be set", "2017-07-12"),
    Extension("network-ip-availability", "Network IP Availability", "Addresses there are, and taken", "2015-09-24"),
    Extension("pagination", "Pagination", "Lists page by page", "2016-06-12"),
    Extension(
        "polyport-counters",
        "Port Counters",
        "What went through a port, and what was dropped of it by cause (polyport:counters of a single port)",
        "2026-11-22",
    ),
    Extension(
        "polyport-refused-groups",
        "Refused Security Groups",
        "Why a security group is not in force as it is (polyport:refused); null where it is",
        "2026-11-22",
    ),
    Extension(
        "polyport-port-capture",
        "Port Capture",
        "The frames of a port as a pcap stream (GET /v2.0/ports/{id}/capture)",
        "2026-11-22",
    ),
    Extension(
        "polyport-default-route",
        "Default Route",
        "Which port of a server has its default route (polyport:default_route)",
        "2026-11-22",
    ),
    Extension(
        "polyport-storm-guard",
        "Storm Guard",
        "Ports that close a loop (polyport:quarantined), and limits of floods (polyport:storm_guard)",
        "2026-11-22",
    ),
    Extension("port-security", "Port Security", "Whether a port is guarded", "2012-07-23"),
    Extension("project-id", "Project Id", "project_id beside tenant_id", "2016-09-09"),
    Extension("provider", "Provider Network", "How a network is carried, for administrators", "2012-09-07"),
    Extension("quota-check-limit", "Quota Check Limit", "Limits below what is used are refused", "2021-08-15"),
    Extension("quota-check-limit-default", "Quota Check Default", "They are refused unless forced", "2024-08-26"),
    Extension("quota_details", "Quota Details", "Limits and what is used of them", "2017-02-10"),
    Extension("quotas", "Quotas", "Limits of a project", "2012-07-29"),
    Extension("revision-if-match", "If-Match by Revision", "Changes of a known revision only", "2016-12-11"),
    Extension("security-group", "Security Groups", "Which traffic a port lets through", "2012-10-05"),
    Extension("sorting", "Sorting", "Lists in a given order", "2016-06-12"),
    Extension("standard-attr-description", "Descriptions", "A description on everything", "2016-02-10"),
    Extension("standard-attr-revisions", "Revisions", "A revision number on everything", "2016-04-11"),
    Extension("standard-attr-tag", "Tags", "Tags on everything with a life of its own", "2017-01-01"),
    Extension("standard-attr-timestamp", "Timestamps", "created_at and updated_at on everything", "2016-09-12"),
    Extension("tag-creation", "Tag Creation", "Several tags added at once", "2023-06-29"),
    Extension("tag-ports-during-bulk-creation", "Tags of New Ports", "Tags in a request for ports", "2019-12-29"),
)

_BY_ALIAS = {extension.alias: extension for extension in EXTENSIONS}


def index(call: Call, tx: Tx) -> Reply:
    return Reply(body={"extensions": [extension_view(extension) for extension in EXTENSIONS]})


def show(call: Call, tx: Tx) -> Reply:
    extension = _BY_ALIAS.get(call.params["alias"])
    if extension is None:
        raise ExtensionNotFound(alias=call.params["alias"][:255])
    return Reply(body={"extension": extension_view(extension)})


def extension_view(extension: Extension) -> dict[str, object]:
    return {
        "alias": extension.alias,
        "name": extension.name,
        "description": extension.description,
        "updated": f"{extension.updated}T00:00:00-00:00",
        "links": [],
    }
