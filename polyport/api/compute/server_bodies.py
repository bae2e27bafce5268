"""What clients send about servers: the bodies of create, update and rebuild, and what they come to."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

from polyport.api.compute.fields import Flag, Name, Number, flag, number
from polyport.api.compute.microversions import (
    AUTO_NETWORKS,
    CREATE_ON_HOST,
    CREATE_TAGS,
    DESCRIPTION,
    HOSTNAME,
    HOSTNAME_FQDN,
    NIC_TAG,
    PERSONALITY,
    REBUILD_KEY,
    REBUILD_USER_DATA,
    TRUSTED_CERTIFICATES,
)
from polyport.compute.actions import Rebuild
from polyport.compute.boot import MOST_SERVERS, NewServer
from polyport.compute.personality import File
from polyport.compute.wanted_nics import Choice, WantedNic
from polyport.errors import Invalid
from polyport.ids import is_uuid
from polyport.network import ipam
from polyport.policy import PolicyNotAuthorized
from polyport.web.bodies import InvalidField, check_depth, only
from polyport.web.calls import Call

MOST_USER_DATA = 65535
MOST_TAGS = 50

Description: TypeAlias = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*\Z")]
MetadataKey: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9\-_:. ]+\Z")]
MetadataValue: TypeAlias = Annotated[str, Meta(max_length=255)]
Metadata: TypeAlias = dict[MetadataKey, MetadataValue]
Tag: TypeAlias = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^[^,/\x00]*\Z")]
NicTag: TypeAlias = Tag
Password: TypeAlias = Annotated[str, Meta(max_length=255)]
DiskConfig: TypeAlias = Literal["AUTO", "MANUAL"]
Certificates: TypeAlias = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=255)]], Meta(min_length=1, max_length=50)
]
Hint: TypeAlias = dict[str, Any]


class NotImageOfServer(Invalid):
    """Block Device Mapping is Invalid: {reason}"""


class ImageMissing(Invalid):
    """Invalid imageRef provided."""


class NetworksRequired(Invalid):
    """Invalid input for field/attribute server. Value: {value}. 'networks' is a required property"""


class FileBody(Struct, forbid_unknown_fields=True, kw_only=True):
    path: Annotated[str, Meta(min_length=1)]
    contents: str


class NetworkBody(Struct, forbid_unknown_fields=True, kw_only=True):
    uuid: str | None = None
    port: str | None = None
    fixed_ip: str | None = None
    tag: Annotated[NicTag | UnsetType, only(NIC_TAG)] = UNSET


class GroupBody(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=255)]


class ServerBody(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Name
    flavor: int | Annotated[str, Meta(min_length=1, max_length=1024)] = field(name="flavorRef")
    image: str = field(name="imageRef", default="")
    networks: Annotated[list[NetworkBody], Meta(max_length=4096)] | Literal["auto", "none"] | UnsetType = UNSET
    min_count: Number = 1
    max_count: Number | None = None
    return_reservation_id: Flag = False
    metadata: Metadata = {}
    key_name: Name | UnsetType = UNSET
    security_groups: Annotated[list[GroupBody], Meta(max_length=256)] = []
    user_data: str | None = None
    config_drive: Flag | Literal[""] | None = None
    availability_zone: Name | UnsetType = UNSET
    admin_password: Password | UnsetType = field(name="adminPass", default=UNSET)
    disk_config: DiskConfig = field(name="OS-DCF:diskConfig", default="MANUAL")
    access_ip_v4: str = field(name="accessIPv4", default="")
    access_ip_v6: str = field(name="accessIPv6", default="")
    block_device_mapping: list[dict[str, Any]] | None = None
    block_device_mapping_v2: list[dict[str, Any]] | None = None
    personality: Annotated[list[FileBody] | UnsetType, only(PERSONALITY)] = UNSET
    description: Annotated[Description | UnsetType | None, only(DESCRIPTION)] = UNSET
    tags: Annotated[list[Tag] | UnsetType, only(CREATE_TAGS)] = UNSET
    trusted_certificates: Annotated[Certificates | UnsetType | None, only(TRUSTED_CERTIFICATES)] = field(
        name="trusted_image_certificates", default=UNSET
    )
    host: Annotated[Name | UnsetType, only(CREATE_ON_HOST)] = UNSET
    hypervisor_hostname: Annotated[Name | UnsetType, only(CREATE_ON_HOST)] = UNSET
    hostname: Annotated[str | UnsetType, only(HOSTNAME)] = UNSET


class CreateServer(Struct, forbid_unknown_fields=True, kw_only=True):
    server: ServerBody
    hints: Hint | None = field(name="os:scheduler_hints", default=None)
    long_hints: Hint | None = field(name="OS-SCH-HNT:scheduler_hints", default=None)


class UpdateBody(Struct, forbid_unknown_fields=True, kw_only=True):
    name: Name | UnsetType = UNSET
    disk_config: DiskConfig | UnsetType = field(name="OS-DCF:diskConfig", default=UNSET)
    access_ip_v4: str | UnsetType | None = field(name="accessIPv4", default=UNSET)
    access_ip_v6: str | UnsetType | None = field(name="accessIPv6", default=UNSET)
    description: Annotated[Description | UnsetType | None, only(DESCRIPTION)] = UNSET
    hostname: Annotated[str | UnsetType, only(HOSTNAME)] = UNSET


class UpdateServer(Struct, forbid_unknown_fields=True, kw_only=True):
    server: UpdateBody


class RebuildBody(Struct, forbid_unknown_fields=True, kw_only=True):
    image: str = field(name="imageRef")
    name: Name | UnsetType = UNSET
    admin_password: Password | UnsetType = field(name="adminPass", default=UNSET)
    metadata: Metadata | UnsetType = UNSET
    preserve_ephemeral: Flag = False
    disk_config: DiskConfig | UnsetType = field(name="OS-DCF:diskConfig", default=UNSET)
    access_ip_v4: str | UnsetType = field(name="accessIPv4", default=UNSET)
    access_ip_v6: str | UnsetType = field(name="accessIPv6", default=UNSET)
    personality: Annotated[list[FileBody] | UnsetType, only(PERSONALITY)] = UNSET
    description: Annotated[Description | UnsetType | None, only(DESCRIPTION)] = UNSET
    key_name: Annotated[Name | UnsetType | None, only(REBUILD_KEY)] = UNSET
    user_data: Annotated[str | UnsetType | None, only(REBUILD_USER_DATA)] = UNSET
    trusted_certificates: Annotated[Certificates | UnsetType | None, only(TRUSTED_CERTIFICATES)] = field(
        name="trusted_image_certificates", default=UNSET
    )
    hostname: Annotated[str | UnsetType, only(HOSTNAME)] = UNSET


def new_server(call: Call, body: CreateServer) -> NewServer:
    """What a create body asks for. Raises errors that name the field."""
    server = body.server
    least = number(server.min_count, "min_count", least=1, most=MOST_SERVERS)
    most = least if server.max_count is None else number(server.max_count, "max_count", least=1, most=MOST_SERVERS)
    tags = () if server.tags is UNSET else server.tags
    if len(set(tags)) > MOST_TAGS:
        raise InvalidField(field="tags", value="", reason=f"There are more than {MOST_TAGS} tags.")
    certificates = server.trusted_certificates
    return NewServer(
        name=server.name,
        flavor_id=str(server.flavor).rstrip("/").rsplit("/", 1)[-1],
        image_id=_image(server),
        networks=_networks(call, server),
        min_count=least,
        max_count=most,
        hostname=None if server.hostname is UNSET else hostname(call, server.hostname),
        description=None if server.description is UNSET else server.description,
        key_name=None if server.key_name is UNSET else server.key_name,
        metadata=server.metadata,
        tags=tags,
        security_groups=[group.name for group in server.security_groups],
        user_data=None if server.user_data is None else user_data(server.user_data),
        personality=() if server.personality is UNSET else files(server.personality),
        config_drive=bool(server.config_drive) and flag(server.config_drive or False),
        disk_config=server.disk_config,
        access_ip_v4=address("accessIPv4", server.access_ip_v4, 4),
        access_ip_v6=address("accessIPv6", server.access_ip_v6, 6),
        admin_password=None if server.admin_password is UNSET else server.admin_password,
        availability_zone=None if server.availability_zone is UNSET else server.availability_zone,
        host=_host(call, server),
        trusted_certificates=None if certificates is UNSET else certificates,
        scheduler_hints=_hints(body),
    )


def changes(call: Call, body: UpdateBody) -> dict[str, object]:
    """The columns an update changes."""
    values: dict[str, object] = {}
    if body.name is not UNSET:
        values["name"] = body.name
    if body.disk_config is not UNSET:
        values["disk_config"] = body.disk_config
    if body.access_ip_v4 is not UNSET:
        values["access_ip_v4"] = address("accessIPv4", body.access_ip_v4 or "", 4)
    if body.access_ip_v6 is not UNSET:
        values["access_ip_v6"] = address("accessIPv6", body.access_ip_v6 or "", 6)
    if body.description is not UNSET:
        values["description"] = body.description
    if body.hostname is not UNSET:
        values["hostname"] = hostname(call, body.hostname)
    return values


def rebuild(call: Call, body: RebuildBody) -> Rebuild:
    """What a rebuild asks for."""
    if not is_uuid(body.image):
        raise ImageMissing
    v4, v6 = body.access_ip_v4, body.access_ip_v6
    return Rebuild(
        image_id=body.image.lower(),
        name=body.name,
        hostname=body.hostname if body.hostname is UNSET else hostname(call, body.hostname),
        description=body.description,
        metadata=body.metadata,
        key_name=body.key_name,
        user_data=body.user_data if not isinstance(body.user_data, str) else user_data(body.user_data),
        personality=body.personality if body.personality is UNSET else files(body.personality),
        disk_config=body.disk_config,
        access_ip_v4=v4 if v4 is UNSET else address("accessIPv4", v4, 4),
        access_ip_v6=v6 if v6 is UNSET else address("accessIPv6", v6, 6),
        admin_password=body.admin_password,
        trusted_certificates=body.trusted_certificates,
    )


def address(name: str, text: str, version: int) -> str:
    """An access address, or nothing."""
    if not text:
        return ""
    try:
        return str(IPv4Address(text) if version == 4 else IPv6Address(text))
    except AddressValueError as error:
        raise InvalidField(field=name, value=text[:100], reason=f"'{text[:100]}' is not a 'ipv{version}'") from error


def user_data(text: str) -> str:
    """User data as it was sent, once it is known to be base64 and not too long."""
    if len(text) > MOST_USER_DATA:
        raise InvalidField(field="user_data", value=text[:50], reason=f"It is longer than {MOST_USER_DATA} characters.")
    _base64("user_data", text)
    return text


def files(bodies: Sequence[FileBody]) -> tuple[File, ...]:
    """Files for the guest. Raises `InvalidField` for content that is not base64."""
    return tuple(
        File(path=body.path, contents=_base64(f"personality[{index}].contents", body.contents))
        for index, body in enumerate(bodies)
    )


def _base64(name: str, text: str) -> str:
    """Base64 without the white space it may have. Raises `InvalidField` for what is none."""
    found = "".join(text.split())
    try:
        base64.b64decode(found.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError) as error:
        raise InvalidField(field=name, value=text[:50], reason="It is not a 'base64'") from error
    return found


def hostname(call: Call, text: str) -> str:
    """A hostname; with a domain from 2.94 on."""
    label = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
    pattern, most = (rf"{label}(\.{label})*", 255) if call.version in HOSTNAME_FQDN else (label, 63)
    if len(text) > most or not re.fullmatch(pattern, text):
        raise InvalidField(field="hostname", value=text[:100], reason=f"'{text[:100]}' is not a 'hostname'")
    return text


def _image(server: ServerBody) -> str:
    """The image to boot from, which clients also name as a mapping image -> local disk."""
    for name in ("block_device_mapping", "block_device_mapping_v2"):
        mappings = getattr(server, name) or []
        if mappings and (name == "block_device_mapping" or len(mappings) > 1):
            raise NotImageOfServer(reason="there are no volumes here, and a server has one disk.")
        check_depth(mappings)
        for mapping in mappings:
            return _mapped_image(server, mapping)
    if not server.image:
        raise NotImageOfServer(reason="there are no volumes here: imageRef is needed.")
    if not is_uuid(server.image):
        raise ImageMissing
    return server.image.lower()


def _mapped_image(server: ServerBody, mapping: Mapping[str, Any]) -> str:
    wanted = {"source_type": ("image",), "destination_type": ("local", None), "boot_index": (0, "0")}
    for name, allowed in wanted.items():
        value = mapping.get(name)
        if value not in allowed or isinstance(value, bool):
            reason = (
                f"block_device_mapping_v2[0].{name} is {str(value)[:50]!r}; there are no volumes here, and a server"
            )
            raise NotImageOfServer(reason=f"{reason} boots from a local copy of its image.")
    image_id = mapping.get("uuid")
    if not isinstance(image_id, str) or not is_uuid(image_id):
        raise NotImageOfServer(reason="block_device_mapping_v2[0].uuid is not the id of an image.")
    if server.image and server.image.lower() != image_id.lower():
        raise NotImageOfServer(reason="block_device_mapping_v2[0].uuid and imageRef are not the same image.")
    return image_id.lower()


def _networks(call: Call, server: ServerBody) -> Choice:
    networks = server.networks
    if networks is UNSET:
        if call.version in AUTO_NETWORKS:
            raise NetworksRequired(value=f"{{'name': '{server.name}', ...}}")
        return "left out"
    if isinstance(networks, str):
        if call.version not in AUTO_NETWORKS:
            raise InvalidField(field="networks", value=networks, reason=f"'{networks}' is not of type 'array'")
        return networks
    return [wanted_nic(entry, f"networks[{index}]") for index, entry in enumerate(networks)]


def wanted_nic(entry: NetworkBody, place: str) -> WantedNic:
    """One entry of `networks`, its ids in canonical form."""
    fixed_ip = entry.fixed_ip
    if fixed_ip is not None and ipam.number_of(fixed_ip) is None:
        reason = f"'{fixed_ip[:100]}' is not an 'ipv4' or 'ipv6' address"
        raise InvalidField(field=f"{place}.fixed_ip", value=fixed_ip[:100], reason=reason)
    return WantedNic(
        network_id=_id(entry.uuid, f"{place}.uuid"),
        port_id=_id(entry.port, f"{place}.port"),
        fixed_ip=fixed_ip,
        tag=None if entry.tag is UNSET else entry.tag,
    )


def _id(value: str | None, name: str) -> str | None:
    if value is None:
        return None
    if not is_uuid(value):
        raise InvalidField(field=name, value=value[:100], reason=f"'{value[:100]}' is not a 'uuid'")
    return value.lower()


def _host(call: Call, server: ServerBody) -> str | None:
    """The host an administrator chose."""
    named = [name for name in (server.host, server.hypervisor_hostname) if name is not UNSET]
    if named and not call.context.is_admin:
        raise PolicyNotAuthorized(action="compute:servers:create:requested_destination")
    if len(set(named)) > 1:
        raise InvalidField(field="hypervisor_hostname", value=named[1], reason=f"It is not a node of host {named[0]}.")
    return named[0] if named else None


def _hints(body: CreateServer) -> Mapping[str, object]:
    hints = body.hints if body.hints is not None else body.long_hints
    if hints is None:
        return {}
    check_depth(hints)
    group = hints.get("group")
    if group is not None and not is_uuid(group):
        raise InvalidField(field="os:scheduler_hints.group", value=str(group)[:100], reason="It is not a 'uuid'")
    return hints


def names(groups: Sequence[str]) -> list[dict[str, str]]:
    return [{"name": name} for name in groups]
