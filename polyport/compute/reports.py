"""What a host says: its report becomes states of servers and ports, and the end of what was being done.

A report names the revision it carried out. One about less than what is wanted now changes the power state only: what a
user asked for in the meantime is on its way to the host already, and the next report is about that.
"""

import logging
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from polyport.compute import history, hosts, nics, servers, states
from polyport.compute.nics import Reported
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
    done: dict[tuple[str | None, int], list[ServerId]] = {}
    for said in report.servers:
        server = found.get(said.id)
        if server is None or server.terminated_at is not None:
            continue
        if server.wanted == "gone":
            error = None
            over = _record_gone(tx, server, said)
        else:
            error = said.error
            over = _record_server(tx, report.host, server, said)
            alive.append(said)
        if over:
            done.setdefault((error, history.ALL), []).append(server.id)
        elif said.revision < server.plan_revision:
            # What was asked for later is still under way.
            done.setdefault((said.error, said.revision), []).append(server.id)
    for (error, revision), server_ids in done.items():
        history.finish(tx, server_ids, error, revision)
    if alive:
        _record_nics(tx, report.host, alive)


def _record_gone(tx: Tx, server: Server, said: ServerReport) -> bool:
    """A deleted server: when nothing of it is left on the host, it leaves the host's plans for good. Whether it did."""
    gone = said.power == "gone" and said.revision >= server.plan_revision
    if gone:
        servers.write_server(tx, server.id, {"terminated_at": now()}, touch=False)
    return gone


def _record_server(tx: Tx, host: HostName, server: Server, said: ServerReport) -> bool:
    """Whether what was open of the server is done (or has failed) by this report."""
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
    if values:
        servers.write_server(tx, server.id, values, touch="vm_state" in values or "task_state" in values)
    if settled.done and not first and before.vm_state == states.ACTIVE and after.vm_state == states.STOPPED:
        history.record_event(tx, server.id, host, "stopped_by_guest", "The guest ended by itself.")
    return first


def _fault_words(server: Server) -> str | None:
    if server.fault is None or server.vm_state != states.ERROR:
        return None
    return str(msgspec.json.decode(server.fault)["message"])


def _record_nics(tx: Tx, host: HostName, said: Sequence[ServerReport]) -> None:
    """Ports are ACTIVE while they are plugged; what a host says of a port it no longer has is old news. Most of a
    report says nothing new: what is known is read in one go, and only what differs is written."""
    known = nics.reported(tx, [server.id for server in said])
    plugged: list[PortId] = []
    unplugged: list[PortId] = []
    quarantined: dict[PortId, bool] = {}
    for server in said:
        runs = server.power in ("running", "paused")
        for nic in server.nics:
            was = known.get(nic.port_id)
            if was is None or was.server_id != server.id:
                continue
            active = nic.plugged and not nic.quarantined and runs
            if active and was.status != "ACTIVE":
                plugged.append(nic.port_id)
            elif not active and was.status != "DOWN":
                unplugged.append(nic.port_id)
            if nic.quarantined != was.quarantined:
                quarantined[nic.port_id] = nic.quarantined
    ports.record_ports_active(tx, plugged)
    ports.record_ports_down(tx, unplugged)
    ports.record_quarantines(tx, quarantined)
    for port_id, state in quarantined.items():
        _tell_quarantine(tx, host, known[port_id], quarantined=state)


def _tell_quarantine(tx: Tx, host: HostName, nic: Reported, *, quarantined: bool) -> None:
    """A port that the storm guard cut off, or put back, is an event of its server."""
    name = f"NIC {nic.slot} (port {nic.port_id})"
    if quarantined:
        words = f"{name} is quarantined: the guest joins it with another of its NICs, which makes a loop."
    else:
        words = f"{name} is back: the loop has gone."
    action = "nic_quarantine" if quarantined else "nic_recover"
    history.record_event(tx, nic.server_id, host, action, words, message=words)
    log.warning(words, extra={"action": action, "server": nic.server_id, "port": nic.port_id, "slot": nic.slot})


_MINE = servers.select_servers(slim=True).where(
    rows.c.host == sa.bindparam("on"), rows.c.id.in_(sa.bindparam("ids", expanding=True))
)
