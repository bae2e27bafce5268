"""The fields of a server in a reply, and which of them a caller gets at a microversion."""

import functools
from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from polyport.api.compute.microversions import (
    DESCRIPTION,
    EMBEDDED_FLAVOR,
    EXTENDED_ATTRIBUTES,
    HOST_STATUS,
    HOSTNAME,
    IMAGE_PROPERTIES,
    LOCK_REASON,
    LOCKED,
    PINNED_ZONE,
    SCHEDULER_HINTS_IN_SERVER,
    SERVER_GROUPS_IN_SERVER,
    SERVER_TAGS,
    TRUSTED_CERTIFICATES,
)
from polyport.web.microversions import Version

View = dict[str, Any]

_NAMES = {
    "host_id": "hostId",
    "access_ip_v4": "accessIPv4",
    "access_ip_v6": "accessIPv6",
    "disk_config": "OS-DCF:diskConfig",
    "availability_zone": "OS-EXT-AZ:availability_zone",
    "vm_state": "OS-EXT-STS:vm_state",
    "task_state": "OS-EXT-STS:task_state",
    "power_state": "OS-EXT-STS:power_state",
    "launched_at": "OS-SRV-USG:launched_at",
    "terminated_at": "OS-SRV-USG:terminated_at",
    "volumes_attached": "os-extended-volumes:volumes_attached",
    "host": "OS-EXT-SRV-ATTR:host",
    "instance_name": "OS-EXT-SRV-ATTR:instance_name",
    "hypervisor_hostname": "OS-EXT-SRV-ATTR:hypervisor_hostname",
    "hostname": "OS-EXT-SRV-ATTR:hostname",
    "reservation_id": "OS-EXT-SRV-ATTR:reservation_id",
    "launch_index": "OS-EXT-SRV-ATTR:launch_index",
    "kernel_id": "OS-EXT-SRV-ATTR:kernel_id",
    "ramdisk_id": "OS-EXT-SRV-ATTR:ramdisk_id",
    "root_device_name": "OS-EXT-SRV-ATTR:root_device_name",
    "user_data": "OS-EXT-SRV-ATTR:user_data",
    "trusted_certificates": "trusted_image_certificates",
    "pinned_zone": "pinned_availability_zone",
    "admin_password": "adminPass",
    "user_data_given": "user_data",
}
"""Fields whose names in JSON are others."""


class ServerView(Struct, gc=False, rename=_NAMES):
    """A server in a reply; what its microversion or its caller does not get stays unset, and is not in the JSON. A
    struct, because a list of a thousand servers costs much less than one of dictionaries."""

    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    tenant_id: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET
    host_id: str | UnsetType = UNSET
    image: Raw | UnsetType = UNSET
    flavor: Raw | UnsetType = UNSET
    created: str | UnsetType = UNSET
    updated: str | UnsetType = UNSET
    access_ip_v4: str | UnsetType = UNSET
    access_ip_v6: str | UnsetType = UNSET
    links: Raw | UnsetType = UNSET
    disk_config: str | UnsetType = UNSET
    progress: int | UnsetType = UNSET
    fault: View | UnsetType = UNSET
    addresses: dict[str, Raw] | UnsetType = UNSET
    key_name: str | UnsetType | None = UNSET
    config_drive: str | UnsetType = UNSET
    availability_zone: str | UnsetType = UNSET
    vm_state: str | UnsetType = UNSET
    task_state: str | UnsetType | None = UNSET
    power_state: int | UnsetType = UNSET
    launched_at: str | UnsetType | None = UNSET
    terminated_at: str | UnsetType | None = UNSET
    volumes_attached: tuple[()] | UnsetType = UNSET
    security_groups: list[View] | UnsetType = UNSET
    host: str | UnsetType = UNSET
    instance_name: str | UnsetType = UNSET
    hypervisor_hostname: str | UnsetType = UNSET
    hostname: str | UnsetType = UNSET
    reservation_id: str | UnsetType = UNSET
    launch_index: int | UnsetType = UNSET
    kernel_id: str | UnsetType = UNSET
    ramdisk_id: str | UnsetType = UNSET
    root_device_name: str | UnsetType = UNSET
    user_data: str | UnsetType | None = UNSET
    host_status: str | UnsetType = UNSET
    locked: bool | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    tags: Raw | UnsetType = UNSET
    trusted_certificates: Raw | UnsetType | None = UNSET
    server_groups: list[str] | UnsetType = UNSET
    locked_reason: str | UnsetType | None = UNSET
    pinned_zone: str | UnsetType | None = UNSET
    scheduler_hints: Raw | UnsetType = UNSET
    admin_password: str | UnsetType = UNSET
    """In the reply to a rebuild alone, as is what follows."""
    user_data_given: str | UnsetType | None = UNSET


class Fields(Struct, frozen=True, kw_only=True):
    """Which fields the servers of one reply have."""

    embedded_flavor: bool
    locked: bool
    description: bool
    tags: bool
    certificates: bool
    groups: bool
    locked_reason: bool
    pinned_zone: bool
    image_properties: bool
    hints: bool
    hostname: bool
    host: bool
    attributes: bool
    host_status: bool


@functools.lru_cache(1024)
def fields_of(version: Version, *, is_admin: bool, alone: bool) -> Fields:
    """What a caller gets at a microversion; `alone`: in a reply of one server."""
    attributes = is_admin and version in EXTENDED_ATTRIBUTES
    return Fields(
        embedded_flavor=version in EMBEDDED_FLAVOR,
        locked=version in LOCKED,
        description=version in DESCRIPTION,
        tags=version in SERVER_TAGS,
        certificates=version in TRUSTED_CERTIFICATES,
        groups=alone and version in SERVER_GROUPS_IN_SERVER,
        locked_reason=version in LOCK_REASON,
        pinned_zone=version in PINNED_ZONE,
        image_properties=version in IMAGE_PROPERTIES,
        hints=version in SCHEDULER_HINTS_IN_SERVER,
        hostname=attributes or version in HOSTNAME,
        host=is_admin,
        attributes=attributes,
        host_status=is_admin and version in HOST_STATUS,
    )
