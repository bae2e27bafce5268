"""`/v2.0/network-ip-availabilities`. Source: Neutron's API reference, "Network IP availability and usage stats"."""

from collections.abc import Sequence

from polyport.api.network.lists import FilterInvalid, FilterValueInvalid, View, chosen
from polyport.db.engine import Tx
from polyport.network.ip_availability import NetworkAvailability, find_availabilities, get_availability
from polyport.web.calls import Call, Reply

_FILTERS = ("network_id", "network_name", "project_id", "tenant_id", "ip_version")
_VERSIONS = {"4": 4, "6": 6}


def index(call: Call, tx: Tx) -> Reply:
    for name in call.query.names():
        if name not in (*_FILTERS, "fields"):
            raise FilterInvalid(name=name[:100])
    found = find_availabilities(
        tx,
        call.context,
        network_ids=call.query.all("network_id"),
        names=call.query.all("network_name"),
        project_ids=[*call.query.all("project_id"), *call.query.all("tenant_id")],
        ip_versions=_versions(call.query.all("ip_version")),
    )
    return Reply(body={"network_ip_availabilities": [chosen(call, _view(network)) for network in found]})


def show(call: Call, tx: Tx) -> Reply:
    network = get_availability(tx, call.context, call.params["id"])
    return Reply(body={"network_ip_availability": chosen(call, _view(network))})


def _versions(texts: Sequence[str]) -> list[int]:
    for text in texts:
        if text not in _VERSIONS:
            raise FilterValueInvalid(name="ip_version", value=text[:100], kind="4 or 6")
    return [_VERSIONS[text] for text in texts]


def _view(network: NetworkAvailability) -> View:
    return {
        "network_id": network.id,
        "network_name": network.name,
        "project_id": network.project_id,
        "tenant_id": network.project_id,
        "total_ips": network.total,
        "used_ips": network.used,
        "subnet_ip_availability": [
            {
                "subnet_id": subnet.id,
                "subnet_name": subnet.name,
                "ip_version": subnet.ip_version,
                "cidr": subnet.cidr,
                "total_ips": subnet.total,
                "used_ips": subnet.used,
            }
            for subnet in network.subnets
        ],
    }
