"""What of a server leaves the API, microversion by microversion.

A viewer is made once for a request and then applied to each of its servers, so that what depends on the request alone
is decided once. Metadata and tags are JSON in the database already and pass through as they are.
"""

import functools
import hashlib
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

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
    WHOLE_UPDATE_VIEW,
)
from polyport.compute import hosts, nics
from polyport.compute.boot_images import image_of
from polyport.compute.nics import Shown
from polyport.compute.servers import Server, flavor_of
from polyport.db.engine import Tx
from polyport.ids import ServerId
from polyport.web.calls import Call

View = dict[str, Any]

_PROGRESSING = frozenset(("ACTIVE", "BUILD", "DELETED", "REBUILD"))
_FAULTY = frozenset(("ERROR", "DELETED"))


def time_view(stored: str) -> str:
    """`2026-11-22T18:00:00Z`"""
    return stored[:19] + "Z"


@functools.lru_cache(4096)
def host_id_view(project_id: str, host: str) -> str:
    """What a project calls a host without learning its name."""
    return hashlib.sha224((project_id + host).encode()).hexdigest() if host else ""


def links_view(call: Call, server_id: str) -> list[View]:
    return [
        {"rel": "self", "href": f"{call.base_url}/v2.1/servers/{server_id}"},
        {"rel": "bookmark", "href": f"{call.base_url}/servers/{server_id}"},
    ]


def _links_view(base_url: str, server_id: str) -> Raw:
    """`links_view` as JSON, for lists: an id needs no quoting, and what comes before it is the same for all."""
    to_self, to_bookmark = _links_begin(base_url)
    return Raw(f'{to_self}{server_id}"}},{to_bookmark}{server_id}"}}]'.encode())


@functools.lru_cache(64)
def _links_begin(base_url: str) -> tuple[str, str]:
    base = msgspec.json.encode(base_url).decode()[:-1]
    return f'[{{"rel":"self","href":{base}/v2.1/servers/', f'{{"rel":"bookmark","href":{base}/servers/'


def brief_view(call: Call, server: Server) -> View:
    return {"id": server.id, "name": server.name, "links": _links_view(call.base_url, server.id)}


def addresses_view(shown: Shown, server_id: ServerId, *, extended: bool = True) -> dict[str, Raw]:
    """By network name, in the order of NICs: two networks with one name share a key. What an address and a MAC are made
    of needs no quoting, and lists have thousands: they are written as JSON here."""
    entries: dict[str, list[str]] = {}
    for _, network_id, mac, _, stored in shown.of.get(server_id, ()):
        name = shown.networks[network_id]
        if name not in entries:
            entries[name] = []
        if stored is not None:
            address = nics.text_of(stored)
            more = f',"OS-EXT-IPS:type":"fixed","OS-EXT-IPS-MAC:mac_addr":"{mac}"' if extended else ""
            entries[name].append(f'{{"version":{6 if ":" in address else 4},"addr":"{address}"{more}}}')
    return {name: Raw(f"[{','.join(each)}]".encode()) for name, each in entries.items()}


def groups_view(shown: Shown, texts: Iterable[str]) -> list[View]:
    """The security groups of a server's ports, each once; `texts` are the ports' own, as JSON."""
    found = {shown.groups[group_id]: None for text in texts for group_id in nics.group_ids(text)}
    return [{"name": name} for name in found]


def detail_views(call: Call, tx: Tx, found: Sequence[Server], *, alone: bool = False) -> list[View]:
    """Each server as GET shows it; `alone`: as the one server of its reply. Few queries, however many servers."""
    shown = nics.shown(tx, [server.id for server in found])
    up = {host.name for host in hosts.candidates(tx) if host.up} if call.context.is_admin else frozenset()
    view = _viewer(call, _fields(call, alone=alone), shown, up)
    return [view(server) for server in found]


def shows_everything(call: Call) -> bool:
    """Whether views show what slim lists leave out."""
    return call.version in IMAGE_PROPERTIES or (call.context.is_admin and call.version in EXTENDED_ATTRIBUTES)


def show_view(call: Call, tx: Tx, server: Server) -> View:
    return detail_views(call, tx, [server], alone=True)[0]


def update_view(call: Call, tx: Tx, server: Server) -> View:
    """What update and rebuild answer: less than GET before 2.75."""
    if call.version in WHOLE_UPDATE_VIEW:
        return show_view(call, tx, server)
    fields = _fields(call, alone=True)
    view = _core_view(call, fields, server)
    view["addresses"] = addresses_view(nics.shown(tx, [server.id]), server.id, extended=False)
    _add_versioned(fields, view, server)
    return view


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


def _fields(call: Call, *, alone: bool) -> Fields:
    version, is_admin = call.version, call.context.is_admin
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


def _viewer(call: Call, fields: Fields, shown: Shown, up: Container[str]) -> Callable[[Server], View]:
    volumes: list[View] = []
    groups_of = functools.cache(functools.partial(groups_view, shown))

    def view(server: Server) -> View:
        found = _core_view(call, fields, server)
        found["addresses"] = addresses_view(shown, server.id)
        found["key_name"] = server.key_name
        found["config_drive"] = "True" if server.config_drive else ""
        found["OS-EXT-AZ:availability_zone"] = server.availability_zone
        found["OS-EXT-STS:vm_state"] = server.vm_state
        found["OS-EXT-STS:task_state"] = server.task_state
        found["OS-EXT-STS:power_state"] = server.power_state
        found["OS-SRV-USG:launched_at"] = server.launched_at
        found["OS-SRV-USG:terminated_at"] = server.deleted_at
        found["os-extended-volumes:volumes_attached"] = volumes
        if groups := groups_of(tuple({row[3]: None for row in shown.of.get(server.id, ())})):
            found["security_groups"] = groups
        if fields.host:
            found["OS-EXT-SRV-ATTR:host"] = server.host
            found["OS-EXT-SRV-ATTR:instance_name"] = f"instance-{server.number:08x}"
            found["OS-EXT-SRV-ATTR:hypervisor_hostname"] = server.host
        if fields.hostname:
            found["OS-EXT-SRV-ATTR:hostname"] = server.hostname
        if fields.attributes:
            _add_attributes(found, server)
        if fields.host_status:
            found["host_status"] = "UP" if server.host in up else "UNKNOWN"
        _add_versioned(fields, found, server)
        return found

    return view


def _core_view(call: Call, fields: Fields, server: Server) -> View:
    status = server.status
    view: View = {
        "id": server.id,
        "name": server.name,
        "status": status,
        "tenant_id": server.project_id,
        "user_id": server.user_id,
        "metadata": Raw(server.metadata.encode()),
        "hostId": host_id_view(server.project_id, server.host),
        "image": _image_view(server.image_id, server.image if fields.image_properties else None, call.base_url),
        "flavor": _flavor_view(server.flavor, call.base_url, fields.embedded_flavor),
        "created": time_view(server.created_at),
        "updated": time_view(server.updated_at),
        "accessIPv4": server.access_ip_v4,
        "accessIPv6": server.access_ip_v6,
        "links": _links_view(call.base_url, server.id),
        "OS-DCF:diskConfig": server.disk_config,
    }
    if status in _PROGRESSING:
        view["progress"] = 0
    if status in _FAULTY and server.fault is not None:
        view["fault"] = _fault_view(call, server.fault)
    return view


def _add_attributes(view: View, server: Server) -> None:
    """What administrators see from 2.3 on."""
    image = image_of(server.image)
    view["OS-EXT-SRV-ATTR:reservation_id"] = server.reservation_id
    view["OS-EXT-SRV-ATTR:launch_index"] = server.launch_index
    view["OS-EXT-SRV-ATTR:kernel_id"] = image.kernel.id if image and image.kernel else ""
    view["OS-EXT-SRV-ATTR:ramdisk_id"] = image.ramdisk.id if image and image.ramdisk else ""
    view["OS-EXT-SRV-ATTR:root_device_name"] = "/dev/vda"
    view["OS-EXT-SRV-ATTR:user_data"] = server.user_data


def _add_versioned(fields: Fields, view: View, server: Server) -> None:
    if fields.locked:
        view["locked"] = server.locked
    if fields.description:
        view["description"] = server.description
    if fields.tags:
        view["tags"] = Raw(server.tags.encode())
    if fields.certificates:
        text = server.trusted_certificates
        view["trusted_image_certificates"] = None if text is None else Raw(text.encode())
    if fields.groups:
        view["server_groups"] = [] if server.group_id is None else [server.group_id]
    if fields.locked_reason:
        view["locked_reason"] = server.locked_reason
    if fields.pinned_zone:
        view["pinned_availability_zone"] = server.pinned_zone
    if fields.hints:
        view["scheduler_hints"] = Raw(server.scheduler_hints.encode())


@functools.lru_cache(1024)
def _image_view(image_id: str | None, kept: str | None, base_url: str) -> Raw:
    """`kept`: what the server keeps of its image, where its properties are shown. Many servers share a few images."""
    if image_id is None:
        return Raw(b'""')
    view: View = {"id": image_id, "links": [{"rel": "bookmark", "href": f"{base_url}/images/{image_id}"}]}
    if (image := image_of(kept)) is not None:
        view["properties"] = image.properties
    return Raw(msgspec.json.encode(view))


@functools.lru_cache(1024)
def _flavor_view(text: str, base_url: str, embedded: bool) -> Raw:
    """As it was at boot, embedded from 2.47 on; many servers share a few."""
    flavor = flavor_of(text)
    if not embedded:
        href = f"{base_url}/flavors/{flavor['id']}"
        return Raw(msgspec.json.encode({"id": flavor["id"], "links": [{"rel": "bookmark", "href": href}]}))
    names = ("vcpus", "ram", "disk", "ephemeral", "swap", "extra_specs")
    return Raw(msgspec.json.encode({"original_name": flavor["name"], **{name: flavor[name] for name in names}}))


def _fault_view(call: Call, text: str) -> View:
    """`details` are for administrators, unless the fault is the client's own."""
    fault: View = msgspec.json.decode(text)
    view = {"code": fault["code"], "message": fault["message"], "created": time_view(fault["created"])}
    if fault.get("details") and (call.context.is_admin or fault["code"] != 500):
        view["details"] = fault["details"]
    return view
