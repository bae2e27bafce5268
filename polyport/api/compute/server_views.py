"""What of a server leaves the API, microversion by microversion.

A viewer is made once for a request and then applied to each of its servers, so that what depends on the request alone
is decided once. Metadata and tags are JSON in the database already and pass through as they are.
"""

import functools
import hashlib
from collections.abc import Callable, Container, Iterable, Sequence

import msgspec
from msgspec import Raw

from polyport.api.compute.microversions import EXTENDED_ATTRIBUTES, IMAGE_PROPERTIES, WHOLE_UPDATE_VIEW
from polyport.api.compute.server_fields import Fields, ServerView, View, fields_of
from polyport.compute import hosts, nics
from polyport.compute.boot_images import image_of
from polyport.compute.nics import Shown
from polyport.compute.servers import Server, flavor_of
from polyport.db.engine import Tx
from polyport.ids import ServerId
from polyport.web.calls import Call

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
    return Raw(f'{to_self}{server_id}"}},{to_bookmark}{server_id}"}}]')


@functools.lru_cache(64)
def _links_begin(base_url: str) -> tuple[str, str]:
    base = msgspec.json.encode(base_url).decode()[:-1]
    return f'[{{"rel":"self","href":{base}/v2.1/servers/', f'{{"rel":"bookmark","href":{base}/servers/'


def brief_view(call: Call, server: Server) -> View:
    return {"id": server.id, "name": server.name, "links": _links_view(call.base_url, server.id)}


def addresses_view(shown: Shown, server_id: ServerId, *, extended: bool = True) -> dict[str, Raw]:
    """By network name, in the order of NICs. What an address and a MAC are made of needs no quoting, and lists have
    thousands: they are written as JSON here."""
    if server_id not in shown.of:
        return {}
    view = _extended_address_view if extended else _address_view
    return {name: Raw(f"[{','.join(map(view, found))}]") for name, found in shown.of[server_id].addresses.items()}


@functools.lru_cache(16384)
def _extended_address_view(found: str) -> str:
    return f'{_address_view(found)[:-1]},"OS-EXT-IPS:type":"fixed","OS-EXT-IPS-MAC:mac_addr":"{found[:17]}"}}'


def _address_view(found: str) -> str:
    address = nics.text_of(found[17:])
    return f'{{"version":{6 if ":" in address else 4},"addr":"{address}"}}'


def groups_view(shown: Shown, texts: Iterable[str]) -> list[View]:
    """The security groups of a server's ports, each once; `texts` are the ports' own, as JSON."""
    found = {shown.groups[group_id]: None for text in texts for group_id in nics.group_ids(text)}
    return [{"name": name} for name in found]


def detail_views(call: Call, tx: Tx, found: Sequence[Server], *, alone: bool = False) -> list[ServerView]:
    """Each server as GET shows it; `alone`: as the one server of its reply. Few queries, however many servers."""
    shown = nics.shown(tx, [server.id for server in found])
    up = {host.name for host in hosts.candidates(tx) if host.up} if call.context.is_admin else frozenset()
    view = _viewer(call, fields_of(call.version, is_admin=call.context.is_admin, alone=alone), shown, up)
    return [view(server) for server in found]


def shows_everything(call: Call) -> bool:
    """Whether views show what slim lists leave out."""
    return call.version in IMAGE_PROPERTIES or (call.context.is_admin and call.version in EXTENDED_ATTRIBUTES)


def show_view(call: Call, tx: Tx, server: Server) -> ServerView:
    return detail_views(call, tx, [server], alone=True)[0]


def update_view(call: Call, tx: Tx, server: Server) -> ServerView:
    """What update and rebuild answer: less than GET before 2.75."""
    if call.version in WHOLE_UPDATE_VIEW:
        return show_view(call, tx, server)
    fields = fields_of(call.version, is_admin=call.context.is_admin, alone=True)
    view = _core_view(call, fields, server)
    view.addresses = addresses_view(nics.shown(tx, [server.id]), server.id, extended=False)
    return view


def _viewer(call: Call, fields: Fields, shown: Shown, up: Container[str]) -> Callable[[Server], ServerView]:
    groups_of = functools.cache(functools.partial(groups_view, shown))

    def view(server: Server) -> ServerView:
        found = _core_view(call, fields, server)
        found.addresses = addresses_view(shown, server.id)
        found.key_name = server.key_name
        found.config_drive = "True" if server.config_drive else ""
        found.availability_zone = server.availability_zone
        found.vm_state = server.vm_state
        found.task_state = server.task_state
        found.power_state = server.power_state
        found.launched_at = server.launched_at
        found.terminated_at = server.deleted_at
        found.volumes_attached = ()
        if server.id in shown.of and (groups := groups_of(tuple(shown.of[server.id].groups))):
            found.security_groups = groups
        if fields.host:
            found.host = server.host
            found.instance_name = f"instance-{server.number:08x}"
            found.hypervisor_hostname = server.host
        if fields.hostname:
            found.hostname = server.hostname
        if fields.attributes:
            _add_attributes(found, server)
        if fields.host_status:
            found.host_status = "UP" if server.host in up else "UNKNOWN"
        return found

    return view


def _core_view(call: Call, fields: Fields, server: Server) -> ServerView:
    """What every reply has of a server, and what its microversion adds."""
    view = ServerView()
    view.id = server.id
    view.name = server.name
    view.status = status = server.status
    view.tenant_id = server.project_id
    view.user_id = server.user_id
    view.metadata = Raw(server.metadata)
    view.host_id = host_id_view(server.project_id, server.host)
    view.image = _image_view(server.image_id, server.image if fields.image_properties else None, call.base_url)
    view.flavor = _flavor_view(server.flavor, call.base_url, fields.embedded_flavor)
    view.created = time_view(server.created_at)
    view.updated = time_view(server.updated_at)
    view.access_ip_v4 = server.access_ip_v4
    view.access_ip_v6 = server.access_ip_v6
    view.links = _links_view(call.base_url, server.id)
    view.disk_config = server.disk_config
    if status in _PROGRESSING:
        view.progress = 0
    if status in _FAULTY and server.fault is not None:
        view.fault = _fault_view(call, server.fault)
    if fields.locked:
        view.locked = server.locked
    if fields.description:
        view.description = server.description
    if fields.tags:
        view.tags = Raw(server.tags)
    if fields.certificates:
        view.trusted_certificates = None if server.trusted_certificates is None else Raw(server.trusted_certificates)
    if fields.groups:
        view.server_groups = [] if server.group_id is None else [server.group_id]
    if fields.locked_reason:
        view.locked_reason = server.locked_reason
    if fields.pinned_zone:
        view.pinned_zone = server.pinned_zone
    if fields.hints:
        view.scheduler_hints = Raw(server.scheduler_hints)
    return view


def _add_attributes(view: ServerView, server: Server) -> None:
    """What administrators see from 2.3 on."""
    image = image_of(server.image)
    view.reservation_id = server.reservation_id
    view.launch_index = server.launch_index
    view.kernel_id = image.kernel.id if image and image.kernel else ""
    view.ramdisk_id = image.ramdisk.id if image and image.ramdisk else ""
    view.root_device_name = "/dev/vda"
    view.user_data = server.user_data


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
