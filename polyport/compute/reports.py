"""What a host says: its report becomes states of servers and ports, and the end of what was being done.

A report names the revision it carried out. One about less than what is wanted now changes the power state only: what a
user asked for in the meantime is on its way to the host already, and the next report is about that.
"""

import logging
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from polyport.compute import history, hosts, nics, servers, states
from polyport.compute.servers import Server
from polyport.db.engine import Tx
from polyport.db.tables.compute import servers as rows
from polyport.db.tables.metadata import now
from polyport.ids import HostName, PortId, ServerId
from polyport.network import ports, refusals
from polyport.plan import HostReport, ServerReport

log = logging.getLogger(__name__)


def record(tx: Tx, report: HostReport) -> None:
    """Write down what a host reports. Servers it does not have (any more) are left out without a word."""
    hosts.register(tx, report.host, report.facts)
    if report.refused_groups is not None:
        refusals.record(tx, report.host, report.refused_groups)
    if not report.servers:
        return
    ids = [server.id for server in report.servers]
    mine = servers.find_servers(tx, _MINE, {"on": report.host, "ids": ids})
    found: Mapping[str, Server] = {server.id: server for server in mine}
    alive: list[ServerReport] = []
    for said in report.servers:
        server = found.get(said.id)
        if server is None or server.terminated_at is not None:
            continue
        if server.wanted == "gone":
            _record_gone(tx, server, said)
        else:
            _record_server(tx, report.host, server, said)
            alive.append(said)
    _record_ports(tx, report.host, alive)


def _record_gone(tx: Tx, server: Server, said: ServerReport) -> None:
    """A deleted server: when nothing of it is left on the host, it leaves the host's plans for good."""
    if said.power == "gone" and said.revision >= server.plan_revision:
        servers.write_server(tx, server.id, {"terminated_at": now()}, touch=False)
        history.finish(tx, server.id, None)


def _record_server(tx: Tx, host: HostName, server: Server, said: ServerReport) -> None:
    current = said.revision >= server.plan_revision
    before = server.state
    settled = states.settle(before, current=current, power=said.power, boot=said.boot, error=said.error is not None)
    after = settled.state
    values: dict[str, object] = {}
    for name in ("vm_state", "task_state", "power_state", "wanted"):
        if getattr(before, name) != getattr(after, name):
            values[name] = getattr(after, name)
    if settled.failed and (said.error or "") != _fault_words(server):
        values["fault"] = {"code": 500, "message": (said.error or "")[:255], "created": now()}
    if after.vm_state == states.ACTIVE and server.launched_at is None:
        values["launched_at"] = now()
    first = settled.done and server.reported_revision < server.plan_revision
    if first:
        values["reported_revision"] = server.plan_revision
        history.finish(tx, server.id, said.error)
    if values:
        servers.write_server(tx, server.id, values, touch="vm_state" in values or "task_state" in values)
    if settled.done and not first and before.vm_state == states.ACTIVE and after.vm_state == states.STOPPED:
        history.record_event(tx, server.id, host, "stopped_by_guest", "The guest ended by itself.")


def _fault_words(server: Server) -> str | None:
    if server.fault is None or server.vm_state != states.ERROR:
        return None
    return str(msgspec.json.decode(server.fault)["message"])


def _record_ports(tx: Tx, host: HostName, said: Sequence[ServerReport]) -> None:
    """Ports are ACTIVE while they are plugged; what a host says of a port it no longer has is old news."""
    plugged: list[PortId] = []
    unplugged: list[PortId] = []
    mine = nics.ports_of(tx, [server.id for server in said])
    for server in said:
        for nic in server.nics:
            if mine.get(nic.port_id) == server.id:
                running = nic.plugged and not nic.quarantined and server.power in ("running", "paused")
                (plugged if running else unplugged).append(nic.port_id)
    ports.record_ports_active(tx, plugged)
    ports.record_ports_down(tx, unplugged)
    _record_quarantines(tx, host, said, mine)


def _record_quarantines(tx: Tx, host: HostName, said: Sequence[ServerReport], mine: Mapping[PortId, ServerId]) -> None:
    """A port that the storm guard cut off, or put back, is an event of its server."""
    states_of = {
        nic.port_id: nic.quarantined for server in said for nic in server.nics if mine.get(nic.port_id) == server.id
    }
    for port_id, (slot, quarantined) in ports.record_quarantines(tx, states_of).items():
        nic = f"NIC {slot} (port {port_id})"
        if quarantined:
            words = f"{nic} is quarantined: the guest joins it with another of its NICs, which makes a loop."
        else:
            words = f"{nic} is back: the loop has gone."
        action = "nic_quarantine" if quarantined else "nic_recover"
        history.record_event(tx, mine[port_id], host, action, words, message=words)
        log.warning(words, extra={"action": action, "server": mine[port_id], "port": port_id, "slot": slot})


_MINE = servers.select_servers().where(
    rows.c.host == sa.bindparam("on"), rows.c.id.in_(sa.bindparam("ids", expanding=True))
)
