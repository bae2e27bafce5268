"""Making servers: everything is checked first, then everything is made, in one transaction; all of it or nothing.

If NIC 7 of 8 cannot be had, there is no server, no port, no address and no quota used, and the error says it is NIC 7.
"""

import re
import secrets
import string
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from polyport import quotas
from polyport.compute import (
    flavors,
    history,
    hosts,
    keypairs,
    nics,
    placement,
    states,
    wanted_nics,
)
from polyport.compute.boot_images import BootImage, boot_image
from polyport.compute.flavors import Flavor
from polyport.compute.nics import NewNic
from polyport.compute.personality import File, check_files
from polyport.compute.wanted_nics import Choice, Resolved
from polyport.context import Context
from polyport.db.engine import Tx
from polyport.db.tables.compute import servers as rows_of_servers
from polyport.db.tables.metadata import now
from polyport.errors import Invalid, NotFound, OverQuota
from polyport.ids import HostName, PortId, SecurityGroupId, ServerId, new_ids
from polyport.network.ipam import WantedIp
from polyport.network.ports import NewPort
from polyport.quotas import Quota, QuotaExceeded

MOST_SERVERS = 1000
"""Servers in one request."""


MOST_NAME, MOST_LABEL = 255, 63
"""Characters of a name, and of one label of a hostname (RFC 1123)."""


class FlavorMissing(Invalid):
    """Flavor {flavor_id} could not be found."""


class KeyMissing(Invalid):
    """Invalid key_name provided."""


class TooMuchMetadata(OverQuota):
    """Maximum number of metadata items exceeds {most}"""


class TooManyInGroup(OverQuota):
    """Quota exceeded, too many servers in group"""


class CountsReversed(Invalid):
    """min_count must be <= max_count"""


class NumberedTooLong(Invalid):
    """Invalid {field} '{value}': with the number of its server behind it, it is longer than {most} characters."""


class ManyWithPort(Invalid):
    """Failed to launch instances: Unable to launch multiple instances with a single configured port ID. Please launch
    your instance one by one with different ports."""


class ManyWithFixedIp(Invalid):
    """Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified."""


class NewServer(Struct, frozen=True, kw_only=True):
    """What a client asks for."""

    name: str
    flavor_id: str
    image_id: str
    networks: Choice
    min_count: int = 1
    max_count: int = 1
    hostname: str | None = None
    description: str | None = None
    key_name: str | None = None
    metadata: Mapping[str, str] = {}
    tags: Sequence[str] = ()
    security_groups: Sequence[str] = ()
    user_data: str | None = None
    """Base64."""
    personality: Sequence[File] = ()
    config_drive: bool = False
    disk_config: str = "MANUAL"
    access_ip_v4: str = ""
    access_ip_v6: str = ""
    admin_password: str | None = None
    availability_zone: str | None = None
    host: str | None = None
    trusted_certificates: Sequence[str] | None = None
    scheduler_hints: Mapping[str, object] = {}


class Made(Struct, frozen=True, kw_only=True):
    """What a client is told at once."""

    server_ids: tuple[ServerId, ...]
    reservation_id: str
    admin_password: str
    disk_config: str
    security_groups: Sequence[str]


def create_servers(tx: Tx, context: Context, wanted: NewServer) -> Made:
    """Make servers as asked for. Raises what is wrong with the request, naming the field or the entry."""
    if wanted.min_count > wanted.max_count:
        raise CountsReversed
    flavor = _flavor(tx, context, wanted.flavor_id)
    image = boot_image(tx, context, wanted.image_id, flavor)
    key = key_kept(tx, context, wanted.key_name)
    zone, named = placement.zone_of(context, wanted.availability_zone)
    quota = quotas.quota_of(tx, context.project_id)
    check_metadata(quota.limits, wanted.metadata)
    check_files(quota.limits, wanted.personality)
    group = placement.group_of(tx, context, wanted.scheduler_hints)
    groups = wanted_nics.security_group_ids(tx, context, wanted.security_groups)
    entries = wanted_nics.resolve(tx, context, wanted.networks)
    if wanted.max_count > 1:
        _check_shared(entries)
    slots = image.nic_slots or quota.limits.get("nic_slots", nics.MOST_SLOTS)
    nics.check_count(len(entries), vcpus=flavor.vcpus, slots=slots)
    ports = sum(entry.port is None for entry in entries)
    each = {"instances": 1, "cores": flavor.vcpus, "ram": flavor.ram, "port": ports}
    count = _count(quota, wanted, each)
    if group is not None:
        _check_members(quota.limits, len(group.members) + count)
    _charge(tx, context, {resource: count * amount for resource, amount in each.items()}, quota)
    places = placement.hosts_for(tx, flavor, count, wanted.host or named, group)

    made = Made(
        server_ids=tuple(map(ServerId, new_ids(count))),
        reservation_id="r-" + _random(string.ascii_lowercase + string.digits, 8),
        admin_password=wanted.admin_password or new_password(),
        disk_config=wanted.disk_config,
        security_groups=wanted.security_groups or ("default",),
    )
    row = _row(context, wanted, flavor, image, key, made) | {
        "availability_zone": zone,
        "nic_slots": slots,
        "group_id": None if group is None else group.id,
        "plan_revision": tx.revision(),
    }
    tx.execute(_INSERT, [row | _own(wanted, made, index) | {"host": host} for index, host in enumerate(places)])
    homes = dict(zip(made.server_ids, places, strict=True))
    _make_nics(tx, context, homes, entries, groups, zone)
    for host in dict.fromkeys(places):
        there = [server_id for server_id, home in homes.items() if home == host]
        hosts.promise(tx, host, vcpus=len(there) * flavor.vcpus, memory_mb=len(there) * flavor.ram)
        history.record_action(tx, context, there, "create", event="compute__do_build_and_run_instance", host=host)
        tx.wake(host)
    return made


def check_metadata(limits: Mapping[str, int], metadata: Mapping[str, str]) -> None:
    """Raises `TooMuchMetadata` where a server would have more items than the project's limit."""
    most = limits.get("metadata_items", quotas.UNLIMITED)
    if most != quotas.UNLIMITED and len(metadata) > most:
        raise TooMuchMetadata(most=most)


def hostname_of(name: str, server_id: str) -> str:
    """A name for the guest to call itself: letters, digits, dots and hyphens of the server's name, 63 at most."""
    text = re.sub(r"[ _]", "-", name)
    text = re.sub(r"[^a-zA-Z0-9.-]+", "", text).lower().strip(".-")[:63].rstrip(".-")
    return text or f"server-{server_id}"


def _flavor(tx: Tx, context: Context, flavor_id: str) -> Flavor:
    try:
        return flavors.get_flavor(tx, context, flavor_id)
    except NotFound as error:
        raise FlavorMissing(flavor_id=flavor_id[:255]) from error


def key_kept(tx: Tx, context: Context, name: str | None) -> list[str] | None:
    """What a server keeps of a key pair of the caller's. Raises `KeyMissing`."""
    if name is None:
        return None
    try:
        key = keypairs.get_keypair(tx, context.user_id, name)
    except NotFound as error:
        raise KeyMissing from error
    return [key.name, key.public_key, key.type]


def _check_shared(entries: Sequence[Resolved]) -> None:
    """Several servers cannot share a port or an address."""
    for entry in entries:
        if entry.port is not None:
            raise ManyWithPort
        if entry.fixed_ip is not None:
            raise ManyWithFixedIp


def _count(quota: Quota, wanted: NewServer, each: Mapping[str, int]) -> int:
    """As many servers as the quota has room for, up to `max_count`, and no less than `min_count`; `each` is what one of
    them takes."""
    count = wanted.max_count
    for resource, amount in each.items():
        room = quota.room(resource)
        if amount and room is not None:
            count = min(count, room // amount)
    return max(count, wanted.min_count)


def _check_members(limits: Mapping[str, int], count: int) -> None:
    most = limits.get("server_group_members", quotas.UNLIMITED)
    if most != quotas.UNLIMITED and count > most:
        raise TooManyInGroup


def _charge(tx: Tx, context: Context, amounts: Mapping[str, int], quota: Quota) -> None:
    try:
        quotas.charge(tx, context.project_id, amounts, quota)
    except QuotaExceeded as error:
        if error.facts["resource"] == "port":
            raise wanted_nics.PortQuotaExceeded from error
        raise


def _row(
    context: Context,
    wanted: NewServer,
    flavor: Flavor,
    image: BootImage,
    key: list[str] | None,
    made: Made,
) -> dict[str, object]:
    """What all servers of a request have in common."""
    at = now()
    return {
        "project_id": context.project_id,
        "user_id": context.user_id,
        "description": wanted.description,
        "pinned_zone": placement.ZONE if wanted.availability_zone is not None else None,
        "vm_state": states.BUILDING,
        "task_state": states.SPAWNING,
        "power_state": states.NO_POWER,
        "wanted": "running",
        "boot": 1,
        "restart": "hard",
        "disk": 1,
        "locked": False,
        "image_id": image.image.id,
        "image": msgspec.to_builtins(image),
        "flavor_number": flavor.number,
        "flavor": flavor_kept(flavor),
        "vcpus": flavor.vcpus,
        "memory_mb": flavor.ram,
        "root_gb": flavor.disk,
        "key_name": wanted.key_name,
        "key": key,
        "user_data": wanted.user_data,
        "personality": list(wanted.personality) or None,
        "config_drive": wanted.config_drive,
        "disk_config": wanted.disk_config,
        "metadata": dict(wanted.metadata),
        "tags": list(dict.fromkeys(wanted.tags)),
        "access_ip_v4": wanted.access_ip_v4,
        "access_ip_v6": wanted.access_ip_v6,
        "admin_password": made.admin_password,
        "trusted_certificates": None if wanted.trusted_certificates is None else list(wanted.trusted_certificates),
        "scheduler_hints": dict(wanted.scheduler_hints),
        "reservation_id": made.reservation_id,
        "created_at": at,
        "updated_at": at,
        "reported_revision": 0,
    }


def flavor_kept(flavor: Flavor) -> dict[str, object]:
    """What a server keeps of its flavor."""
    return {
        "id": flavor.id,
        "name": flavor.name,
        "vcpus": flavor.vcpus,
        "ram": flavor.ram,
        "disk": flavor.disk,
        "ephemeral": flavor.ephemeral,
        "swap": flavor.swap,
        "extra_specs": dict(flavor.extra_specs),
    }


def _own(wanted: NewServer, made: Made, index: int) -> dict[str, object]:
    """What each server of a request has for itself. Raises `NumberedTooLong`."""
    server_id = made.server_ids[index]
    number = f"-{index + 1}" if len(made.server_ids) > 1 else ""
    name = wanted.name + number
    if len(name) > MOST_NAME:
        raise NumberedTooLong(field="name", value=wanted.name, most=MOST_NAME)
    hostname = hostname_of(name, server_id) if wanted.hostname is None else wanted.hostname + number
    if len(hostname) > MOST_NAME or len(hostname.rpartition(".")[2]) > MOST_LABEL:
        raise NumberedTooLong(field="hostname", value=wanted.hostname, most=MOST_LABEL)
    return {
        "id": server_id,
        "name": name,
        "hostname": hostname,
        "launch_index": index,
    }


def _make_nics(
    tx: Tx,
    context: Context,
    homes: Mapping[ServerId, HostName],
    entries: Sequence[Resolved],
    groups: tuple[SecurityGroupId, ...] | None,
    zone: str,
) -> None:
    """The NICs of all servers, slot 1 for the first entry and so on: missing ports are made, the others bound."""
    if not entries:
        return
    new: list[NewPort] = []
    at: list[str] = []
    for server_id, host in homes.items():
        for slot, entry in enumerate(entries, 1):
            if entry.port is None:
                new.append(new_port(entry, server_id, slot, groups, zone, host))
                at.append(entry.at)
    made = iter(wanted_nics.create_ports(tx, context, new, at, counted=True) if new else ())
    rows: list[NewNic] = []
    brought: dict[PortId, int] = {}
    for server_id in homes:
        for slot, entry in enumerate(entries, 1):
            port = entry.port
            if port is None:
                rows.append(NewNic(server_id, slot, next(made).id, entry.tag, True))
            else:
                brought[port.id] = slot
                rows.append(NewNic(server_id, slot, port.id, entry.tag, False))
    places = [entry.at for entry in entries if entry.port is not None]
    # Ports are brought along by a request for one server only (`ManyWithPort`).
    server_id, host = next(iter(homes.items()))
    wanted_nics.bind_ports(tx, brought, server_id=server_id, zone=zone, host=host, at=places)
    nics.insert_nics(tx, rows)


def new_port(
    entry: Resolved,
    server_id: ServerId,
    slot: int,
    groups: tuple[SecurityGroupId, ...] | None,
    zone: str,
    host: str,
) -> NewPort:
    """The port an entry that names a network comes to, in use from the start."""
    return NewPort(
        network_id=entry.network_id,
        fixed_ips=None if entry.fixed_ip is None else (WantedIp(ip_address=entry.fixed_ip),),
        device_id=server_id,
        device_owner=wanted_nics.OWNER + zone,
        host=host,
        position=slot,
        security_groups=groups,
    )


_INSERT = sa.insert(rows_of_servers)


def new_password() -> str:
    """A password for a server whose owner named none."""
    return _random(string.ascii_letters + string.digits, 12)


def _random(alphabet: str, length: int) -> str:
    """A text of so many letters, each text as likely as any other: the digits of one number that is drawn."""
    number = secrets.randbelow(len(alphabet) ** length)
    letters = []
    for _ in range(length):
        number, digit = divmod(number, len(alphabet))
        letters.append(alphabet[digit])
    return "".join(letters)
