"""What a host is told: its servers as they should be, with their NICs in slot order and the networks those are on."""

import functools
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from polyport.compute import nics, servers
from polyport.compute.boot_images import image_of
from polyport.compute.nics import Nic
from polyport.compute.servers import Server
from polyport.db.engine import Tx
from polyport.db.tables.metadata import revisions
from polyport.ids import HostName, PortId
from polyport.network import plans, ports
from polyport.network.ports import Port
from polyport.plan import HostPlan, ServerPlan


def plan_for(tx: Tx, host: HostName, since: int) -> HostPlan:
    """What changed for a host after revision `since`; everything where that is 0. Nine statements at most.

    A server changes with its own row, with a port of its, and (through `networks` and `security_groups`) with a network
    it is on and a group it is in. A changed group is the group alone, however many servers are in it.
    """
    revision = int(tx.value(_REVISION))
    if since and revision == since:
        return HostPlan(revision=revision, whole=False)
    also = sorted(plans.changed_devices(tx, since, host)) if since else ()
    found = servers.plan_rows(tx, host, since, also)
    of = nics.of_servers(tx, [server.id for server in found if server.wanted != "gone"])
    details = _ports(tx, [nic.port_id for each in of.values() for nic in each])
    network_ids = {nic.network_id for each in of.values() for nic in each}
    group_ids = {group_id for port in details.values() for group_id in port.security_groups}
    if since:
        network_ids |= plans.changed_networks(tx, since, host)
        group_ids |= plans.changed_groups(tx, since, host)
    return HostPlan(
        revision=revision,
        whole=since == 0,
        servers=tuple(_server_plan(server, of.get(server.id, ()), details) for server in found),
        networks=tuple(plans.read_network_plans(tx, network_ids).values()),
        security_groups=tuple(plans.read_group_plans(tx, group_ids).values()),
    )


def _ports(tx: Tx, port_ids: Sequence[PortId]) -> dict[PortId, Port]:
    found: dict[PortId, Port] = {}
    for at in range(0, len(port_ids), _AT_ONCE):
        found |= ports.read_ports(tx, port_ids[at : at + _AT_ONCE])
    return found


def _server_plan(server: Server, nic_list: Sequence[Nic], details: dict[PortId, Port]) -> ServerPlan:
    image = image_of(server.image)
    return ServerPlan(
        id=server.id,
        name=server.name,
        hostname=server.hostname,
        project_id=server.project_id,
        user_id=server.user_id,
        revision=max(server.plan_revision, *(nic.port_revision for nic in nic_list), 0),
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
        nics=tuple(plans.nic_plan(details[nic.port_id], slot=nic.slot, tag=nic.tag) for nic in nic_list),
        config_drive=True,
        user_data=server.user_data,
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
