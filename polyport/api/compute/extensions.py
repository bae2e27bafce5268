"""`/extensions`: what old clients look through before they use a call. Only what is served is in the list."""

from typing import Any

from polyport.db.engine import Tx
from polyport.errors import NotFound
from polyport.policy import reader
from polyport.web.calls import Call, Reply
from polyport.web.routes import get

EXTENSIONS = {
    "flavors": "Flavors",
    "os-flavor-access": "FlavorAccess",
    "os-flavor-extra-specs": "FlavorExtraSpecs",
    "os-flavor-manage": "FlavorManage",
    "os-flavor-rxtx": "FlavorRxtx",
    "OS-FLV-DISABLED": "FlavorDisabled",
    "OS-FLV-EXT-DATA": "FlavorExtraData",
    "servers": "Servers",
    "server-metadata": "ServerMetadata",
    "ips": "Ips",
    "OS-DCF": "DiskConfig",
    "OS-EXT-AZ": "ExtendedAvailabilityZone",
    "OS-EXT-IPS": "ExtendedIps",
    "OS-EXT-IPS-MAC": "ExtendedIpsMac",
    "OS-EXT-SRV-ATTR": "ExtendedServerAttributes",
    "OS-EXT-STS": "ExtendedStatus",
    "OS-SRV-USG": "ServerUsage",
    "OS-SCH-HNT": "SchedulerHints",
    "os-attach-interfaces": "AttachInterfaces",
    "os-availability-zone": "AvailabilityZone",
    "os-config-drive": "ConfigDrive",
    "os-console-output": "ConsoleOutput",
    "os-extended-volumes": "ExtendedVolumes",
    "os-hypervisors": "Hypervisors",
    "os-instance-actions": "InstanceActions",
    "os-keypairs": "Keypairs",
    "os-lock-server": "LockServer",
    "os-multiple-create": "MultipleCreate",
    "os-pause-server": "PauseServer",
    "os-quota-class-sets": "QuotaClasses",
    "os-quota-sets": "Quotas",
    "os-security-groups": "SecurityGroups",
    "os-server-groups": "ServerGroups",
    "os-server-start-stop": "ServerStartStop",
    "os-services": "Services",
    "os-simple-tenant-usage": "SimpleTenantUsage",
    "os-used-limits": "UsedLimits",
    "os-user-data": "UserData",
    "versions": "Versions",
}
"""Alias -> name."""


class ExtensionNotFound(NotFound):
    """The resource could not be found."""


def list_extensions(call: Call, tx: Tx) -> Reply:
    return Reply(body={"extensions": [_extension_view(alias) for alias in EXTENSIONS]})


def show(call: Call, tx: Tx) -> Reply:
    if call.params["alias"] not in EXTENSIONS:
        raise ExtensionNotFound
    return Reply(body={"extension": _extension_view(call.params["alias"])})


def _extension_view(alias: str) -> dict[str, Any]:
    return {
        "alias": alias,
        "name": EXTENSIONS[alias],
        "description": "",
        "links": [],
        # What OpenStack itself gives for all of them since they are no longer documented one by one.
        "namespace": "http://docs.openstack.org/compute/ext/fake_xml",
        "updated": "2014-12-03T00:00:00Z",
    }


ROUTES = (
    get("/extensions", list_extensions, reader),
    get("/extensions/{alias}", show, reader),
)
