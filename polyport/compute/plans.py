"""What a host is told: its servers as they should be, with their NICs in slot order and the networks those are on."""

import functools
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from polyport.compute import nics, servers
from polyport.compute.boot_images import image_of
from polyport.compute.nics import Place
from polyport.compute.personality import files_of
from polyport.compute.servers import Server
from polyport.db.engine import Tx
from polyport.db.tables.metadata import revisions
from polyport.ids import HostName, PortId
from polyport.network import plans, ports
from polyport.network.plans import GroupVersions, NetworkVersions, Versions
from polyport.plan import HostPlan, NicPlan, ServerPlan


class Kept:
    """What was read for the plans of one host before. For one life of a database: what was read of a transaction that
    then was not committed must not be kept."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.nics: Versions[PortId, NicPlan] = Versions()
        self.networks: NetworkVersions = Versions()
        self.groups: GroupVersions = Versions()


def plan_for(tx: Tx, host: HostName, since: int, kept: Kept) -> HostPlan:
    """What changed for a host after revision `since`; everything, read anew, where that is 0. A dozen statements at
    most. What they cost grows with what changed: of what did not, revisions alone are read.

    A server changes with its own row, with a port of its, and (through `networks` and `security_groups`) with a network
    it is on and a group it is in. A changed group is the group alone, however many servers are in it.
    """
    revision = int(tx.value(_REVISION))
    if since and revision == since:
        return HostPlan(revision=revision, whole=False)
    if not since:
        kept.forget()
    also = sorted(plans.changed_devices(tx, since, host)) if since else ()
    found = servers.plan_rows(tx, host, since, also)
    of = nics.places_of(tx, [server.id for server in found if server.wanted != "gone"])
    details = _nics(tx, [place for places in of.values() for place in places], kept)
    network_ids = {nic.network_id for nic in details.values()}
    group_ids = {group_id for nic in details.values() for group_id in nic.security_groups}
    if since:
        network_ids |= plans.changed_networks(tx, since, host)
        group_ids |= plans.changed_groups(tx, since, host)
    return HostPlan(
        revision=revision,
        whole=since == 0,
        servers=tuple(_server_plan(server, of.get(server.id, ()), details) for server in found),
        networks=tuple(plans.read_network_plans(tx, network_ids, kept.networks).values()),
        security_groups=tuple(plans.read_group_plans(tx, group_ids, kept.groups).values()),
    )


def _nics(tx: Tx, places: Sequence[Place], kept: Kept) -> dict[PortId, NicPlan]:
    of = {place.port_id: place for place in places}

    def read(new: list[PortId]) -> dict[PortId, NicPlan]:
        found: dict[PortId, NicPlan] = {}
        for at in range(0, len(new), _AT_ONCE):
            for port in ports.read_ports(tx, new[at : at + _AT_ONCE]).values():
                found[port.id] = plans.nic_plan(port, slot=of[port.id].slot, tag=of[port.id].tag)
        return found

    return kept.nics.at({place.port_id: place.port_revision for place in places}, read)


def _server_plan(server: Server, places: Sequence[Place], details: Mapping[PortId, NicPlan]) -> ServerPlan:
    image = image_of(server.image)
    return ServerPlan(
        id=server.id,
        name=server.name,
        hostname=server.hostname,
        project_id=server.project_id,
        user_id=server.user_id,
        revision=max(server.plan_revision, *(place.port_revision for place in places), 0),
        wanted=server.wanted,
        boot=server.boot,
        restart="soft" if server.restart == "soft" else "hard",
        disk=server.disk,
        vcpus=server.vcpus,
        memory_mb=server.memory_mb,
        root_gb=server.root_gb,
        image=image.image if image else None,
        kernel=image.kernel if image else None,
        ramdisk=image.ramdisk if image else None,
        kernel_arguments=image.kernel_arguments if image else "",
        nic_slots=server.nic_slots,
        nics=tuple(details[place.port_id] for place in places),
        config_drive=True,
        user_data=server.user_data,
        files=files_of(server.personality),
        public_keys=_keys(server.key),
        metadata=tuple(server.metadata_items().items()),
        availability_zone=server.availability_zone,
        launch_index=server.launch_index,
        reservation_id=server.reservation_id,
        admin_password=server.admin_password,
    )


@functools.lru_cache(1024)
def _keys(text: str | None) -> tuple[tuple[str, str], ...]:
    if text is None:
        return ()
    name, public_key, _ = msgspec.json.decode(text, type=tuple[str, str, str])
    return ((name, public_key),)


_AT_ONCE = 10_000
_REVISION = sa.select(revisions.c.value)
